"""Image grids of models, stages, noises, and retrieved images with outputs."""

from collections.abc import Sequence

import numpy as np

from dmgan.data.batches import centre_crop, to_uint8
from dmgan.models.registry import find
from dmgan.report.figures.canvas import GAP, LABEL, MARGIN, MEDIUM, SIDE, SMALL, Canvas, line_height, wrap
from dmgan.report.figures.scene import Scene, title
from dmgan.sampling.trained_model import TrainedModel, generate_images, retrieve

COLUMNS = 8  # captions of Figures 3 and 4, noises of Figure 5
_RIVALS = {"stackganpp": "StackGAN++", "attngan": "AttnGAN", "dfgan": "DF-GAN", "mdsp": "MDSP"}
_ROWS = 4  # captions of the figures with one caption a row
_NOISES = COLUMNS - 1  # the first column shows the retrieved image
_CAPTION_COLUMN = 1.5  # width in inches of the column of captions


def draw_models(scene: Scene) -> Canvas:
    """Draw Figure 3: the real images, then the images of every model for the same captions."""
    numbers = scene.caption_numbers(COLUMNS)
    heading = f"Test captions of {scene.dataset.name_of_set}"
    rows = [("Real image", [scene.real_image(number) for number in numbers])]
    for run in scene.runs:
        images = scene.generate(run, numbers).images[-1]
        rows.append((f"{title(run.name)}\nseed {run.options['seed']}", list(to_uint8(images))))
    return draw_gallery(heading, [scene.caption(number) for number in numbers], rows)


def draw_rivals(scene: Scene) -> Canvas:
    """Draw Figure 1 of the memory-driven model's paper: four models, same captions; mark models that were not run."""
    numbers = scene.caption_numbers(COLUMNS)
    by_name = {run.name: run for run in scene.runs}
    rows = [("Real image", [scene.real_image(number) for number in numbers])]
    for name, label in _RIVALS.items():
        if name in by_name:
            images = list(to_uint8(scene.generate(by_name[name], numbers).images[-1]))
            rows.append((f"{label}\nseed {by_name[name].options['seed']}", images))
        else:
            rows.append((f"{label}\nnot run", []))
    heading = f"Test captions of {scene.dataset.name_of_set}"
    return draw_gallery(heading, [scene.caption(number) for number in numbers], rows)


def draw_stages(scene: Scene) -> Canvas:
    """Draw Figure 4: the images of every stage."""
    numbers = scene.caption_numbers(COLUMNS)
    run, named = scene.main_run()
    images = scene.generate(run, numbers).images
    rows = [(f"{each.shape[-1]} × {each.shape[-1]} px", list(to_uint8(each))) for each in images]
    return draw_gallery(f"Stages of {named}", [scene.caption(number) for number in numbers], rows)


def draw_gallery(heading: str, captions: Sequence[str], rows: Sequence[tuple[str, list[np.ndarray]]]) -> Canvas:
    """Draw a grid of images, with captions above the columns and labels left of the rows."""
    wrapped = [wrap(caption, SIDE - 0.04, SMALL) for caption in captions]
    head = MARGIN + line_height(MEDIUM) + 0.08
    first = head + max(len(lines) for lines in wrapped) * line_height(SMALL) + 0.06
    step = SIDE + GAP
    canvas = Canvas(2 * MARGIN + LABEL + len(captions) * step - GAP, first + len(rows) * step - GAP + MARGIN)
    canvas.lines(MARGIN, MARGIN, [heading], MEDIUM)
    for column, lines in enumerate(wrapped):
        # Captions are aligned at the bottom, directly above the images.
        top = first - 0.06 - len(lines) * line_height(SMALL)
        canvas.lines(MARGIN + LABEL + column * step, top, lines, SMALL)
    for row, (label, images) in enumerate(rows):
        canvas.row_label(first + row * step, label)
        for column, image in enumerate(images):
            canvas.image(MARGIN + LABEL + column * step, first + row * step, image)
    return canvas


