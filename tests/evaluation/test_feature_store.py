"""The feature store: what it resumes, what it refuses, and what changes nothing."""

import json
import multiprocessing
import os
import pickle
import resource
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dmgan.errors import UserError
from dmgan.evaluation import feature_store, image_blocks
from dmgan.evaluation.controls import NoiseImages
from dmgan.evaluation.feature_store import Rows, extract, features_in_ram
from dmgan.evaluation.image_blocks import Loading, Request
from dmgan.evaluation.image_sets import ImageFiles, RealImages
from dmgan.evaluation.networks.base import FeatureExtractor
from dmgan.evaluation.networks.inception_2015 import pil_bilinear
from dmgan.evaluation.networks.inception_clean import clean_resize
from dmgan.storage import files
from tests.conftest import CPU
from tests.storage.full_disk import check_full_disk

COUNT = 50


class Network(FeatureExtractor):
    """Convolution and pooling; counts the images it sees."""

    name = "network"

    def __init__(self, prepare=None, sha256="one", name="network"):
        super().__init__({"features": 6, "logits": 3}, {"feature_network": name, "feature_network_sha256": sha256})
        self.name, self.prepare, self.seen = name, prepare, 0
        random = torch.Generator().manual_seed(0)
        self.filters = torch.randn(6, 3, 3, 3, generator=random) / 100

    def forward(self, batch):
        self.seen += len(batch)
        pooled = torch.conv2d(batch.permute(0, 3, 1, 2).float(), self.filters).relu().mean(dim=(2, 3))
        return {"features": pooled, "logits": pooled[:, :3]}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """50 image files; chunks of 16 images in forward passes of 8."""
    monkeypatch.setattr(feature_store, "FORWARD", 8)
    monkeypatch.setattr(feature_store, "CHUNK", 16)
    random = np.random.default_rng(0)
    for number in range(COUNT):
        Image.fromarray(random.integers(256, size=(12, 12, 3), dtype=np.uint8)).save(tmp_path / f"{number:03d}.png")
    return tmp_path


def images_in(folder: Path) -> ImageFiles:
    return ImageFiles([folder / f"{number:03d}.png" for number in range(COUNT)], 12, "draw it again")


def extracted(folder: Path, network, store="store", **loading) -> dict[str, np.ndarray]:
    stored = extract(images_in(folder), COUNT, [network], folder / store, CPU, **loading)[network.name]
    return {array: rows.all() for array, rows in stored.arrays.items()}


def test_a_second_call_reads_the_images_and_runs_no_network(folder, capsys):
    first, again = Network(), Network()
    values = extracted(folder, first)
    assert first.seen == 56  # the last pass is filled up
    assert np.array_equal(extracted(folder, again)["features"], values["features"]) and again.seen == 0
    assert "again" not in capsys.readouterr().err


def test_values_depend_on_neither_batch_size_nor_workers(folder):
    first = extracted(folder, Network(pil_bilinear), "a")
    for store, loading in {"b": {"batch_size": 7}, "c": {"batch_size": 3, "workers": 2}}.items():
        other = extracted(folder, Network(pil_bilinear), store, **loading)
        assert all(np.array_equal(other[array], first[array]) for array in first)


def test_values_in_ram_are_those_of_the_store(folder):
    prepared = Network(pil_bilinear, name="prepared")
    found = features_in_ram(images_in(folder), COUNT, [Network(), prepared], CPU)
    for network in (Network(), prepared):
        values = extracted(folder, network, network.name)
        assert all(np.array_equal(found[network.name][array].all(), values[array]) for array in values)


def test_an_image_s_values_do_not_depend_on_the_number_of_images(folder):
    """The last, incomplete forward pass has the size of all others: rounding is the same."""
    whole = extracted(folder, Network())["features"]
    part = extract(images_in(folder), 19, [Network()], folder / "part", CPU)["network"]["features"].all()
    assert np.array_equal(part, whole[:19])


def _killed_at(folder: Path, calls: int) -> None:
    network = Network()
    forward = network.forward

    def dying(batch):
        if network.seen >= calls * 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(batch)

    network.forward = dying
    extracted(folder, network)


