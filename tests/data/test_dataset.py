"""Prepared data sets and batches."""

import json
import os
import shutil
import time
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._pytree import tree_flatten

from dmgan.__main__ import main
from dmgan.data import checksums, prefetch
from dmgan.data.batches import TrainingBatches, centre_crop, smaller_sides, to_tensor
from dmgan.data.dataset import PreparedDataset, pack
from dmgan.data.prefetch import PrefetchedBatches
from dmgan.data.prepare import prepare_synthbirds
from dmgan.data.sources.example import Example
from dmgan.data.sources.synthbirds.birds import SynthBirds
from dmgan.data.vocabulary import Vocabulary
from dmgan.errors import UserError
from dmgan.storage.files import file_sha256
from dmgan.storage.seals import SEAL, write_sealed_json
from tests.storage.full_disk import check_full_disk


def example(name="a", split="train", image=None, captions=("a red bird", "the bird is red"), class_id=0) -> Example:
    image = np.full((40, 52, 3), 7, dtype=np.uint8) if image is None else image
    return Example(name=name, image=image, captions=captions, class_id=class_id, split=split)


def test_what_was_drawn_comes_back(data, dataset):
    birds = SynthBirds(num_species=8, images_per_species=4, captions_per_image=3, image_size=38)
    assert len(dataset) == len(birds) == 32
    for index in (0, 13, 31):
        bird = birds[index]
        assert np.array_equal(dataset.image(index), bird.image)
        assert dataset.class_ids[index] == bird.class_id
        assert (index in dataset.indices("test")) == (bird.split == "test")
        assert dataset.name(index) == bird.name and dataset.attributes(index) == bird.attributes
        for number, caption in enumerate(bird.captions):
            assert dataset.caption(index, number) == caption
            assert np.array_equal(dataset.tokens(index, number), dataset.vocabulary.encode(caption))


def test_preparation_is_the_same_with_any_number_of_workers(data, tmp_path):
    prepare_synthbirds(
        tmp_path / "synthbirds", image_size=32, num_species=8, images_per_species=4, captions_per_image=3, seed=0,
        workers=2,
    )  # fmt: skip
    for path in sorted(data.iterdir()):
        assert file_sha256(path) == file_sha256(tmp_path / "synthbirds" / path.name), path.name


