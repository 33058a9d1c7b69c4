"""Architecture of a model as a block diagram, read from its built networks by one forward pass.

The columns are the stages, from left to right, as in the papers' figures; a box is a module of the network.
"""

import graphlib
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from dmgan.models.interface import TextToImageGAN
from dmgan.models.registry import build_model
from dmgan.report.figures.canvas import GREY, INK, MARGIN, MEDIUM, SMALL, Canvas, line_height, text_width, wrap
from dmgan.report.figures.network_trace import Block, Part, Trace, trace
from dmgan.report.figures.scene import Scene, title
from dmgan.sampling.trained_model import TrainedModel

_COLUMN, _FIRST_COLUMN, _BETWEEN = 1.92, 1.4, 0.22  # inches: width of a stage, of the inputs, and between two columns
_PAD, _INSIDE, _GAP = 0.06, 0.03, 0.04  # around the content of a box, above the lines of a part, below a part
_ROW_GAP = 0.16  # between the rows of a column, with an arrow
_MODULE, _PART, _INPUT, _IMAGE, _DISCRIMINATOR = "#e3ecf5", "#ffffff", "#f3f3f3", "#fdf0d5", "#f0e6f2"  # fills
# Steps of the papers that the parts of a refinement compute.
_MEMORY_STEPS = {
    **dict.fromkeys(("A", "B", "M_w", "M_r", "M"), "Memory writing"),
    **dict.fromkeys(("key", "value"), "Key addressing, value reading"),
    "response_gate": "Response",
    "residual": "Refinement",
    "upsample": "Refinement",
}
_COMBINING_STEPS = {
    "combine": "Affine combination",
    "residual": "Refinement",
    "upsample": "Refinement",
    "image": "Image",
}

_MEANS = {
    "Caption": "read by the text encoder (DAMSM), which is trained before and frozen",
    "Noise": "standard normal; a part is the conditioning augmentation's",
    "Memory bank": "features of the training image retrieved for the caption; in training, of the caption's own",
}
_MEMBERS = {"Caption": ["sentence", "words"], "Memory bank": ["retrieved features"], "Noise": ["noise"]}
_CONTENT = (
    "Every halving convolution of a discriminator also reads the image pooled to its side (content features): its "
    "input has 3 channels more than the output of the convolution before it."
)
_FOOT = (
    "A box is a module: name and trained parameters, class, what its input is computed from, and the shape of its "
    "output for one image (channels × height × width, or words). White boxes are the modules inside. "
    "K: thousand, M: million."
)


def build(run: TrainedModel) -> TextToImageGAN:
    """Return the generator of a run as it is built before training, on the meta device."""
    with torch.device("meta"):
        return build_model(
            run.name, run.model.architecture, run.model.embedding_dim, **dict(run.options.get("variant", {}))
        )


def draw_dmgan(scene: Scene) -> Canvas:
    """Draw DM-GAN's Figure 2."""
    return _draw_run(scene, "dmgan", _MEMORY_STEPS)


def draw_kvmgan(scene: Scene) -> Canvas:
    """Draw KVM-GAN's Figure 2."""
    return _draw_run(scene, "kvmgan", _MEMORY_STEPS)


def draw_reproduction(scene: Scene) -> Canvas:
    """Draw Figure 1 of the student reproduction, whose model differs from DM-GAN in training only."""
    return _draw_run(scene, "dmgan-004", _MEMORY_STEPS)


def draw_mdsp(scene: Scene) -> Canvas:
    """Draw Figure 2 of the memory-driven model, with its discriminators."""
    return _draw_run(scene, "mdsp", _COMBINING_STEPS, _CONTENT)


def _draw_run(scene: Scene, name: str, steps: Mapping[str, str], note: str = "") -> Canvas:
    run = scene.run_of(name)
    return draw_architecture(title(name), trace(build(run), run.max_words), steps, note)


