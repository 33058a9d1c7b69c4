"""CUB: what is listed with AttnGAN's metadata or Reed's captions, and which data-cleaning decisions are recorded."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmgan.__main__ import main
from dmgan.data.dataset import PreparedDataset
from dmgan.data.prepare import prepare_photographs
from dmgan.data.sources.cub import list_cub
from dmgan.errors import UserError
from tests.data.made_photographs import PHOTOGRAPHS
from tests.data.made_sources import (
    PER_SPECIES,
    SPECIES,
    cub_names,
    found,
    make_cub,
    make_metadata,
    make_reed,
    picture,
    save,
)


@pytest.mark.parametrize("captions", ["metadata", "captions"])
def test_cub_is_prepared_with_attngan_s_metadata_or_reed_s_captions(captions, tmp_path):
    root = make_cub(tmp_path)
    other = make_metadata(tmp_path) if captions == "metadata" else make_reed(tmp_path)
    listing = list_cub(root, **{captions: other}, captions_per_image=2)
    assert found(listing) == {}
    counts = [decision.detail for decision in listing.decisions]
    assert counts == ["9 train images, CUB has 8,855", "3 test images, CUB has 2,933"]
    prepare_photographs(listing, tmp_path / "out", 32, workers=1)
    opened = PreparedDataset(tmp_path / "out")
    assert opened.description["images"] == {"train": 9, "test": 3}
    assert opened.description["classes"] == {"train": 3, "test": 1}
    assert [opened.name(i) for i in range(12)] == cub_names()
    assert list(opened.class_ids) == [i // PER_SPECIES for i in range(12)]
    assert opened.caption(4, 1) == "this bird has blue wings" and opened.caption_count(4) == 2
    # The papers' crop of box 10 12 30 24: half side 22 about (25, 24), clipped to the image's left and top.
    stored = Image.open(root / "images" / f"{cub_names()[4]}.jpg").crop((3, 2, 47, 46)).resize((38, 38), Image.BILINEAR)
    assert np.array_equal(opened.image(4), np.asarray(stored))


def test_missing_or_invalid_files_of_cub_are_refused_with_advice(tmp_path):
    root, birds, reed = make_cub(tmp_path), make_metadata(tmp_path), make_reed(tmp_path)
    with pytest.raises(UserError, match="give either --metadata birds .* or --captions cvpr2016_cub"):
        list_cub(root)
    with pytest.raises(UserError, match="images.txt: cannot be read .*; give the folder CUB_200_2011"):
        list_cub(tmp_path, metadata=birds)
    with pytest.raises(UserError, match="text: is not a folder; .* its text.zip unpacked"):
        list_cub(root, metadata=reed)
    (birds / "test" / "filenames.pickle").write_bytes(pickle.dumps(np.array(["a"]), 2))
    with pytest.raises(UserError, match="no code in it was executed.*give the folder birds"):
        list_cub(root, metadata=birds)
    (reed / "testclasses.txt").write_text("201.Dodo\n")
    with pytest.raises(UserError, match="201.Dodo is not a species of classes.txt"):
        list_cub(root, captions=reed)
    (root / "bounding_boxes.txt").write_text("1 10.0 a 30.0 24.0\n")
    with pytest.raises(UserError, match="line of image 1 is not four numbers"):
        list_cub(root, captions=reed)
    (root / "bounding_boxes.txt").write_text("1 10.0 inf 30.0 24.0\n")
    with pytest.raises(UserError, match="line of image 1 is not four numbers"):
        list_cub(root, captions=reed)
    (root / "bounding_boxes.txt").write_text("1 10.0 12.0 30.0 24.0\n")
    for label in ("albatross", "0", "-1", "1.5", "\u00b2"):
        (root / "image_class_labels.txt").write_text(f"1 {label}\n")
        with pytest.raises(UserError, match=f"label '{label}' of image 1 is not a number from 1; give the folder CUB"):
            list_cub(root, captions=reed)


def _lose_caption_file(root: Path, birds: Path) -> None:
    (birds / "text" / f"{cub_names()[0]}.txt").unlink()


def _empty_caption_file(root: Path, birds: Path) -> None:
    (birds / "text" / f"{cub_names()[0]}.txt").write_text("\n \n")


def _caption_without_a_word(root: Path, birds: Path) -> None:
    (birds / "text" / f"{cub_names()[0]}.txt").write_text("...\na red bird\n")


def _captions_in_latin_1(root: Path, birds: Path) -> None:
    (birds / "text" / f"{cub_names()[0]}.txt").write_bytes(b"a na\xefve bird\nb\nc\n")


def _lose_image(root: Path, birds: Path) -> None:
    (root / "images" / f"{cub_names()[0]}.jpg").unlink()


def _name_twice(root: Path, birds: Path) -> None:
    for name, text in (("images.txt", f"{cub_names()[0]}.jpg"), ("image_class_labels.txt", "1")):
        with open(root / name, "a") as file:
            file.write(f"99 {text}\n")
    with open(root / "bounding_boxes.txt", "a") as file:
        file.write("99 1.0 1.0 5.0 5.0\n")


def _lose_box(root: Path, birds: Path) -> None:
    lines = (root / "bounding_boxes.txt").read_text().splitlines(keepends=True)
    (root / "bounding_boxes.txt").write_text("".join(lines[1:]))


def _image_of_no_split(root: Path, birds: Path) -> None:
    for file in ("filenames", "class_info"):
        path = birds / "train" / f"{file}.pickle"
        path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes())[1:], 0))


def _image_of_both_splits(root: Path, birds: Path) -> None:
    names = pickle.loads((birds / "test" / "filenames.pickle").read_bytes()) + [cub_names()[0]]
    (birds / "test" / "filenames.pickle").write_bytes(pickle.dumps(names, 0))
    (birds / "test" / "class_info.pickle").unlink()


def _split_that_lists_twice(root: Path, birds: Path) -> None:
    for file in ("filenames", "class_info"):
        path = birds / "test" / f"{file}.pickle"
        entries = pickle.loads(path.read_bytes())
        path.write_bytes(pickle.dumps([*entries, entries[0]], 0))


def _photograph_that_is_not_listed(root: Path, birds: Path) -> None:
    save(root / "images" / SPECIES[0] / "another.jpg", picture())
    (root / "images" / "Thumbs.db").touch()


def _caption_file_of_no_image(root: Path, birds: Path) -> None:
    (birds / "text" / SPECIES[0] / "another.txt").write_text("this bird is another\n")
    (birds / "text" / "README.txt").write_text("ten captions an image\n")


def _other_classes(root: Path, birds: Path) -> None:
    path = birds / "train" / "class_info.pickle"
    ids = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps([*ids[:-1], ids[0]], 0))


@pytest.mark.parametrize(
    ("spoil", "kinds", "images"),
    [
        (_lose_caption_file, ["image without a caption"], 11),
        (_empty_caption_file, ["image without a caption"], 11),
        (_caption_without_a_word, ["caption without a word"], 12),
        (_captions_in_latin_1, ["caption file that is not UTF-8"], 12),
        (_lose_image, ["image file that is not there"], 11),
        (_name_twice, ["name that occurs more than once"], 12),
        (_lose_box, ["image without a bounding box"], 12),
        (_image_of_no_split, ["image of no split"], 11),
        (_image_of_both_splits, ["image of both splits"], 12),
        (_split_that_lists_twice, ["image that filenames.pickle lists more than once"], 12),
        (_other_classes, ["class_info.pickle that disagrees with the labels"], 12),
        (_photograph_that_is_not_listed, ["image file that is not listed"], 12),
        (_caption_file_of_no_image, ["caption file without an image"], 12),
    ],
)
def test_every_defect_of_a_copy_of_cub_is_recorded(spoil, kinds, images, tmp_path):
    root, birds = make_cub(tmp_path), make_metadata(tmp_path)
    spoil(root, birds)
    listing = list_cub(root, metadata=birds)
    assert found(listing) == dict.fromkeys(kinds, 1)
    assert len(listing.images) == images


def test_a_part_of_cub_with_the_lists_of_the_whole_is_one_decision_for_each_list(tmp_path):
    """The lists name 40 images more, of species 4, whose files are not there, and the texts are there for all."""
    root, birds = make_cub(tmp_path), make_metadata(tmp_path)
    absent = [f"{SPECIES[3]}/Absent_{number:04d}" for number in range(40)]
    lines = {"images.txt": "{}.jpg", "image_class_labels.txt": "4", "bounding_boxes.txt": "1.0 1.0 5.0 5.0"}
    for name, text in lines.items():
        with open(root / name, "a") as file:
            file.writelines(f"{100 + n} {text.format(image)}\n" for n, image in enumerate(absent))
    for file, more in (("filenames", absent), ("class_info", [4] * len(absent))):
        path = birds / "test" / f"{file}.pickle"
        path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes()) + more, 0))
    for name in absent:
        (birds / "text" / f"{name}.txt").write_text("this bird is absent\n")
    listing = list_cub(root, metadata=birds, captions_per_image=3)
    assert [(each.found, each.image, each.count, each.detail) for each in listing.decisions[:-2]] == [
        ("image file that is not there", absent[0], 40, f"40 images, such as {absent[0]}")
    ]  # fmt: skip
    assert len(listing.images) == 12
    (root / "images.txt").write_text("".join(f"{n} {name}.jpg\n" for n, name in enumerate(cub_names(), 1)))
    listing = list_cub(root, metadata=birds, captions_per_image=10)
    assert {each.found: each.count for each in listing.decisions[:-2]} == {
        "image of the split that images.txt does not list": 40, "caption file without an image": 40,
        "fewer captions than asked for": 12,
    }  # fmt: skip


@pytest.mark.parametrize("captions", ["metadata", "captions"])
def test_species_without_any_image_are_left_out_and_pass_strict(captions, tmp_path, capsys):
    """The lists name 30 images more, of species 5, of which no image is there; texts are there for all of them."""
    root = make_cub(tmp_path)
    other, absent = make_metadata(tmp_path), [f"005.Crested_Auklet/Crested_Auklet_{number:04d}" for number in range(30)]
    lines = {"images.txt": "{}.jpg", "image_class_labels.txt": "5", "bounding_boxes.txt": "1.0 1.0 5.0 5.0"}
    for name, text in lines.items():
        with open(root / name, "a") as file:
            file.writelines(f"{100 + n} {text.format(image)}\n" for n, image in enumerate(absent))
    with open(root / "classes.txt", "a") as file:
        file.write("5 005.Crested_Auklet\n")
    path = other / "train" / "filenames.pickle"
    path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes()) + absent, 0))
    (other / "train" / "class_info.pickle").unlink()
    if captions == "captions":
        other = make_reed(tmp_path)
        with open(other / "testclasses.txt", "a") as file:
            file.write("005.Crested_Auklet\n")
    texts = other / ("text" if captions == "metadata" else "text_c10")
    (texts / "005.Crested_Auklet").mkdir()
    for name in absent:
        (texts / f"{name}.txt").write_text("this bird is absent\n")
    flags = ["--root", str(root), f"--{captions}", str(other), "--captions-per-image", "3", "--image-size", "32"]
    prepared = ["prepare", "--source", "cub", *flags, "--out", str(tmp_path / "out"), "--workers", "1", "--strict"]
    assert main(prepared) == 0, capsys.readouterr().err
    description = PreparedDataset(tmp_path / "out").description
    assert description["images"] == {"train": 9, "test": 3}
    assert [(each["count"], each["detail"]) for each in description["decisions"] if each["image"]] == [
        (30, f"30 images, such as {absent[0]}")
    ]
    (root / "images.txt").write_text("".join(f"{n} {name}.jpg\n" for n, name in enumerate(cub_names(), 1)))
    assert main(prepared) == 0, "the texts and, in the metadata, the split name more species than images.txt"
    (root / "images" / f"{cub_names()[0]}.jpg").unlink()
    assert main(prepared) == 1
    assert "1 x image file that is not there (image left out)" in capsys.readouterr().err


def test_lists_of_the_split_may_have_the_suffix(tmp_path):
    root, birds = make_cub(tmp_path), make_metadata(tmp_path)
    path = birds / "test" / "filenames.pickle"
    path.write_bytes(pickle.dumps([f"{name}.jpg" for name in pickle.loads(path.read_bytes())], 2))
    assert [each.split for each in list_cub(root, metadata=birds).images].count("test") == 3


def test_the_whole_image_is_kept_on_request(tmp_path):
    root, birds = make_cub(tmp_path), make_metadata(tmp_path)
    (root / "bounding_boxes.txt").unlink()
    listing = list_cub(root, metadata=birds, captions_per_image=3, crop="whole")
    assert found(listing) == {} and {each.box for each in listing.images} == {None}
    assert listing.source["crop"] == "whole"


def test_captions_may_be_those_of_another_folder(tmp_path):
    root, birds = make_cub(tmp_path), make_metadata(tmp_path)
    (birds / "text").rename(tmp_path / "attributes")
    (tmp_path / "attributes" / f"{cub_names()[0]}.txt").write_text("a red bird\n")
    listing = list_cub(root, metadata=birds, texts=tmp_path / "attributes", captions_per_image=0)
    assert listing.images[0].captions == ("a red bird",) and "attributes/" in listing.inputs
    fewer = list_cub(root, metadata=birds, texts=tmp_path / "attributes").decisions[:-2]
    assert [(each.found, each.count, each.accepted) for each in fewer] == [("fewer captions than asked for", 12, True)]
    with pytest.raises(UserError, match="nowhere: is not a folder; give a folder that holds SPECIES/IMAGE.txt"):
        list_cub(root, metadata=birds, texts=tmp_path / "nowhere")


def test_the_faults_of_the_archive_pass_strict_and_others_do_not(tmp_path, capsys):
    root, birds = make_cub(tmp_path), make_metadata(tmp_path)
    first, second = (root / "images" / f"{name}.jpg" for name in cub_names()[:2])
    first.write_bytes(PHOTOGRAPHS["grey"][0]())
    second.write_bytes(PHOTOGRAPHS["EXIF orientation 0"][0]())
    lines = (root / "bounding_boxes.txt").read_text().splitlines()
    lines[4], lines[5] = "5 10.0 12.0 70.0 24.0", "6 0.0 12.0 62.0 24.0"  # of 60 px: too wide, and by rounding
    (root / "bounding_boxes.txt").write_text("\n".join(lines) + "\n")
    flags = ["--root", str(root), "--metadata", str(birds), "--captions-per-image", "3", "--image-size", "32"]
    prepared = ["prepare", "--source", "cub", *flags, "--out", str(tmp_path / "out"), "--workers", "1", "--strict"]
    assert main(prepared) == 0
    decisions = PreparedDataset(tmp_path / "out").description["decisions"]
    assert {(each["image"], each["found"]) for each in decisions if each["image"]} == {
        (cub_names()[0], "grey image"), (cub_names()[4], "box that reaches beyond the image")
    }  # fmt: skip
    assert all(each["accepted"] for each in decisions)
    second.write_bytes(PHOTOGRAPHS["EXIF rotation"][0]())
    capsys.readouterr()
    assert main(prepared) == 1
    assert "--strict: decisions: 1 x EXIF rotation (turned upright); " in capsys.readouterr().err


def test_numbers_of_many_digits_are_refused(tmp_path):
    root, birds = make_cub(tmp_path), make_metadata(tmp_path)
    (root / "images.txt").write_text(f"{'1' * 5000} a.jpg\n")
    with pytest.raises(UserError, match="images.txt: line '1{79}.* is not a number and a text"):
        list_cub(root, metadata=birds)


def test_the_released_vocabulary_is_read_only_on_request(tmp_path, capsys):
    root, birds = make_cub(tmp_path), make_metadata(tmp_path)
    prepared = ["prepare", "--source", "cub", "--root", str(root), "--metadata", str(birds), "--workers", "1"]
    prepared += ["--image-size", "32"]
    words, warning = (
        str(birds / "captions.pickle"),
        "captions.pickle: is not read: the vocabulary is made from the captions",
    )
    assert main([*prepared, "--out", str(tmp_path / "texts")]) == 0
    assert warning in capsys.readouterr().err
    assert main([*prepared, "--out", str(tmp_path / "taken"), "--captions-pickle", words]) == 0
    assert warning not in capsys.readouterr().err
    opened, taken = PreparedDataset(tmp_path / "texts"), PreparedDataset(tmp_path / "taken")
    assert found(opened.description["decisions"]) == found(taken.description["decisions"]) == {}
    assert list(taken.vocabulary.words)[1:3] == ["this", "bird"] != list(opened.vocabulary.words)[1:3]


@pytest.mark.parametrize("captions", ["metadata", "captions"])
def test_the_official_files_of_cub_pass_strict(captions, tmp_path, capsys):
    """All files of the archive and the metadata, and those that desktops add, but few images."""
    root = make_cub(tmp_path)
    other = make_metadata(tmp_path) if captions == "metadata" else make_reed(tmp_path)
    official = ["README", "train_test_split.txt", "attributes/attributes.txt", "parts/parts.txt", "parts/part_locs.txt"]
    official += ["images/.DS_Store", f"images/{SPECIES[0]}/._{SPECIES[0][4:]}_0000_0.jpg", "images/Thumbs.db"]
    added = ["text.zip", "example_captions.txt", "example_filenames.txt", "train/char-CNN-RNN-embeddings.pickle"]
    for path in [*(root / name for name in official), *(other / name for name in added)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    flags = ["--root", str(root), f"--{captions}", str(other), "--captions-per-image", "3", "--image-size", "32"]
    out = ["--out", str(tmp_path / "out"), "--workers", "1", "--strict"]
    assert main(["prepare", "--source", "cub", *flags, *out]) == 0
    log = capsys.readouterr().err
    assert "12 images kept of 12; decisions: 2 x another number of images than published (kept as it is)" in log
    assert PreparedDataset(tmp_path / "out").description["images"] == {"train": 9, "test": 3}
