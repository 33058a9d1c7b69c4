"""Lists of captions of a folder: Flickr's files, Karpathy's JSON, Hugging Face's metadata, and how they are found."""

import json
from pathlib import Path

import pytest

from dmgan.__main__ import main
from dmgan.data.dataset import PreparedDataset
from dmgan.data.sources.caption_files import read_caption_file
from dmgan.data.sources.folder import list_folder
from dmgan.errors import UserError
from tests.data.made_sources import found, picture, save

CSV = (
    'image,caption\n0.jpg,A bird .\n0.jpg,"Red, and small ."\n1.jpg,a blue bird\n2.jpg,grey, with wings\n3.jpg,a bird\n'
)
PIPES = "image_name| comment_number| comment\n0.jpg| 0| a bird\n0.jpg| 1| red\n1.jpg| 2   a torn line\n1.jpg| 3| blue\n"
TOKENS = "0.jpg#0\tA bird .\n0.jpg#1\tRed .\nno caption\n1.jpg#0\ta blue bird\n2.jpg#0\tgrey\n3.jpg#0\tbird\n"


def make_images(folder: Path, count=4) -> None:
    for number in range(count):
        save(folder / f"{number}.jpg", picture(seed=number))


def captions(listing) -> dict[str, tuple[str, ...]]:
    return {each.name: each.captions for each in listing.images}


@pytest.mark.parametrize("name", ["captions.txt", "captions.csv"])
def test_flickr_s_csv_is_read_with_its_images_in_a_folder(name, tmp_path):
    make_images(tmp_path / "Images")
    (tmp_path / name).write_text(CSV)
    listing = list_folder(tmp_path)
    assert captions(listing) == {
        "Images/0.jpg": ("A bird .", "Red, and small ."), "Images/1.jpg": ("a blue bird",),
        "Images/2.jpg": ("grey, with wings",), "Images/3.jpg": ("a bird",),
    }  # fmt: skip
    assert listing.decisions == [] and list(listing.inputs) == [name]


def test_a_whole_set_is_prepared_from_a_csv_in_one_command(tmp_path, capsys):
    make_images(tmp_path / "flickr" / "Images")
    (tmp_path / "flickr" / "captions.txt").write_text(CSV.replace("3.jpg,a bird", "3.jpg,a blue bird"))
    out = tmp_path / "flickr8k"
    flags = ["--root", str(tmp_path / "flickr"), "--image-size", "32", "--workers", "1", "--strict"]
    assert main(["prepare", "--source", "folder", *flags, "--out", str(out)]) == 0
    opened = PreparedDataset(out)
    assert opened.description["images"] == {"train": 3, "test": 1} and opened.description["captions"] == 5
    assert opened.description["classes"] is None and not opened.has_classes and opened.name_of_set == "flickr8k"
    assert "2 of 5 captions are captions of several images" in capsys.readouterr().err


def test_columns_of_pipes_and_a_torn_line_are_read(tmp_path):
    make_images(tmp_path / "flickr30k_images")
    (tmp_path / "results.csv").write_text(PIPES)
    listing = list_folder(tmp_path)
    assert captions(listing) == {"flickr30k_images/0.jpg": ("a bird", "red"), "flickr30k_images/1.jpg": ("blue",)}
    assert found(listing) == {
        "columns that are not read": 1, "image without a caption": 2, "line with another number of columns": 1
    }  # fmt: skip


def test_flickr_s_token_file_is_read(tmp_path):
    make_images(tmp_path)
    (tmp_path / "Flickr8k.token.txt").write_text(TOKENS)
    listing = list_folder(tmp_path)
    assert captions(listing)["0.jpg"] == ("A bird .", "Red .") and len(listing.images) == 4
    assert [(each.image, each.found, each.detail) for each in listing.decisions] == [
        ("no caption", "line that is no caption", "Flickr8k.token.txt, line 3")
    ]
    (tmp_path / "results_20130124.token").write_text(TOKENS)
    with pytest.raises(UserError, match="results_20130124.token and Flickr8k.token.txt; choose with --captions"):
        list_folder(tmp_path)


def karpathy(splits=("train", "restval", "val", "test"), folder="val2014") -> dict:
    return {
        "dataset": "coco",
        "images": [
            {"filepath": folder, "filename": f"{number}.jpg", "split": split, "imgid": number,
             "sentences": [{"raw": f"a bird number {number}", "tokens": ["a"]}, {"raw": "a bird", "tokens": ["a"]}]}
            for number, split in enumerate(splits)
        ],
    }  # fmt: skip


