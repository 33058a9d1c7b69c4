"""Image grids of models, stages, noises, and retrieved images with outputs."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from dmgan.data.batches import centre_crop, to_uint8
from dmgan.models.registry import find
from dmgan.report.figures.canvas import GAP, MARGIN, MEDIUM, SIDE, SMALL, Canvas, line_height, wrap
from dmgan.report.figures.catalogue import find_figure
from dmgan.report.figures.panels import draw_gallery
from dmgan.report.figures.scene import Scene, named, title
from dmgan.sampling.trained_model import TrainedModel, generate_images, retrieve

COLUMNS = 8  # captions of Figures 3 and 4, noises of Figure 5
_ROWS = 4  # captions of the figures with one caption a row
_NOISES = COLUMNS - 1  # the first column shows the retrieved image
_CAPTION_COLUMN = 1.5  # width in inches of the column of captions


def draw_models(scene: Scene) -> Canvas:
    """Draw Figure 3: the real images, then the images of every model for the same captions."""
    return draw_same_captions(scene, [run.name for run in scene.runs])


def draw_rivals(scene: Scene) -> Canvas:
    """Draw Figure 1 of the memory-driven model's paper: four models, same captions."""
    return draw_same_captions(scene, find_figure("002-figure1").models)


def draw_kvmgan_and_attngan(scene: Scene) -> Canvas:
    """Draw KVM-GAN's Figure 3: the images of two models for the same captions."""
    return draw_same_captions(scene, find_figure("kvmgan-figure3").models)


def draw_same_captions(scene: Scene, models: Sequence[str]) -> Canvas:
    """Draw the real images, then a row for each of the models that was run; a line names the others."""
    numbers = scene.caption_numbers(COLUMNS)
    rows = [("Real image", [scene.real_image(number) for number in numbers])]
    for run in filter(None, map(scene.run_of, models)):
        images = scene.generate(run, numbers).images[-1]
        rows.append((named(run, between="\n"), list(to_uint8(images))))
    missing = [title(name) for name in models if scene.run_of(name) is None]
    heading = f"Test captions of {scene.dataset.name_of_set}"
    foot = f"Not run, and therefore not shown: {', '.join(missing)}." if missing else ""
    return draw_gallery(heading, [scene.caption(number) for number in numbers], rows, foot)


def draw_stages(scene: Scene) -> Canvas:
    """Draw Figure 4: the images of every stage."""
    return draw_stages_of(scene, *scene.main_run())


def draw_kvmgan_stages(scene: Scene) -> Canvas:
    """Draw KVM-GAN's Figure 4: the images of every stage of KVM-GAN."""
    run = scene.run_of("kvmgan")
    return draw_stages_of(scene, run, named(run))


def draw_stages_of(scene: Scene, run: TrainedModel, name: str) -> Canvas:
    """Draw the images of every stage of a run, a row for each stage."""
    numbers = scene.caption_numbers(COLUMNS)
    rows = [stage_row(each) for each in scene.generate(run, numbers).images]
    return draw_gallery(f"Stages of {name}", [scene.caption(number) for number in numbers], rows)


def stage_row(images: Tensor) -> tuple[str, list[np.ndarray]]:
    """Return label and pixels of the row of a stage's images (B, 3, s, s)."""
    return f"{images.shape[-1]} × {images.shape[-1]} px", list(to_uint8(images))


def draw_noises(scene: Scene) -> Canvas:
    """Draw Figure 5: one caption per row, one noise per column."""
    run, name = scene.main_run()
    numbers = scene.caption_numbers(_ROWS)
    noise = run.noise(scene.seed, range(COLUMNS))
    step, first = SIDE + GAP, MARGIN + line_height(MEDIUM) + 0.1
    # Long captions make their row higher.
    lines = [wrap(scene.caption(number), _CAPTION_COLUMN - 0.12, SMALL + 0.5) for number in numbers]
    heights = [max(step, len(each) * line_height(SMALL + 0.5) + GAP) for each in lines]
    canvas = Canvas(2 * MARGIN + _CAPTION_COLUMN + COLUMNS * step - GAP, first + sum(heights) - GAP + MARGIN)
    canvas.lines(MARGIN, MARGIN, [f"One caption a row, one noise a column: {name}"], MEDIUM)
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
        (named(run, between="\n"), list(to_uint8(outputs))),
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
    canvas.lines(MARGIN, MARGIN, [f"Caption and retrieved image kept, noise changed: {named(run)}"], MEDIUM)
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
    return next(run for run in scene.runs if find(run.name).retrieves and find(run.name).ablation_of is None)


def _retrieved_images(scene: Scene, run: TrainedModel, numbers: Sequence[int]) -> list[np.ndarray]:
    indices = retrieve(run, [scene.tokens(run, number) for number in numbers])
    dataset = run.memory_bank.dataset
    return [centre_crop(dataset, int(index), dataset.image_size) for index in indices]