def draw_noises(scene: Scene) -> Canvas:
    """Draw Figure 5: one caption per row, one noise per column."""
    run, named = scene.main_run()
    numbers = scene.caption_numbers(_ROWS)
    noise = run.noise(scene.seed, range(COLUMNS))
    step, first = SIDE + GAP, MARGIN + line_height(MEDIUM) + 0.1
    # Long captions make their row higher.
    lines = [wrap(scene.caption(number), _CAPTION_COLUMN - 0.12, SMALL + 0.5) for number in numbers]
    heights = [max(step, len(each) * line_height(SMALL + 0.5) + GAP) for each in lines]
    canvas = Canvas(2 * MARGIN + _CAPTION_COLUMN + COLUMNS * step - GAP, first + sum(heights) - GAP + MARGIN)
    canvas.lines(MARGIN, MARGIN, [f"One caption a row, one noise a column: {named}"], MEDIUM)
    for number, caption, height in zip(numbers, lines, heights, strict=True):
        canvas.lines(MARGIN, first + (height - GAP - len(caption) * line_height(SMALL + 0.5)) / 2, caption, SMALL + 0.5)
        images = generate_images(run, [scene.tokens(run, number)] * COLUMNS, noise).images[-1]
        for column, image in enumerate(to_uint8(images)):
            canvas.image(MARGIN + _CAPTION_COLUMN + column * step, first + (height - step) / 2, image)
        first += height
    return canvas


def draw_retrieved(scene: Scene) -> Canvas:
    """Draw Figure 3 of MDSP: for each caption the retrieved image, the output and the real image."""
    run, numbers = _retrieving_run(scene), scene.caption_numbers(COLUMNS)
    outputs = scene.generate(run, numbers).images[-1]
    rows = [
        ("Retrieved image", _retrieved_images(scene, run, numbers)),
        (_named(run), list(to_uint8(outputs))),
        ("Real image", [scene.real_image(number) for number in numbers]),
    ]
    heading = "Retrieved training images, and images generated from their features and the captions"
    return draw_gallery(heading, [scene.caption(number) for number in numbers], rows)


def draw_retrieved_noises(scene: Scene) -> Canvas:
    """Draw Figure 5 of MDSP: per row a caption, the retrieved image, and outputs with different noises."""
    run, numbers = _retrieving_run(scene), scene.caption_numbers(_ROWS)
    noise = run.noise(scene.seed, range(_NOISES))
    size, step = SMALL + 0.5, SIDE + GAP
    captions = [wrap(scene.caption(number), _CAPTION_COLUMN - 0.12, size) for number in numbers]
    heights = [max(step, len(each) * line_height(size) + GAP) for each in captions]
    top = MARGIN + line_height(MEDIUM) + 0.08
    first = top + line_height(size) + 0.04
    canvas = Canvas(2 * MARGIN + _CAPTION_COLUMN + COLUMNS * step - GAP, first + sum(heights) - GAP + MARGIN)
    canvas.lines(MARGIN, MARGIN, [f"Caption and retrieved image kept, noise changed: {_named(run, ', ')}"], MEDIUM)
    canvas.lines(MARGIN + _CAPTION_COLUMN, top, ["retrieved"], size)
    canvas.lines(MARGIN + _CAPTION_COLUMN + step, top, ["outputs"], size)
    for number, caption, height in zip(numbers, captions, heights, strict=True):
        canvas.lines(MARGIN, first + (height - GAP - len(caption) * line_height(size)) / 2, caption, size)
        (retrieved,) = _retrieved_images(scene, run, [number])
        outputs = generate_images(run, [scene.tokens(run, number)] * _NOISES, noise).images[-1]
        for column, image in enumerate([retrieved, *to_uint8(outputs)]):
            canvas.image(MARGIN + _CAPTION_COLUMN + column * step, first + (height - step) / 2, image)
        first += height
    return canvas


def _retrieving_run(scene: Scene) -> TrainedModel:
    return next(run for run in scene.runs if find(run.name).retrieves)


def _named(run: TrainedModel, between: str = "\n") -> str:
    return f"{title(run.name)}{between}seed {run.options['seed']}"


def _retrieved_images(scene: Scene, run: TrainedModel, numbers: Sequence[int]) -> list[np.ndarray]:
    indices = retrieve(run, [scene.tokens(run, number) for number in numbers])
    dataset = run.memory_bank.dataset
    return [centre_crop(dataset, int(index), dataset.image_size) for index in indices]