def test_karpathy_s_splits_are_read(tmp_path):
    make_images(tmp_path / "val2014")
    (tmp_path / "dataset_coco.json").write_text(json.dumps(karpathy()))
    listing = list_folder(tmp_path)
    assert {each.name: each.split for each in listing.images} == {
        "val2014/0.jpg": "train", "val2014/1.jpg": "train", "val2014/3.jpg": "test"
    }  # fmt: skip
    (decision,) = listing.decisions
    assert decision.found == "validation image beside a test split" and decision.image == "val2014/2.jpg"
    for choice, split in (("train", "train"), ("test", "test"), ("leave-out", None)):
        listing = list_folder(tmp_path, validation=choice)
        splits = {each.name: each.split for each in listing.images}
        assert splits.get("val2014/2.jpg") == split and listing.decisions == []
    (tmp_path / "dataset_coco.json").write_text(json.dumps(karpathy(("train", "train", "val", "val"))))
    listing = list_folder(tmp_path)  # no test split: the validation images are the test
    assert [each.split for each in listing.images] == ["train", "train", "test", "test"] and not listing.decisions


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": [], "annotations": []}, "is an annotation file of COCO; .* --source coco --root FOLDER"),
        ([], "is not Karpathy's JSON"),
        ({"images": [{"filename": "a.jpg", "split": "train"}]}, "is not Karpathy's JSON .KeyError: 'sentences'"),
        ({"images": [{"filename": 3, "split": "train", "sentences": []}]}, "is not Karpathy's JSON .TypeError"),
        (karpathy(("spare",)), "split 'spare' must be train, val or test"),
    ],
)
def test_other_json_is_refused(content, message, tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        list_folder(tmp_path)


def test_hugging_face_s_metadata_is_read_in_every_folder(tmp_path):
    for split in ("train", "test"):
        make_images(tmp_path / split, 2)
        rows = [
            {"file_name": f"{n}.jpg", "text": f"a bird {n}", "license": 3}
            for n in (0, 1, 0)  # a caption a line
        ]
        (tmp_path / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    listing = list_folder(tmp_path)
    assert {each.name: (each.split, len(each.captions)) for each in listing.images} == {
        "train/0.jpg": ("train", 2), "train/1.jpg": ("train", 1), "test/0.jpg": ("test", 2), "test/1.jpg": ("test", 1)
    }  # fmt: skip
    assert [(each.found, each.accepted) for each in listing.decisions] == [("columns that are not read", True)] * 2
    assert sorted(listing.inputs) == ["test/metadata.jsonl", "train/metadata.jsonl"]


def test_a_text_beside_an_image_is_no_list(tmp_path):
    for name in ("captions", "other"):
        save(tmp_path / f"{name}.jpg", picture())
        (tmp_path / f"{name}.txt").write_text("image,caption\n")
    assert captions(list_folder(tmp_path))["captions.jpg"] == ("image,caption",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "a red bird\n", "a.txt: its first line, 'a red bird', is of no known kind; give JSON lines"),
        ("a.txt", "", "a.txt: its first line, '', is of no known kind"),
        ("a.csv", 'image,caption\n0.jpg,"a bird"x\n', "a.csv: line 2 is not CSV"),
        ("a.csv", f"image,caption\n0.jpg,{'x' * 140_000}\n", "a.csv: line 2 is not CSV .field larger than"),
        ("a.csv", "image,caption,split\n0.jpg,a,spare\n", "a.csv: line 2: split 'spare' must be train, val or test"),
    ],
)
def test_other_lists_are_refused(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_caption_file(tmp_path / name)


def test_a_csv_may_have_splits_and_classes(tmp_path):
    make_images(tmp_path)
    lines = ["class;image;caption;split", "red;0.jpg;a bird;train", "blue;1.jpg;a; b;dev", "red;2.jpg;bird;test"]
    (tmp_path / "captions.csv").write_text("\r\n".join(lines))
    listing = list_folder(tmp_path, validation="test")
    assert [(each.name, each.class_id, each.split) for each in listing.images] == [
        ("0.jpg", 0, "train"), ("2.jpg", 0, "test")
    ]  # fmt: skip
    assert found(listing)["line with another number of columns"] == 1


def test_an_empty_cell_is_no_class_and_no_split(tmp_path):
    make_images(tmp_path)
    lines = [f"{n}.jpg,{'' if n == 3 else 'train'},{'' if n == 3 else 'red'},a bird" for n in range(4)]
    (tmp_path / "captions.csv").write_text("\n".join(["image,split,class,caption", *lines]))
    with pytest.raises(UserError, match="3.jpg has no split, but 0.jpg has; give a split for every image or for no"):
        list_folder(tmp_path)
    (tmp_path / "captions.csv").write_text("\n".join(["image,class,caption", *(f"{n}.jpg,,a bird" for n in range(4))]))
    assert not list_folder(tmp_path).has_classes