def draw_architecture(name: str, found: Trace, steps: Mapping[str, str], note: str = "") -> Canvas:
    """Draw the networks of a model: one column for the inputs, then one for each stage.

    steps: name of a part, without what follows a dot -> step of the paper that it computes; note: a sentence below.
    """
    columns = range(1, max(block.stage for block in found.blocks) + 1)
    rows = [*_kinds(found.blocks), "image", "D"]
    boxes = _boxes(found, steps)
    heights = {row: max((box.height for (_, kind), box in boxes.items() if kind == row), default=0.0) for row in rows}
    first = [box for (column, _), box in boxes.items() if column == 0]
    foot = wrap(f"{_FOOT} {note}", _width(columns) - 2 * MARGIN, SMALL)
    top = MARGIN + 2 * line_height(MEDIUM) + 0.1
    below = max(sum(heights.values()) + _ROW_GAP * (len(rows) - 1), sum(box.height + _ROW_GAP for box in first))
    canvas = Canvas(_width(columns), top + below + 0.08 + len(foot) * line_height(SMALL) + MARGIN)
    trained = sum(block.parameters for block in found.discriminators)
    canvas.lines(MARGIN, MARGIN, [f"{name}: generator {found.generator_parameters:,} trained parameters"], MEDIUM)
    canvas.lines(MARGIN, MARGIN + line_height(MEDIUM), [f"Discriminators, in training only: {trained:,}"], SMALL, GREY)
    canvas.lines(MARGIN, canvas.height - MARGIN - len(foot) * line_height(SMALL), foot, SMALL, GREY)

    y = top
    for box in first:
        box.draw(canvas, MARGIN, y)
        y += box.height + _ROW_GAP
    places: dict[tuple[int, str], float] = {}
    y = top
    for row in rows:
        for column in columns:
            if (column, row) in boxes:
                boxes[column, row].draw(canvas, _left(column), y)
                places[column, row] = y
        y += heights[row] + _ROW_GAP
    _draw_arrows(canvas, found, boxes, places)
    _draw_arrows_of_inputs(canvas, found, boxes, places, top)
    return canvas


def _draw_arrows(canvas: Canvas, found: Trace, boxes: Mapping[tuple[int, str], "Box"], places: Mapping) -> None:
    """Draw an arrow where a box reads the box above it, or the same row's box of the stage before."""
    reads = {(block.stage, block.kind): block.reads for block in found.blocks}
    for (column, row), y in places.items():
        if f"{row}{column - 1}" in reads.get((column, row), ()):
            height = y + line_height(SMALL)
            canvas.arrow((_left(column) - _BETWEEN, height), (_left(column), height))
        higher = [(top, kind) for (other, kind), top in places.items() if other == column and top < y]
        if not higher:
            continue
        above_y, kind = max(higher)
        if row in ("image", "D") or f"{kind}{column}" in reads.get((column, row), ()):
            middle = _left(column) + _COLUMN / 2
            canvas.arrow((middle, above_y + boxes[column, kind].height), (middle, y))


def _draw_arrows_of_inputs(canvas: Canvas, found: Trace, boxes: Mapping, places: Mapping, top: float) -> None:
    """Draw an arrow from an input to a box of the first stage that reads it, where both are at the same height."""
    members = {**_MEMBERS, **{block.kind: [block.name] for block in found.blocks if not block.stage}}
    y = top
    for (column, kind), box in boxes.items():
        if column:
            continue
        middle = y + box.height / 2
        for block in found.blocks:
            start = places.get((1, block.kind)) if block.stage == 1 else None
            reached = start is not None and start <= middle <= start + boxes[1, block.kind].height
            if reached and set(members[kind]) & set(block.reads):
                canvas.arrow((_left(1) - _BETWEEN, middle), (_left(1), middle))
        y += box.height + _ROW_GAP


def _left(column: int) -> float:
    return MARGIN + _FIRST_COLUMN + _BETWEEN + (column - 1) * (_COLUMN + _BETWEEN)


def _width(columns: Sequence[int]) -> float:
    return _left(columns[-1]) + _COLUMN + MARGIN


def _kinds(blocks: Sequence[Block]) -> list[str]:
    """Return the kinds of the stages' blocks, each after the kinds that it reads."""
    kinds = {block.name: block.kind for block in blocks if block.stage}
    order = graphlib.TopologicalSorter({kind: set() for kind in kinds.values()})
    for block in blocks:
        for name in block.reads if block.stage else ():
            if name in kinds and kinds[name] != block.kind:
                order.add(block.kind, kinds[name])
    return list(order.static_order())


class Line(NamedTuple):
    """A line of text in a box, with text at its right end."""

    left: str
    right: str = ""
    weight: str = "normal"
    colour: str = INK


class Item(NamedTuple):
    """Lines inside a box; with a frame of their own, they are a part of the box."""

    lines: list[Line]
    framed: bool = False

    @property
    def height(self) -> float:
        return len(self.lines) * line_height(SMALL) + (2 * _INSIDE if self.framed else 0.0) + _GAP