def test_a_killed_call_resumes_in_its_chunk(folder):
    child = multiprocessing.get_context("fork").Process(target=_killed_at, args=(folder, 5))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    done = files.read_json(folder / "store" / "network" / "manifest.json", "")["done"]
    assert [each is not None for each in done] == [True, True, False, False]
    network = Network()
    values = extracted(folder, network)
    assert network.seen == 24  # of 56
    assert np.array_equal(values["features"], extracted(folder, Network(), "whole")["features"])


def test_changed_images_are_seen_by_their_pixels(folder, capsys):
    """Same folder, same names, same count: a cache keyed on those would be read stale."""
    extracted(folder, Network())
    Image.new("RGB", (12, 12), "red").save(folder / "020.png")
    network = Network()
    values = extracted(folder, network)["features"]
    assert network.seen == 16 and "images 16 to 31 have changed" in capsys.readouterr().err
    assert np.array_equal(values, extracted(folder, Network(), "new")["features"])


def test_images_in_another_order_are_other_images(folder):
    extracted(folder, Network())
    (folder / "000.png").rename(folder / "swap.png")
    (folder / "001.png").rename(folder / "000.png")
    (folder / "swap.png").rename(folder / "001.png")
    network = Network()
    extracted(folder, network)
    assert network.seen == 16


@pytest.mark.parametrize("value", [float("nan"), 1.0])
@pytest.mark.parametrize("array", ["features", "logits"])
def test_damaged_rows_are_computed_again(folder, array, value, capsys):
    """Shape, dtype and length of the file are right."""
    whole = extracted(folder, Network())
    rows = np.load(folder / "store" / "network" / f"{array}.npy", mmap_mode="r+")
    rows[33, 1] = value
    rows.flush()
    network = Network()
    values = extracted(folder, network)
    assert network.seen == 16 and "features of images 32 to 47 are damaged" in capsys.readouterr().err
    assert all(np.array_equal(values[each], whole[each]) for each in whole)


