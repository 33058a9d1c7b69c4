"""A folder of photographs: captions in JSON lines or in text files, splits, and files that are left out."""

import json
import os
import shutil

import pytest

from dmgan.__main__ import main
from dmgan.data.sources.folder import list_folder
from dmgan.data.sources.listing import files_under
from dmgan.errors import UserError
from tests.data.made_photographs import jpeg
from tests.data.made_sources import found, picture, save


def test_json_lines_give_captions_splits_and_classes(tmp_path):
    root = tmp_path / "mine"
    for number in range(4):
        save(root / f"{number}.png", picture(seed=number))
    save(root / "spare" / "unnamed.png", picture())
    rows = [
        {"image": "0.png", "captions": ["a red bird", "a bird"], "split": "train", "class": "red"},
        {"image": "1.png", "captions": ["a blue bird"], "split": "val", "class": "blue"},
        {"image": "2.png", "captions": ["a bird"], "split": "train", "class": "blue"},
        {"image": "2.png", "captions": ["a bird again"], "split": "train", "class": "blue"},
        {"image": "3.png", "captions": [" "], "split": "train", "class": "red"},
    ]
    (root / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    listing = list_folder(root)
    assert found(listing) == {"caption without a word": 1, "image without a caption": 2} and listing.has_classes
    assert listing.images[2].captions == ("a bird", "a bird again")  # lines that name one image are merged
    assert [(each.name, each.split, each.class_id) for each in listing.images] == [
        ("0.png", "train", 1), ("1.png", "test", 0), ("2.png", "train", 0)
    ]  # fmt: skip


def test_text_files_give_captions_and_folders_or_names_give_splits(tmp_path):
    for number in range(10):
        save(tmp_path / "mine" / f"{number}.jpg", picture(seed=number))
        (tmp_path / "mine" / f"{number}.txt").write_text(f"bird {number}\nanother caption\n")
    listing = list_folder(tmp_path / "mine", test_share=0.2)
    assert found(listing) == {} and len(listing.images) == 10
    test = [each.name for each in listing.images if each.split == "test"]
    assert len(test) == 2 and test == [
        e.name for e in list_folder(tmp_path / "mine", test_share=0.2).images if e.name in test
    ]
    (tmp_path / "mine" / "test").mkdir()
    (tmp_path / "mine" / "train").mkdir()
    for path in sorted((tmp_path / "mine").glob("*.*")):
        shutil.move(path, tmp_path / "mine" / ("test" if path.stem in "789" else "train") / path.name)
    listing = list_folder(tmp_path / "mine")
    assert [each.name for each in listing.images if each.split == "test"] == ["test/7.jpg", "test/8.jpg", "test/9.jpg"]


def test_every_unused_image_or_caption_is_recorded(tmp_path, capsys):
    root = tmp_path / "mine"
    for number in range(4):
        save(root / f"{number}.jpg", picture(seed=number))
        (root / f"{number}.txt").write_text(f"bird {number}\n")
    (root / "4.jfif").write_bytes(jpeg())
    (root / "4.TXT").write_text("a JPEG by another name\n")
    for name in (".hidden.jpg", "sub/.DS_Store", "Thumbs.db", "README.txt", "sub/LICENSE.txt", "0.json", "notes.doc"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    prepared = ["prepare", "--source", "folder", "--root", str(root), "--image-size", "32", "--workers", "1"]
    assert main([*prepared, "--out", str(tmp_path / "plain"), "--strict"]) == 0
    assert "5 images kept of 5; no decisions were necessary" in capsys.readouterr().err
    save(root / "0.png", picture())
    for name in ("5.heic", "6.raw", "7.avif", "orphan.txt", "5.txt", "6.txt"):
        (root / name).write_text("a bird\n")
    assert main([*prepared, "--out", str(tmp_path / "odd"), "--strict"]) == 1
    named = [tuple(each.values())[:4] for each in json.loads((tmp_path / "odd.decisions.json").read_text())]
    assert sorted(named) == [
        ("0.txt", "caption file shared by images", "read for each of them", "0.jpg, 0.png"),
        ("5.heic", "file of an unread kind beside a caption", "left out; convert it to JPEG or PNG", "5.txt"),
        ("6.raw", "file of an unread kind beside a caption", "left out; convert it to JPEG or PNG", "6.txt"),
        ("7.avif", "image without a caption", "image left out", ""),
        ("orphan.txt", "caption file without an image", "captions left out", ""),
    ]
    rows = [{"image": f"{number}.jpg", "captions": ["a bird"]} for number in range(4)]
    (root / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    unnamed = [each.image for each in list_folder(root).decisions if each.found == "image without a caption"]
    assert unnamed == ["0.png", "4.jfif", "5.heic", "7.avif"]


def test_a_folder_without_a_readable_image_is_refused(tmp_path):
    (tmp_path / "5.heic").touch()
    with pytest.raises(UserError, match="holds neither captions.jsonl nor a readable image .jpg, "):
        list_folder(tmp_path)


def test_unreadable_caption_files_are_recorded(tmp_path):
    for number in range(4):
        save(tmp_path / f"{number}.jpg", picture(seed=number))
    os.mkfifo(tmp_path / "0.txt")
    (tmp_path / "1.txt").symlink_to("/dev/zero")
    (tmp_path / "2.txt").symlink_to("2.txt")
    (tmp_path / "3.txt").write_text("a bird\n")
    listing = list_folder(tmp_path)
    assert found(listing) == {"caption file that cannot be read": 3, "image without a caption": 3}
    assert [each.name for each in listing.images] == ["3.jpg"]


def test_files_behind_links_are_listed_once_and_in_order(tmp_path, monkeypatch):
    for name in ("b/2.jpg", "b/c/1.jpg", "0.jpg", ".git/3.jpg", "._4.jpg"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "5.jpg").touch()
    (tmp_path / "root" / "a").symlink_to("b")  # the folder keeps its own name
    (tmp_path / "root" / "b" / "loop").symlink_to("..")
    (tmp_path / "root" / "d").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "torn.jpg").symlink_to("nowhere")
    files = files_under(tmp_path / "root")
    assert files == ["0.jpg", "b/2.jpg", "b/c/1.jpg", "d/5.jpg", "torn.jpg"]
    assert files_under(tmp_path / "nowhere") == []
    monkeypatch.setattr(os, "scandir", lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(UserError, match="root: cannot be read .Permission denied.; "):
        files_under(tmp_path / "root")


def test_json_lines_without_a_split_take_the_split_of_their_folders(tmp_path):
    names = [f"{split}/{n}.png" for split in ("train", "test", "val") for n in range(3)]
    for name in names:
        save(tmp_path / name, picture())
    (tmp_path / "captions.jsonl").write_text(
        "".join(json.dumps({"image": name, "captions": ["a bird"]}) + "\n" for name in names)
    )
    listing = list_folder(tmp_path)
    assert {each.name: each.split for each in listing.images} == {name: name.split("/")[0] for name in names[:6]}
    assert found(listing) == {"validation image beside a test split": 1} and listing.decisions[0].count == 3
    assert listing.source["split"] == "given" and not listing.has_classes
    save(tmp_path / "other" / "9.png", picture())  # not every image lies in such a folder
    with open(tmp_path / "captions.jsonl", "a") as file:
        file.write(json.dumps({"image": "other/9.png", "captions": ["a bird"]}) + "\n")
    assert list_folder(tmp_path).source["split"] == "by name"


def test_an_image_that_is_listed_twice_keeps_its_first_split(tmp_path):
    rows = [{"image": name, "captions": ["a bird"], "split": split} for name, split in
            (("a.png", "train"), ("b.png", "test"), ("a.png", "test"))]  # fmt: skip
    for row in rows:
        save(tmp_path / row["image"], picture())
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    listing = list_folder(tmp_path)
    assert [(each.name, each.split) for each in listing.images] == [("a.png", "train"), ("b.png", "test")]
    assert found(listing) == {"image with more than one split": 1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("not json", "line 1: is not valid JSON"),
        ("[" * 100_000, "line 1: its JSON is nested too deep"),
        ("[]", "line 1 is not a JSON object"),
        ('{"image":".","captions":[],"split":[]}', "line 1: split .. must be train, val or test"),
        ('{"image": "a.jpg"}', "line 1 must have image and captions"),
        ('{"image": "a.jpg", "captions": ["a"], "label": 1}', "may have split, class and box, but not label"),
        ('{"image": ["a.jpg"], "captions": ["a"]}', "image must be text"),
        ('{"image": "a.jpg", "captions": ["a"], "split": "other"}', "split 'other' must be train, val or test"),
        ('{"image": "a.jpg", "captions": ["a"], "split": []}', "split .. must be train, val or test"),
        (
            '{"image": "a.jpg", "captions": ["a"], "class": ["b"]}',
            r"line 1: class \['b'\] must be text or a whole number",
        ),
        ('{"image": "a.jpg", "captions": ["a"], "class": NaN}', "class nan must be text or a whole number"),
        ('{"image": "a.jpg", "captions": ["a"], "class": "b\\ud83d"}', "class 'b.ud83d' must be text or a whole"),
        ('{"image": "a.jpg", "captions": ["a"], "box": [1, 2, 3]}', "box .1, 2, 3. must be .left, top, width, height"),
        (
            '{"image": "a.jpg", "captions": ["a"], "box": [1, 2, 3, NaN]}',
            "must be .left, top, width",
        ),
        (
            '{"image": "a.jpg", "captions": ["a"], "split": "train"}\n{"image": "b.jpg", "captions": ["a"]}',
            "b.jpg has no split, but a.jpg has",
        ),
    ],
)
def test_invalid_json_lines_are_refused(lines, message, tmp_path):
    (tmp_path / "captions.jsonl").write_text(lines)
    with pytest.raises(UserError, match=message):
        list_folder(tmp_path)
