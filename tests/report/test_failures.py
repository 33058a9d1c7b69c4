"""The gallery of failures: which images its rules select."""

import json

import numpy as np
import pytest

from dmgan.data.batches import centre_crop
from dmgan.errors import UserError
from dmgan.evaluation.image_sets import ImageSet
from dmgan.report.figures.failure_gallery import (
    Case,
    Failures,
    draw_failures,
    most_alike,
    nearest,
    not_found,
    read_failures,
    thumbnails,
)
from dmgan.sampling.image_folder import MANIFEST
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from tests.conftest import CPU


@pytest.fixture(scope="module")
def images(run_folder, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampled") / "images"
    sample_test_captions(run_folder, data, folder, SampleRequest(6, 100), CPU)
    return folder


def write_evaluation(folder, images):
    """Write metrics.json and per_image.npz of sampled images: the third is not found by any metric."""
    manifest = json.loads((images / MANIFEST).read_text())
    inputs = {"generator_sha256": manifest["generator_sha256"], "sampling_seed": manifest["seed"], "images_sha256": "p"}
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"metrics": {}, "inputs": inputs}))
    arrays = {"hits/R-precision(a)": [1, 1, 0, 1, 0, 1], "counts/R-precision(a)": [1] * 6}
    arrays |= {"hits/Attribute accuracy(b)": [2, 4, 0, 4, 4, 4], "counts/Attribute accuracy(b)": [4] * 6}
    arrays |= {"test_images": [each["test_image"] for each in manifest["images"]], "folds": [0] * 6}
    np.savez(folder / "per_image.npz", images_sha256=np.array("p"), captions=np.zeros(6, int), **arrays)
    return folder / "metrics.json"


def test_the_least_found_images_come_first_and_found_ones_never():
    hits = {"a": np.array([1.0, 1.0, 0.0, 1.0, 0.0, 1.0]), "b": np.array([0.5, 1.0, 0.0, 1.0, 1.0, 1.0])}
    assert not_found(hits, 6) == [2, 4, 0]
    assert not_found(hits, 2) == [0]
    assert not_found({}, 6) == []


def test_the_nearest_pair_is_found_over_blocks_of_images():
    random = np.random.default_rng(0)
    images, others = random.random((700, 12), np.float32), random.random((50, 12), np.float32)
    images[610] = others[7] + 0.01
    pair = nearest(images, others)
    assert pair[:2] == (610, 7) and pair.distance == pytest.approx(0.01, rel=0.05)


def test_images_of_one_test_image_are_not_called_alike():
    rows = np.array([[0.0], [0.0], [0.4], [0.5]], np.float32)
    assert most_alike(rows, np.array([1, 1, 2, 3]))[:2] == (2, 3)
    assert most_alike(rows, np.array([1, 1, 1, 1])) is None


def test_thumbnails_are_colour_averages():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:2, :2, 0] = [[255, 255], [0, 0]]
    row = thumbnails(lambda number: image, 1)[0]
    assert row.shape == (16 * 16 * 3,) and row[0] == pytest.approx(0.5, abs=0.01) and row[1:].max() == 0


def test_a_copied_training_image_is_shown_beside_the_output(images, data, dataset, tmp_path):
    file = write_evaluation(tmp_path / "evaluation", images)
    failures = read_failures([file], [images], data)
    (case,) = failures.cases
    copied = int(dataset.indices("train")[5])
    real = centre_crop(dataset, copied, dataset.image_size)
    sampled = case.images.read
    spoiled = ImageSet(**{**case.images._asdict(), "read": lambda number: real if number == 4 else sampled(number)})
    canvas = draw_failures(Failures(failures.dataset, [Case(spoiled, case.hits)]))
    shown = [axes.images[0].get_array() for axes in canvas.figure.axes]
    assert len(shown) == 3 + 2 + 2  # three images are not found by every metric
    assert np.array_equal(shown[0], sampled(2)) and np.array_equal(shown[3], real) and np.array_equal(shown[4], real)
    texts = " ".join(text.get_text() for text in canvas.figure.texts)
    assert "DM-GAN, seed 0: R-precision(a) 66.7 %; Attribute accuracy(b) 75.0 %" in texts
    assert "of 8 real test images" in texts and "0.000 from a" in texts and "Searched: 6 images a model." in texts


def test_files_of_different_images_are_refused(images, data, tmp_path):
    file = write_evaluation(tmp_path / "evaluation", images)
    with pytest.raises(UserError, match="--images: 0 folders for 1 metrics.json"):
        read_failures([file], [], data)
    content = json.loads(file.read_text())
    content["inputs"]["generator_sha256"] = "another"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="metrics.json: is not of the images in"):
        read_failures([file], [images], data)
