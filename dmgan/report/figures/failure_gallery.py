"""Failures of every model, selected by rule: captions not found, outputs near a training image, outputs alike."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dmgan.data.batches import centre_crop
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation.image_sets import ImageSet, sampled_images
from dmgan.evaluation.paired_comparison import read_per_image
from dmgan.report.figures.canvas import Canvas
from dmgan.report.figures.panels import Panel, draw_panels
from dmgan.report.figures.scene import title

_NOT_FOUND = 4  # images for each model
_SIDE = 16  # px, of the colour averages that distances are of
_CHUNK = 512  # images whose distances are computed at once
IMAGES = 2000  # the first images of a model that are searched
_FOOT = (
    "Selected by rule, not at random. Not found: the images with the fewest hits of the metrics that are named, of "
    "equal ones the first. Distance: root mean squared difference of 16 × 16 px colour averages; black to white is 1. "
    "Alike: the two outputs of different test images with the least distance. Percentages: hits of all images."
)


class Case(NamedTuple):
    """The images of one model, with their per-image hits."""

    images: ImageSet
    hits: Mapping[str, np.ndarray]  # key of a metric -> (N,) share of hits of each image, from 0 to 1


class Failures(NamedTuple):
    """Input of the figure: one image set of each model, and the data set of the captions."""

    dataset: PreparedDataset
    cases: Sequence[Case]


class Pair(NamedTuple):
    """Two images and their distance."""

    first: int
    second: int
    distance: float


def read_failures(metrics: Sequence[Path], images: Sequence[Path], data: Path) -> Failures:
    """Read metrics.json with its per-image values and the image folder of every model, in the same order.

    UserError if a metrics.json is of other images than the folder of the same place.
    """
    if len(metrics) != len(images):
        raise UserError(
            f"--images: {len(images)} folders for {len(metrics)} metrics.json; give one for each, in the same order"
        )
    dataset, cases = PreparedDataset(data), []
    for file, folder in zip(metrics, images, strict=True):
        measured, subject = read_per_image(file), sampled_images(folder, dataset)
        same = all(measured.inputs.get(key) == subject.inputs[key] for key in ("generator_sha256", "sampling_seed"))
        if not same or len(measured.arrays["test_images"]) != len(subject):
            raise UserError(f"{file}: is not of the images in {folder}; give the files of one evaluation together")
        keys = [name.removeprefix("hits/") for name in measured.arrays if name.startswith("hits/")]
        hits = {key: measured.arrays[f"hits/{key}"] / measured.arrays[f"counts/{key}"].clip(min=1) for key in keys}
        cases.append(Case(subject, hits))
    return Failures(dataset, cases)


def draw_failures(failures: Failures) -> Canvas:
    """Draw one row of images for each model."""
    dataset = failures.dataset
    train = dataset.indices("train")
    of_training = thumbnails(lambda number: centre_crop(dataset, int(train[number]), dataset.image_size), len(train))
    test = dataset.indices("test")[:IMAGES]
    of_test = thumbnails(lambda number: centre_crop(dataset, int(test[number]), dataset.image_size), len(test))
    panels = [_panel(dataset, case, train, of_training) for case in failures.cases]
    searched = max(min(len(case.images), IMAGES) for case in failures.cases)
    foot = (
        f"{_FOOT} For scale: of {len(test):,} real test images, the nearest to a training image is at "
        f"{nearest(of_test, of_training).distance:.3f}. Searched: {searched:,} images a model."
    )
    return draw_panels(f"Failures on {dataset.name_of_set}", panels, foot)


def _panel(dataset: PreparedDataset, case: Case, train: np.ndarray, of_training: np.ndarray) -> Panel:
    subject = case.images
    count = min(len(subject), IMAGES)
    made = thumbnails(subject.read, count)
    worst = not_found(case.hits, count)
    near, alike = nearest(made, of_training), most_alike(made, subject.test_images[:count])
    shown = [(f"not found: {_caption(dataset, subject, number)}", subject.read(number)) for number in worst]
    shown += [
        (f"{near.distance:.3f} from a training image", subject.read(near.first)),
        ("that training image", centre_crop(dataset, int(train[near.second]), dataset.image_size)),
    ]
    if alike is not None:
        shown += [
            (f"{alike.distance:.3f} apart: {_caption(dataset, subject, alike.first)}", subject.read(alike.first)),
            (f"alike: {_caption(dataset, subject, alike.second)}", subject.read(alike.second)),
        ]
    rates = "; ".join(f"{key} {100 * values.mean():.1f} %" for key, values in case.hits.items())
    heading = f"{title(subject.name)}, seed {subject.seed}: {rates or 'no metric with per-image hits was measured'}"
    return Panel(heading, [head for head, _ in shown], [("", [image for _, image in shown])])


def _caption(dataset: PreparedDataset, subject: ImageSet, number: int) -> str:
    return dataset.caption(int(subject.test_images[number]), int(subject.captions[number]))


def thumbnails(read: Callable[[int], np.ndarray], count: int) -> np.ndarray:
    """Return the colour averages (N, 16 * 16 * 3) float32 of images, from 0 to 1."""
    rows = np.empty((count, _SIDE * _SIDE * 3), np.float32)
    for number in range(count):
        small = Image.fromarray(read(number)).resize((_SIDE, _SIDE), Image.BOX)
        rows[number] = np.asarray(small, dtype=np.float32).ravel() / 255
    return rows


def not_found(hits: Mapping[str, np.ndarray], count: int) -> list[int]:
    """Return the images among the first `count` with the least mean share of hits, of equal ones the first.

    Images that every metric finds are left out; the list is empty without metrics.
    """
    if not hits:
        return []
    share = np.mean([values[:count] for values in hits.values()], axis=0)
    order = np.argsort(share, kind="stable")[:_NOT_FOUND]
    return [int(number) for number in order if share[number] < 1]


def nearest(images: np.ndarray, others: np.ndarray) -> Pair:
    """Return the image (row of `images`) and the row of `others` with the least distance."""
    best = Pair(0, 0, np.inf)
    for start in range(0, len(images), _CHUNK):
        distances = _distances(images[start : start + _CHUNK], others)
        row, column = np.unravel_index(np.argmin(distances), distances.shape)
        if distances[row, column] < best.distance:
            best = Pair(start + int(row), int(column), float(distances[row, column]))
    return best


def most_alike(images: np.ndarray, test_images: np.ndarray) -> Pair | None:
    """Return the two images of different test images with the least distance; None if all are of one test image."""
    best = Pair(0, 0, np.inf)
    for start in range(0, len(images), _CHUNK):
        some = slice(start, start + _CHUNK)
        distances = _distances(images[some], images)
        distances[test_images[some, None] == test_images[None, :]] = np.inf
        row, column = np.unravel_index(np.argmin(distances), distances.shape)
        if distances[row, column] < best.distance:
            best = Pair(*sorted((start + int(row), int(column))), float(distances[row, column]))
    return best if np.isfinite(best.distance) else None


def _distances(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the root mean squared differences (N, M) of rows."""
    squares = (images**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None, :] - 2 * images @ others.T
    return np.sqrt(squares.clip(min=0) / images.shape[1])