def test_rows_of_a_job_killed_while_it_replaced_them_are_not_read(folder, monkeypatch):
    """The images it read are then put back: the chunk's mark is of them, half of its rows are not."""
    whole = extracted(folder, Network())
    image = (folder / "020.png").read_bytes()
    Image.new("RGB", (12, 12), "red").save(folder / "020.png")
    synced, calls = os.fsync, []

    def killed(descriptor):
        synced(descriptor)
        calls.append(descriptor)
        raise KeyboardInterrupt  # after the first of two arrays

    with monkeypatch.context() as patch:
        patch.setattr(feature_store.os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            extracted(folder, Network())
    assert len(calls) == 1
    assert not np.array_equal(np.load(folder / "store" / "network" / "features.npy"), whole["features"])
    (folder / "020.png").write_bytes(image)
    values = extracted(folder, Network())
    assert all(np.array_equal(values[each], whole[each]) for each in whole)


@pytest.mark.parametrize("change", ["weights", "image"])
def test_rows_that_are_being_read_stay_when_another_job_replaces_them(folder, change):
    stored = extract(images_in(folder), COUNT, [Network()], folder / "store", CPU)["network"]["features"]
    whole = stored.all()
    if change == "image":
        Image.new("RGB", (12, 12), "red").save(folder / "020.png")
    other = Network(sha256="two")
    other.filters = other.filters + 1
    values = extracted(folder, other if change == "weights" else Network())["features"]
    assert not np.array_equal(values, whole) and np.array_equal(stored.all(), whole)
    assert not list((folder / "store" / "network").glob(".*"))


@pytest.mark.parametrize("change", ["weights", "count", "array", "format"])
def test_features_of_other_inputs_are_computed_again(folder, change, capsys):
    extracted(folder, Network())
    network, store = Network(), folder / "store" / "network"
    if change == "weights":
        network = Network(sha256="two")
    if change == "array":
        (store / "logits.npy").write_bytes(b"cut off")
    if change == "format":
        files.write_json(store / "manifest.json", {**files.read_json(store / "manifest.json", ""), "format": 0})
    count = COUNT - 1 if change == "count" else COUNT
    extract(images_in(folder), count, [network], folder / "store", CPU)
    assert network.seen == 56 and "computing them again" in capsys.readouterr().err


def test_a_folder_of_something_else_is_not_replaced_by_features(folder):
    """The folder of the species classifier has the name of an extractor: another --out would replace it."""
    (folder / "network").mkdir()
    (folder / "network" / "classifier.safetensors").write_bytes(b"an hour of training")
    with pytest.raises(UserError, match="network: holds classifier.safetensors, which evaluation did not write"):
        extracted(folder, Network(), ".")
    assert (folder / "network" / "classifier.safetensors").read_bytes() == b"an hour of training"


def test_a_full_disk_is_an_error_before_any_image_is_read(folder):
    """A file-size limit stands in for the full disk."""
    network = Network()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(
            UserError, match=r"features.npy: 1,328 bytes could not be reserved \(File too large\); free"
        ):
            extracted(folder, network)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert network.seen == 0
    extracted(folder, network)
    assert network.seen == 56


def test_networks_share_one_pass_and_join_later(folder):
    reads = []

    class Counted(ImageFiles):
        def __call__(self, number):
            reads.append(number)
            return super().__call__(number)

    images = Counted(images_in(folder).paths, 12, "")
    both = [Network(), Network(clean_resize, name="clean")]
    extract(images, COUNT, both, folder / "store", CPU)
    assert reads == list(range(COUNT))
    third = Network(pil_bilinear, name="third")
    extract(images, COUNT, [*both, third], folder / "store", CPU)
    assert [network.seen for network in (*both, third)] == [56, 56, 56] and len(reads) == 2 * COUNT


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_image_is_named_on_one_line(folder, workers):
    extracted(folder, Network())
    (folder / "033.png").write_bytes((folder / "033.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"^\S*033.png: is not a readable image \([^\n]*draw it again$"):
        extracted(folder, Network(), workers=workers)
    (folder / "033.png").unlink()
    with pytest.raises(UserError, match="033.png: is not a readable image"):
        extracted(folder, Network(), workers=workers)
    Image.new("RGB", (12, 9)).save(folder / "033.png")
    with pytest.raises(UserError, match="033.png: is 12x9 px, not 12x12"):
        extracted(folder, Network(), workers=workers)


def test_features_that_are_not_finite_are_an_error_that_names_the_image(folder):
    network = Network()
    forward = network.forward

    def broken(batch):
        arrays = forward(batch)
        if network.seen == 24:
            arrays["features"][3, 2] = float("nan")
        return arrays

    network.forward = broken
    with pytest.raises(UserError, match="019.png: its features by network are not finite"):
        extracted(folder, network)


def test_images_of_several_sizes_have_the_rows_that_they_have_alone(folder):
    """Up to rounding: passes of several sizes are not padded to 32 images."""

    class Sides(NoiseImages):
        def __call__(self, number):
            return NoiseImages(self.seed, 12 + number % 3)(number)

    mixed = extract(Sides(0, 12), COUNT, [Network()], folder / "mixed", CPU, batch_size=20, workers=2)["network"]
    for side in range(12, 15):
        alone = extract(NoiseImages(0, side), COUNT, [Network()], folder / str(side), CPU)["network"]
        rows = np.arange(side - 12, COUNT, 3)
        np.testing.assert_allclose(mixed["features"].take(rows), alone["features"].take(rows), rtol=1e-5)


def test_a_gpu_s_chunks_are_written_one_behind_and_none_is_lost(folder, monkeypatch):
    whole = extracted(folder, Network())
    monkeypatch.setattr(feature_store, "_chunks_behind", lambda device: 1)
    assert all(np.array_equal(values, whole[array]) for array, values in extracted(folder, Network(), "behind").items())
    (folder / "033.png").write_bytes(b"")
    with pytest.raises(UserError, match="033.png: is not a readable image"):
        extracted(folder, Network(), "cut")
    done = files.read_json(folder / "cut" / "network" / "manifest.json", "")["done"]
    assert [each is not None for each in done] == [True, True, False, False]


def test_a_changed_chunk_is_computed_again_for_every_extractor_that_has_it(folder, monkeypatch, capsys):
    monkeypatch.setattr(feature_store, "_chunks_behind", lambda device: 1)
    old = Network(name="old")
    extract(images_in(folder), COUNT, [old], folder / "store", CPU)
    Image.new("RGB", (12, 12), "red").save(folder / "020.png")
    both = [Network(name="old"), Network(clean_resize, name="new")]
    stored = extract(images_in(folder), COUNT, both, folder / "store", CPU)
    assert [network.seen for network in both] == [16, 56]
    assert capsys.readouterr().err.count("images 16 to 31 have changed") == 1
    assert stored["old"].images_sha256 == stored["new"].images_sha256


def test_workers_are_as_many_as_shared_memory_has_room_for(folder, monkeypatch, capsys):
    """Two blocks of each worker wait, one is being made: 16 images of 432 bytes each."""
    room = SimpleNamespace(f_bavail=3 * 16 * 432 + 1, f_frsize=1)
    monkeypatch.setattr(image_blocks.os, "statvfs", lambda path: room)
    whole = extracted(folder, Network(), "none")
    assert np.array_equal(extracted(folder, Network(), "one", workers=2)["features"], whole["features"])
    assert "has room for the images of 1 workers, not of 2" in capsys.readouterr().err
    extracted(folder, Network(), "fits", workers=1)
    assert "has room" not in capsys.readouterr().err


def test_readers_and_resizes_pickle(folder, dataset):
    """Worker processes are sent them, where processes are not forked."""
    readers = [images_in(folder), NoiseImages(3, 8), RealImages(dataset, dataset.indices("test"), 32)]
    for reader in readers:
        loading, request = Loading(reader), Request((range(1, 3),), (clean_resize, pil_bilinear, None))
        sent = pickle.dumps((loading, request))
        assert len(sent) < 20_000  # no pixels
        again, same_request = pickle.loads(sent)
        first, second = loading[request], again[same_request]
        assert first.sha256 == second.sha256 and reader.name(1) == again.images.name(1)
        images = [[each.images for [each] in block.prepared[0]] for block in (first, second)]
        assert all(torch.equal(a, b) for a, b in zip(*images, strict=True)) and len(images[0]) == 3


def test_rows_are_read_in_the_order_asked_for(tmp_path):
    values = np.arange(60, dtype=np.float32).reshape(20, 3)
    np.save(tmp_path / "rows.npy", values)
    order = np.array([7, 8, 9, 2, 2, 19, 0, 1])
    for rows in (Rows(tmp_path / "rows.npy"), Rows(values)):
        assert np.array_equal(rows.take(order), values[order])
        assert np.array_equal(rows.subset(order).take(np.array([1, 5])), values[[8, 19]])
        assert np.array_equal(np.concatenate(list(rows.blocks(7))), values) and len(rows) == 20


def test_the_manifest_records_the_extractor(folder):
    extracted(folder, Network())
    manifest = json.loads((folder / "store" / "network" / "manifest.json").read_text())
    assert manifest["identity"]["protocol"]["feature_network_sha256"] == "one"
    assert manifest["identity"]["versions"]["torch"] == torch.__version__.split("+")[0]
    assert set(manifest["identity"]["code_sha256"]) == {__name__, "dmgan.evaluation.networks.base"}


@pytest.mark.parametrize("name", ["features.npy", "logits.npy", "manifest.json"])
@pytest.mark.parametrize("size", [0, 100])
def test_an_empty_or_cut_file_is_computed_again(name, size, folder):
    values = extracted(folder, Network())
    os.truncate(folder / "store" / "network" / name, size)
    network = Network()
    again = extracted(folder, network)
    assert network.seen == 56 and all(np.array_equal(again[array], values[array]) for array in values)


def test_a_disk_that_is_full_at_any_write_is_one_line_and_the_next_call_resumes(folder):
    def write() -> None:
        extract(images_in(folder), 20, [Network()], folder / "store" / "of-images", CPU)

    (folder / "store").mkdir()
    assert check_full_disk(folder / "store", write) > 20


def test_a_full_disk_while_rows_are_replaced_loses_no_rows(folder):
    def write() -> None:
        store = folder / "store" / "of-images"
        for number, color in ((3, "red"), (3, "blue")):
            Image.new("RGB", (12, 12), color).save(folder / f"{number:03d}.png")
            extract(images_in(folder), 20, [Network()], store, CPU)

    (folder / "store").mkdir()
    assert check_full_disk(folder / "store", write) > 20