class Box(NamedTuple):
    """A box of the diagram."""

    width: float
    fill: str
    items: list[Item]

    @property
    def height(self) -> float:
        return sum(item.height for item in self.items) - _GAP + 2 * _PAD

    def draw(self, canvas: Canvas, left: float, top: float) -> None:
        """Draw the box with its top left corner at the given place."""
        canvas.box(left, top, self.width, self.height, self.fill)
        y = top + _PAD
        for item in self.items:
            inset, first = (2 * _PAD, y + _INSIDE) if item.framed else (_PAD, y)
            if item.framed:
                frame = item.height - _GAP
                canvas.box(left + _PAD, y, self.width - 2 * _PAD, frame, _PART)
            for number, line in enumerate(item.lines):
                place = first + number * line_height(SMALL)
                if line.left:
                    canvas.lines(left + inset, place, [line.left], SMALL, line.colour, line.weight)
                if line.right:
                    end = left + self.width - inset - text_width(line.right, SMALL)
                    canvas.lines(end, place, [line.right], SMALL, line.colour)
            y += item.height


def _boxes(found: Trace, steps: Mapping[str, str]) -> dict[tuple[int, str], Box]:
    """Return the boxes by column and row; the rows of column 0 are numbers in text."""
    boxes = {}
    for name, members in _MEMBERS.items():
        given = [Line(each, found.inputs[each]) for each in members if each in found.inputs]
        if given:
            notes = [Line(line, colour=GREY) for line in wrap(_MEANS[name], _FIRST_COLUMN - 2 * _PAD, SMALL)]
            boxes[0, name] = Box(_FIRST_COLUMN, _INPUT, [Item([Line(name, weight="bold"), *notes, *given])])
    for block in found.blocks:
        width = _COLUMN if block.stage else _FIRST_COLUMN
        boxes[block.stage, block.kind] = Box(width, _MODULE, _items(block, steps, width))
    for stage, shape in found.images.items():
        boxes[stage, "image"] = Box(_COLUMN, _IMAGE, [Item([Line(f"Image of stage {stage}", shape, "bold")])])
    for stage, block in zip(found.images, found.discriminators, strict=True):
        boxes[stage, "D"] = Box(_COLUMN, _DISCRIMINATOR, _items(block, {}, _COLUMN, shows_input=True))
    return boxes


def _items(block: Block, steps: Mapping[str, str], width: float, shows_input: bool = False) -> list[Item]:
    """Return the content of a module's box: its head, and its parts under the steps that they compute."""
    room = width - 2 * _PAD
    head = [Line(block.name, _count(block.parameters), "bold")]
    head += [Line(line) for line in wrap(block.layers, room, SMALL)]
    head += [Line(line, colour=GREY) for line in wrap(f"reads {', '.join(block.reads)}", room, SMALL)]
    if block.shape:
        head.append(Line(f"gives {block.shape}", colour=GREY))
    items, parts = [Item(head)], block.parts if len(block.parts) > 1 and not block.is_sequence else []
    for step, members in itertools.groupby(parts, lambda part: steps.get(part.name.split(".")[0], "")):
        if step:
            items.append(Item([Line(step)]))
        for part in members:
            items.append(Item(_part_lines(part, room - 2 * _PAD, shows_input), framed=True))
    return items


def _part_lines(part: Part, room: float, shows_input: bool) -> list[Line]:
    """Return the lines of a part: name and shapes, in two lines if they do not fit, then layers and parameters."""
    shape, count = f"{part.read} → {part.shape}" if shows_input else part.shape, _count(part.parameters)
    fits = text_width(part.name, SMALL, "bold") + text_width(shape, SMALL) + 0.08 <= room
    lines = [Line(part.name, shape, "bold")] if fits else [Line(part.name, weight="bold"), Line("", shape)]
    layers = wrap(part.layers, room - text_width(count, SMALL) - 0.05, SMALL)
    return [*lines, Line(layers[0], count, colour=GREY), *(Line(text, colour=GREY) for text in layers[1:])]


def _count(parameters: int) -> str:
    """Return a number of parameters as in 12, 3.4 K or 5.67 M; "" for none."""
    if parameters >= 1_000_000:
        return f"{parameters / 1e6:.2f} M"
    return f"{parameters / 1e3:.1f} K" if parameters >= 1000 else f"{parameters}" if parameters else ""