def test_drawing_replaces_its_own_folder_and_no_other(data, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        prepare_synthbirds(
            out, image_size=32, num_species=8, images_per_species=4, captions_per_image=3, seed=0, workers=1
        )
    (out / "notes.md").write_text("mine")
    with pytest.raises(UserError, match="out: holds notes.md, which prepare did not write"):
        prepare_synthbirds(
            out, image_size=32, num_species=8, images_per_species=4, captions_per_image=3, seed=0, workers=1
        )
    assert (out / "notes.md").exists() and (out / "images.bin").read_bytes() == (data / "images.bin").read_bytes()


def test_checksums_are_those_of_the_files(data):
    description = json.loads((data / "dataset.json").read_text())
    assert description["images"] == {"train": 24, "test": 8} and description["captions"] == 96
    assert description["sha256"] == {p.name: file_sha256(p) for p in data.iterdir() if p.name != "dataset.json"}


def test_images_of_any_shape_are_packed(tmp_path):
    first, second = (
        np.arange(40 * 52 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 52, 3),
        np.ones((60, 41, 3), np.uint8),
    )
    examples = [example("a", image=first), example("b", "test", image=second, class_id=1)]
    pack(examples, tmp_path / "set", source={"name": "test"}, image_size=32)
    opened = PreparedDataset(tmp_path / "set")
    assert np.array_equal(opened.image(0), first) and np.array_equal(opened.image(1), second)
    assert centre_crop(opened, 0, 32).shape == (32, 32, 3)
    assert np.array_equal(centre_crop(opened, 0, 32), first[4:36, 10:42])


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([example(captions=())], "image a: has no caption"),
        ([example(captions=("...",))], "image a: has no caption, or an empty caption"),
        ([example(), example(split="test")], "image a: the name occurs more than once"),
        ([example()], "has no test image"),
        ([example(split="val")], "split 'val' must be train or test"),
        ([example(image=np.zeros((20, 50, 3), np.uint8))], "50x20 is smaller than 32 px"),
        ([example(image=np.zeros((50, 50), np.uint8))], "must be uint8 RGB"),
    ],
)
def test_bad_examples_are_named_and_nothing_is_left(tmp_path, examples, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        pack(examples, tmp_path / "set", source={"name": "test"}, image_size=32)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_unfinished_or_damaged_folder_is_named(data, tmp_path):
    with pytest.raises(UserError, match="nowhere: does not exist; prepare it again"):
        PreparedDataset(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is not a prepared data set"):
        PreparedDataset(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    with open(copy / "images.bin", "r+b") as images:
        images.truncate(1000)
    with pytest.raises(UserError, match=r"images.bin: holds 1000 bytes"):
        PreparedDataset(copy)
    (copy / "index.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is damaged"):
        PreparedDataset(copy)


def test_a_batch_is_a_pure_function_of_seed_and_step(dataset):
    one, other = (TrainingBatches(dataset, [8, 32], 4, 12, seed=3) for _ in range(2))
    other[17]  # another order of asking
    for step in (0, 5, 6, 11):
        first, second = one[step], other[step]
        assert all(torch.equal(a, b) for a, b in zip(first.images, second.images, strict=True))
        assert torch.equal(first.tokens, second.tokens) and torch.equal(first.lengths, second.lengths)
    assert not torch.equal(one[0].images[0], TrainingBatches(dataset, [8, 32], 4, 12, seed=4)[0].images[0])


def same(first, second) -> bool:
    """Return whether two batches have equal tensors, also in their lists."""
    (left, nesting), (right, other) = tree_flatten(first), tree_flatten(second)
    return nesting == other and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a is b is None for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_reading_ahead_changes_nothing_wherever_it_begins(dataset, workers):
    batches = TrainingBatches(dataset, [8, 32], 4, 12, seed=3)
    with PrefetchedBatches(batches, torch.device("cpu"), workers, ahead=3) as ahead:
        assert ahead.steps_per_epoch == batches.steps_per_epoch == 6
        for step in (4, 5, 6, 7, 2, 3, 40):  # from the middle of an epoch, over its border, back, and far on
            assert same(ahead[step], batches[step])
            assert ahead.read(step).images[0].dtype == torch.uint8


def test_reading_ahead_is_bounded_by_number_and_by_memory(dataset, monkeypatch):
    batches = TrainingBatches(dataset, [8, 32], 4, 12, seed=3)
    halves = TrainingBatches(dataset, [8, 32], 4, 12, seed=3, part=slice(0, 2))
    pixels = sum(each.numel() for each in batches.read(0).images)
    read_steps = []
    read = batches.read
    monkeypatch.setattr(batches, "read", lambda step: read_steps.append(step) or read(step))
    for most_bytes, whole, half in ((prefetch.AHEAD_BYTES, 64, 64), (5 * pixels, 5, 10), (1, 2, 2)):
        monkeypatch.setattr(prefetch, "AHEAD_BYTES", most_bytes)
        assert (prefetch.batches_ahead(batches), prefetch.batches_ahead(halves)) == (whole, half)
        read_steps.clear()
        with PrefetchedBatches(batches, torch.device("cpu")) as ahead:
            ahead.read(7)
            deadline = time.monotonic() + 60
            while len(read_steps) < whole + 1 and time.monotonic() < deadline:
                time.sleep(0.01)
        assert sorted(read_steps) == list(range(7, 8 + whole))


def test_reading_ahead_raises_what_reading_raised(dataset, monkeypatch):
    batches = TrainingBatches(dataset, [32], 4, 12, seed=3)
    read = batches.read
    monkeypatch.setattr(batches, "read", lambda step: read(step) if step < 2 else 1 / 0)
    with PrefetchedBatches(batches, torch.device("cpu")) as ahead:
        assert same(ahead[0], batches[0]) and same(ahead[1], batches[1])
        with pytest.raises(ZeroDivisionError):
            ahead[2]


def test_a_part_of_a_batch_has_its_rows_images_and_all_captions(dataset):
    whole = TrainingBatches(dataset, [8, 32], 4, 12, seed=3)
    halves = [TrainingBatches(dataset, [8, 32], 4, 12, seed=3, part=part) for part in (slice(0, 2), slice(2, 4))]
    for step in (0, 7):
        for sides in range(2):
            joined = torch.cat([half[step].images[sides] for half in halves])
            assert torch.equal(joined, whole[step].images[sides])
        assert all(torch.equal(half[step].tokens, whole[step].tokens) for half in halves)
        assert list(dataset.class_ids[whole.rows(step)]) == whole[step].class_ids.tolist()


def test_an_epoch_shows_every_training_image_once_and_no_test_image(dataset):
    batches = TrainingBatches(dataset, [32], 4, 12, seed=0)
    assert batches.steps_per_epoch == 6
    shown = torch.cat([batches[step].class_ids for step in range(6)]).numpy()
    assert sorted(shown) == sorted(dataset.class_ids[dataset.indices("train")])
    assert not set(shown) & set(dataset.class_ids[dataset.indices("test")])


def test_batches_are_cropped_flipped_padded_and_in_range(dataset):
    batches = TrainingBatches(dataset, [8, 16, 32], 4, 9, seed=0)
    batch = batches[2]
    assert [tuple(each.shape) for each in batch.images] == [(4, 3, 8, 8), (4, 3, 16, 16), (4, 3, 32, 32)]
    assert batch.images[-1].min() >= -1 and batch.images[-1].max() <= 1
    assert batch.lengths.max() == batch.tokens.shape[1] <= 9
    assert ((batch.tokens == 0) == (torch.arange(batch.tokens.shape[1]) >= batch.lengths[:, None])).all()
    views = {
        to_tensor([np.ascontiguousarray(view[y : y + 32, x : x + 32])]).numpy().tobytes()
        for index in dataset.indices("train")
        for view in (dataset.image(index), dataset.image(index)[:, ::-1])
        for y in range(7)
        for x in range(7)
    }
    assert all(image[None].numpy().tobytes() in views for image in batch.images[-1])


@pytest.mark.parametrize("side", [256, 64])
def test_smaller_sides_are_pillow_s_antialiased_bilinear(side):
    noise = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    sizes = [side // 4, side // 2, side, side * 2 // 5]
    made = smaller_sides(torch.from_numpy(noise).permute(0, 3, 1, 2), sizes)
    for size, images, tolerance in zip(sizes, made, [0, 0, 0, 1], strict=True):
        for image, pixels in zip(images, noise, strict=True):
            pillow = np.asarray(Image.fromarray(pixels).resize((size, size), Image.BILINEAR)).astype(int)
            assert np.abs(image.permute(1, 2, 0).numpy() - pillow).max() <= tolerance


def test_wishes_the_set_cannot_fill_are_refused(dataset):
    with pytest.raises(UserError, match="do not fill a batch of 64"):
        TrainingBatches(dataset, [32], 64, 12, seed=0)
    with pytest.raises(UserError, match="was prepared for 32 px, the model wants 64 px"):
        TrainingBatches(dataset, [64], 4, 12, seed=0)


def test_vocabulary_round_trip(tmp_path, dataset):
    dataset.vocabulary.write(tmp_path / "vocabulary.json")
    assert Vocabulary.read(tmp_path / "vocabulary.json") == dataset.vocabulary
    assert dataset.vocabulary.words[0] == "<end>" and list(dataset.vocabulary.words[1:]) == sorted(
        dataset.vocabulary.words[1:]
    )


def test_a_set_has_the_name_of_its_folder_or_the_given_name(data, tmp_path, dataset, capsys):
    assert dataset.name_of_set == "synthbirds" and dataset.description["name"] == "synthbirds"
    prepared = ["prepare", "--num-species", "4", "--images-per-species", "1", "--image-size", "32", "--workers", "1"]
    assert main([*prepared, "--out", str(tmp_path / "few")]) == 0
    assert main([*prepared, "--out", str(tmp_path / "data"), "--name", "few birds"]) == 0
    assert [PreparedDataset(tmp_path / name).name_of_set for name in ("few", "data")] == ["few", "few birds"]
    for name in ("=cmd", "a\nb", " "):
        assert main([*prepared, "--out", str(tmp_path / "data"), f"--name={name}"]) == 1
        assert f"data set name {name!r}: must be printable" in capsys.readouterr().err


def spoilt(data, folder, name, change):
    """Return a copy of a prepared set in which `change` replaces the content of one file."""
    shutil.copytree(data, folder)
    path = folder / name
    if name == "index.npz":
        with np.load(path) as index:
            arrays = dict(index)
        change(arrays)
        np.savez(path, **arrays)
    else:
        path.write_text(change)
    return folder


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("dataset.json", "0", "was prepared by another version"),
        ("dataset.json", '{"format": 1}', "dataset.json: is damaged .no entry source."),
        ("vocabulary.json", '["<end>", []]', "vocabulary.json: a vocabulary must be a list of words"),
        ("vocabulary.json", '["<end>"]', "a token is no word of vocabulary.json"),
        ("index.npz", lambda arrays: arrays.update(shapes=arrays["shapes"].ravel()), "not heights and widths"),
        ("index.npz", lambda arrays: arrays["shapes"].fill(0), "not heights and widths"),
        ("index.npz", lambda arrays: arrays.update(class_ids=arrays["class_ids"][1:]), "of different lengths"),
        ("index.npz", lambda arrays: arrays.update(tokens=arrays["tokens"].astype(float)), "another type"),
        ("index.npz", lambda arrays: arrays["tokens"].fill(10_000), "a token is no word"),
        ("index.npz", lambda arrays: arrays["caption_starts"].fill(0), "an image has no caption"),
        ("index.npz", lambda arrays: arrays.pop("tokens"), "is damaged"),
    ],
)
def test_damaged_files_are_one_error(name, change, message, data, tmp_path):
    with pytest.raises(UserError, match=message):
        PreparedDataset(spoilt(data, tmp_path / "set", name, change))


def test_pixels_that_are_a_pipe_are_one_error(data, tmp_path):
    shutil.copytree(data, tmp_path / "set")
    (tmp_path / "set" / "images.bin").unlink()
    os.mkfifo(tmp_path / "set" / "images.bin")
    with pytest.raises(UserError, match="set: is damaged .*not a regular file"):
        PreparedDataset(tmp_path / "set")


def test_an_empty_index_is_one_error(data, tmp_path):
    shutil.copytree(data, tmp_path / "set")
    (tmp_path / "set" / "index.npz").write_bytes(b"")
    with pytest.raises(UserError, match="index.npz: is damaged"):
        PreparedDataset(tmp_path / "set")


def test_a_disk_that_is_full_at_any_write_is_one_line_and_leaves_nothing(tmp_path):
    folder, examples = tmp_path / "here", [example("a"), example("b", "test", class_id=1)]
    writes = check_full_disk(folder, lambda: pack(examples, folder / "set", source={"name": "test"}, image_size=32))
    assert writes > 8 and os.listdir(folder) == ["set"]


def test_overwritten_bytes_of_any_file_are_one_error(data, tmp_path):
    for name in ("images.bin", "captions.json"):
        copy = tmp_path / name
        shutil.copytree(data, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(
            UserError, match=f"{name}: its bytes changed after they were prepared; restore the file, or"
        ):
            PreparedDataset(copy)
        PreparedDataset(copy, check=False)  # as a worker does


def test_a_large_file_is_checked_by_samples_until_it_is_newer(data, tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "WHOLE", 20_000)
    monkeypatch.setattr(checksums, "BLOCK", 10)
    monkeypatch.setattr(checksums, "BLOCKS", 3)
    image = np.zeros((90, 90, 3), np.uint8)
    examples = [example("a", image=image), example("b", "test", image=image, class_id=1)]
    pack(examples, tmp_path / "set", source={"name": "test"}, image_size=32)
    assert list(json.loads((tmp_path / "set" / "dataset.json").read_text())["sampled_sha256"]) == ["images.bin"]
    path = tmp_path / "set" / "images.bin"
    PreparedDataset(tmp_path / "set")
    before, content = path.stat().st_mtime_ns, bytearray(path.read_bytes())
    for place, newer, found in (
        (100, False, False),
        (100, True, True),
        (5, False, True),
        (len(content) - 1, False, True),
    ):
        changed = content.copy()
        changed[place] = 1
        path.write_bytes(changed)
        if not newer:
            os.utime(path, ns=(before, before))
        with pytest.raises(UserError, match="images.bin: its bytes changed") if found else nullcontext():
            PreparedDataset(tmp_path / "set")


@pytest.mark.parametrize("change", [{"image_size": 24}, {"name": "other"}, {"images": {"train": 1, "test": 1}}])
def test_an_edited_description_is_refused(change, data, tmp_path):
    shutil.copytree(data, tmp_path / "set")
    path = tmp_path / "set" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(
        UserError,
        match="dataset.json: was altered after it was written: .*; prepare it again",
    ):
        PreparedDataset(tmp_path / "set")


def test_a_stored_name_that_is_a_formula_is_refused(data, tmp_path):
    shutil.copytree(data, tmp_path / "set")
    path = tmp_path / "set" / "dataset.json"
    described = {key: each for key, each in json.loads(path.read_text()).items() if key != SEAL}
    write_sealed_json(path, described | {"name": "=cmd|' /C calc'!A1"})
    with pytest.raises(UserError, match="dataset.json: is damaged .its name cannot stand in a table.; prepare it"):
        PreparedDataset(tmp_path / "set")
