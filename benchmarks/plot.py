"""Bar plots of all benchmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from dmgan.storage.files import write_with

_GREY, _BLUE = "#9aa5b1", "#2a6f97"


def bars(
    path: Path,
    title: str,
    panels: Mapping[str, Mapping[str, float]],
    ours: Sequence[str] = (),
    note: str = "",
) -> None:
    """Draw bars: one panel per quantity, {"images/s": {"setting": 3.1}}; bars named in `ours` are coloured."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(len(values) for values in panels.values())
    figure = Figure(figsize=(4.6 * len(panels) + 1.6, 0.36 * rows + 1.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (quantity, values) in zip(axes, panels.items(), strict=True):
        drawn = axis.barh(
            list(values), list(values.values()), color=[_BLUE if name in ours else _GREY for name in values]
        )
        axis.bar_label(drawn, labels=[_number(value) for value in values.values()], padding=3, fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.14)
        axis.set_xlabel(quantity, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10)
    if note:
        figure.supxlabel(note, fontsize=7, color="#555555")
    write_with(path, lambda file: figure.savefig(file, format="png", dpi=110, metadata={"Software": None}))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
