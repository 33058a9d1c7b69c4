"""Galleries: images of several models, of several stages, of several noises."""

from collections.abc import Sequence

import numpy as np
import torch

from dmgan.data.batches import to_uint8
from dmgan.report.canvas import GAP, LABEL, MARGIN, MEDIUM, SIDE, SMALL, Canvas, line_height, wrap
from dmgan.report.scene import Scene, title
from dmgan.sampling.trained_model import generate_images, image_noise

COLUMNS = 8  # captions of Figures 3 and 4, noises of Figure 5
_RIVALS = {"stackganpp": "StackGAN++", "attngan": "AttnGAN", "dfgan": "DF-GAN", "mdsp": "MDSP"}
_FIGURE5_CAPTIONS = 4
_CAPTION_COLUMN = 1.5  # inches of Figure 5's captions


def draw_models(scene: Scene) -> Canvas:
    """Figure 3: the real image, then every model, under the same captions."""
    numbers = scene.caption_numbers(COLUMNS)
    heading = f"Test captions of {scene.dataset.description['source']['name']}"
    rows = [("Real image", [scene.real_image(number) for number in numbers])]
    for run in scene.runs:
        images = scene.generate(run, numbers).images[-1]
        rows.append((f"{title(run.name)}\nseed {run.options['seed']}", list(to_uint8(images))))
    return draw_gallery(heading, [scene.caption(number) for number in numbers], rows)


def draw_rivals(scene: Scene) -> Canvas:
    """Figure 1 of the memory-driven model's paper: its four models under the same captions, or that one was not run."""
    numbers = scene.caption_numbers(COLUMNS)
    by_name = {run.name: run for run in scene.runs}
    rows = [("Real image", [scene.real_image(number) for number in numbers])]
    for name, label in _RIVALS.items():
        if name in by_name:
            images = list(to_uint8(scene.generate(by_name[name], numbers).images[-1]))
            rows.append((f"{label}\nseed {by_name[name].options['seed']}", images))
        else:
            rows.append((f"{label}\nnot run", []))
    heading = f"Test captions of {scene.dataset.description['source']['name']}"
    return draw_gallery(heading, [scene.caption(number) for number in numbers], rows)


def draw_stages(scene: Scene) -> Canvas:
    """Figure 4: the images of every stage."""
    numbers = scene.caption_numbers(COLUMNS)
    run, named = scene.main_run()
    images = scene.generate(run, numbers).images
    rows = [(f"{each.shape[-1]} × {each.shape[-1]} px", list(to_uint8(each))) for each in images]
    return draw_gallery(f"Stages of {named}", [scene.caption(number) for number in numbers], rows)


def draw_gallery(heading: str, captions: Sequence[str], rows: Sequence[tuple[str, list[np.ndarray]]]) -> Canvas:
    """Captions above columns of images, labels beside the rows."""
    wrapped = [wrap(caption, SIDE - 0.04, SMALL) for caption in captions]
    head = MARGIN + line_height(MEDIUM) + 0.08
    first = head + max(len(lines) for lines in wrapped) * line_height(SMALL) + 0.06
    step = SIDE + GAP
    canvas = Canvas(2 * MARGIN + LABEL + len(captions) * step - GAP, first + len(rows) * step - GAP + MARGIN)
    canvas.lines(MARGIN, MARGIN, [heading], MEDIUM)
    for column, lines in enumerate(wrapped):
        # Captions stand on the images, whatever their number of lines.
        top = first - 0.06 - len(lines) * line_height(SMALL)
        canvas.lines(MARGIN + LABEL + column * step, top, lines, SMALL)
    for row, (label, images) in enumerate(rows):
        canvas.row_label(first + row * step, label)
        for column, image in enumerate(images):
            canvas.image(MARGIN + LABEL + column * step, first + row * step, image)
    return canvas


def draw_noises(scene: Scene) -> Canvas:
    """Figure 5: one caption a row, another noise in every column."""
    run, named = scene.main_run()
    numbers = scene.caption_numbers(_FIGURE5_CAPTIONS)
    noise = torch.stack([image_noise(scene.seed, number, run.model.noise_dim) for number in range(COLUMNS)])
    step, first = SIDE + GAP, MARGIN + line_height(MEDIUM) + 0.1
    # Captions of many words make their row higher.
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
