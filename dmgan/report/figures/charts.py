"""Charts: panels of axes below a legend of the models, each with its own colour, line and mark."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dmgan.models.colours import colour_of
from dmgan.models.registry import MODELS, find
from dmgan.report.figures.canvas import GREY, INK, MARGIN, MEDIUM, SMALL, Canvas, line_height, text_width, wrap

_COLUMNS = 2  # panels in a row
_PANEL, _HEIGHT, _LEFT, _BELOW = 2.6, 1.6, 0.55, 0.5  # inches: of the axes, and of their labels
_WIDTH = 2 * MARGIN + _COLUMNS * (_LEFT + _PANEL)
_KEY = 0.34  # length of a line of the legend, inches
_DASHES = ("-", "--", "-.", ":")  # distinguish models in grey, with the marks
_MARKS = ("o", "s", "^", "D", "v", "P", "X")


class Style(NamedTuple):
    """How the curves and marks of a model are drawn."""

    color: str
    linestyle: str
    marker: str


def style_of(model: str) -> Style:
    """Return colour, line and mark of a model of the registry; no two models share line and mark."""
    number = list(MODELS).index(model)
    return Style(colour_of(model), _DASHES[number % len(_DASHES)], _MARKS[number % len(_MARKS)])


class Chart(NamedTuple):
    """One panel."""

    title: str
    across: str  # label of the horizontal axis
    draw: Callable[[Axes], None]  # draws the data


def draw_charts(heading: str, models: Sequence[str], charts: Sequence[Chart], foot: str) -> Canvas:
    """Draw panels in two columns below a legend of the models, with a note below."""
    notes = wrap(foot, _WIDTH - 2 * MARGIN, SMALL)
    legend = _legend_places(models)
    head = MARGIN + line_height(MEDIUM) + 0.08
    first = head + (legend[-1][1] + 1) * line_height(MEDIUM) + 0.12
    row_height = line_height(MEDIUM) + 0.04 + _HEIGHT + _BELOW
    height = first + -(-len(charts) // _COLUMNS) * row_height + len(notes) * line_height(SMALL) + MARGIN
    canvas = Canvas(_WIDTH, height)
    canvas.lines(MARGIN, MARGIN, [heading], MEDIUM)
    for model, (left, line) in zip(models, legend, strict=True):
        top = head + line * line_height(MEDIUM)
        key, style = canvas.axes(left, top, _KEY, line_height(MEDIUM)), style_of(model)
        key.plot([0, 0.5, 1], [0.5] * 3, **style._asdict(), markevery=[1], markersize=3, linewidth=1.2)
        key.set(xlim=(0, 1), ylim=(0, 1))
        key.set_axis_off()
        canvas.lines(left + _KEY + 0.05, top, [find(model).title], MEDIUM)
    for number, chart in enumerate(charts):
        left = MARGIN + number % _COLUMNS * (_LEFT + _PANEL)
        top = first + number // _COLUMNS * row_height
        canvas.lines(left, top, [chart.title], MEDIUM)
        axes = canvas.axes(left + _LEFT, top + line_height(MEDIUM) + 0.04, _PANEL - 0.1, _HEIGHT)
        chart.draw(axes)
        _finish(axes, chart.across)
    canvas.lines(MARGIN, canvas.height - MARGIN - len(notes) * line_height(SMALL), notes, SMALL, GREY)
    return canvas


def _finish(axes: Axes, across: str) -> None:
    """Set ticks, labels and frame of a panel."""
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.tick_params(labelsize=SMALL, colors=INK, width=0.5, length=2)
    for offset in (axes.xaxis.get_offset_text(), axes.yaxis.get_offset_text()):
        offset.set_size(SMALL)
    axes.set_xlabel(across, size=SMALL, color=INK, labelpad=1)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)


def _legend_places(models: Sequence[str]) -> list[tuple[float, int]]:
    """Return left edge in inches and line of each model's entry of the legend."""
    places, left, line = [], MARGIN, 0
    for model in models:
        width = _KEY + 0.05 + text_width(find(model).title, MEDIUM) + 0.2
        if left > MARGIN and left + width > _WIDTH - MARGIN:
            left, line = MARGIN, line + 1
        places.append((left, line))
        left += width
    return places
