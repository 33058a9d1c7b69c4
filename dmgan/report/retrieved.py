"""Figures 3 and 5 of MDSP's paper: outputs beside the images that they were retrieved from, and other noises."""

from collections.abc import Sequence

import numpy as np
import torch

from dmgan.data.batches import centre_crop, to_uint8
from dmgan.report.canvas import GAP, MARGIN, MEDIUM, SIDE, SMALL, Canvas, line_height, wrap
from dmgan.report.galleries import COLUMNS, draw_gallery
from dmgan.report.scene import Scene, title
from dmgan.sampling.trained_model import TrainedModel, generate_images, image_noise, retrieve

RETRIEVING = "mdsp"  # the model of that paper
_CAPTIONS = 4  # of Figure 5
_NOISES = COLUMNS - 1
_CAPTION_COLUMN = 1.5  # inches


def draw_retrieved(scene: Scene) -> Canvas:
    """Figure 3 of MDSP: what each caption retrieved, what became of it, and the image that the caption describes."""
    run, numbers = _retrieving_run(scene), scene.caption_numbers(COLUMNS)
    outputs = scene.generate(run, numbers).images[-1]
    rows = [
        ("Retrieved image", _retrieved_images(scene, run, numbers)),
        (_named(run), list(to_uint8(outputs))),
        ("Real image", [scene.real_image(number) for number in numbers]),
    ]
    heading = "Retrieved training images, and what is made of their features and the caption"
    return draw_gallery(heading, [scene.caption(number) for number in numbers], rows)


def draw_retrieved_noises(scene: Scene) -> Canvas:
    """Figure 5 of MDSP: a caption and its retrieved image a row, another noise in every further column."""
    run, numbers = _retrieving_run(scene), scene.caption_numbers(_CAPTIONS)
    noise = torch.stack([image_noise(scene.seed, number, run.model.noise_dim) for number in range(_NOISES)])
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
    return next(run for run in scene.runs if run.name == RETRIEVING)


def _named(run: TrainedModel, between: str = "\n") -> str:
    return f"{title(run.name)}{between}seed {run.options['seed']}"


def _retrieved_images(scene: Scene, run: TrainedModel, numbers: Sequence[int]) -> list[np.ndarray]:
    indices = retrieve(run, [scene.tokens(run, number) for number in numbers])
    dataset = run.memory_bank.dataset
    return [centre_crop(dataset, int(index), dataset.image_size) for index in indices]
