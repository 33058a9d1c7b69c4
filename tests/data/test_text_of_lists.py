"""Names and captions as people write them: spellings of paths, encodings, halves of characters, other types."""

import codecs
import json
import os
import shutil
from pathlib import Path

import pytest

from dmgan.data.dataset import PreparedDataset
from dmgan.data.prepare import prepare_photographs
from dmgan.data.sources.folder import list_folder
from dmgan.errors import UserError
from tests.data.made_sources import found, picture, save

COUNT = 6


def rows_of(root: Path, folder: str = "") -> list[dict]:
    """Make six images and return a row for each of them."""
    for number in range(COUNT):
        save(root / folder / f"{number}.png", picture(seed=number))
    return [{"image": f"{folder}{number}.png", "captions": [f"bird {number}"]} for number in range(COUNT)]


def write(root: Path, rows: list[dict], encoding="utf-8", ascii=True, name="captions.jsonl") -> None:
    text = "".join(json.dumps(row, ensure_ascii=ascii) + "\n" for row in rows)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(text.encode(encoding))


def captions(listing) -> dict[str, tuple[str, ...]]:
    return {each.name: each.captions for each in listing.images}


def test_a_caption_a_line_with_the_image_repeated_is_merged(tmp_path):
    rows = rows_of(tmp_path)
    write(tmp_path, [{**row, "captions": [f"a bird {n}"]} for row in rows for n in range(5)])
    listing = list_folder(tmp_path)
    assert sum(map(len, captions(listing).values())) == 5 * COUNT and listing.decisions == []


def test_spellings_of_one_path_are_one_photograph(tmp_path):
    rows = rows_of(tmp_path)
    rows[0]["image"] = "./0.png"
    rows[1]["image"] = str(tmp_path / "1.png")
    rows[2]["image"] = f"../{tmp_path.name}/2.png"
    rows += [{"image": "0.png", "captions": ["once more"]}, {"image": "x/..//3.png", "captions": ["again"]}]
    write(tmp_path, rows)
    listing = list_folder(tmp_path)
    assert sorted(captions(listing)) == [f"{number}.png" for number in range(COUNT)]
    assert captions(listing)["0.png"] == ("bird 0", "once more")
    assert [(each.image, each.decision, each.detail) for each in listing.decisions] == [
        ("0.png", "captions merged", "./0.png, 0.png"), ("3.png", "captions merged", "3.png, x/..//3.png")
    ]  # fmt: skip


def test_the_root_may_be_a_link(tmp_path, monkeypatch):
    rows = rows_of(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    rows[0]["image"], rows[1]["image"] = str(tmp_path / "real" / "0.png"), str(tmp_path / "link" / "1.png")
    write(tmp_path / "real", rows)
    monkeypatch.chdir(tmp_path)
    assert list_folder(Path("link")).decisions == [] and len(list_folder(Path("link")).images) == COUNT


def test_an_image_outside_the_root_is_a_decision(tmp_path):
    root = tmp_path / "mine"
    rows = rows_of(root)
    save(tmp_path / "other.png", picture())
    rows += [{"image": name, "captions": ["a bird"]} for name in ("../other.png", "/etc/passwd", ".", "")]
    write(root, rows)
    listing = list_folder(root)
    assert len(listing.images) == COUNT and found(listing) == {"image outside the folder --root": 4}


def test_a_list_may_lie_elsewhere_with_paths_relative_to_itself(tmp_path):
    for split in ("train/", "test/"):
        rows = rows_of(tmp_path, split)
        write(tmp_path, [{**row, "image": f"../{row['image']}"} for row in rows], name=f"meta/{split[:-1]}.jsonl")
    joined = b"".join((tmp_path / "meta" / f"{split}.jsonl").read_bytes() for split in ("train", "test"))
    (tmp_path / "meta" / "all.jsonl").write_bytes(joined)
    listing = list_folder(tmp_path, tmp_path / "meta" / "all.jsonl")
    assert listing.decisions == [] and [each.split for each in listing.images] == ["train"] * COUNT + ["test"] * COUNT


def test_backslashes_are_read_as_folders_and_named(tmp_path):
    rows = rows_of(tmp_path, "train/") + rows_of(tmp_path, "test/")
    save(tmp_path / "train" / "a\\b.png", picture(seed=9))  # a name with a backslash of its own
    write(tmp_path, [{**row, "image": row["image"].replace("/", "\\")} for row in rows] + [
        {"image": "train/a\\b.png", "captions": ["a bird"]}
    ])  # fmt: skip
    listing = list_folder(tmp_path)
    assert len(listing.images) == 2 * COUNT + 1 and listing.images[-1].name == "train/a\\b.png"
    (decision,) = listing.decisions
    assert decision.detail == "12 names, such as train\\0.png" and decision.count == 12


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_with_a_byte_order_mark_are_read(encoding, tmp_path):
    write(tmp_path, rows_of(tmp_path), encoding)
    assert list_folder(tmp_path).decisions == [] and len(list_folder(tmp_path).images) == COUNT


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x1c"])
def test_only_line_feeds_end_a_line(separator, tmp_path):
    rows = rows_of(tmp_path)
    rows[3]["captions"] = [f"a red bird{separator}with a white belly"]
    write(tmp_path, rows, ascii=separator < " ")
    assert captions(list_folder(tmp_path))["3.png"] == (rows[3]["captions"][0],)


def test_text_files_are_decoded_by_their_mark(tmp_path):
    rows_of(tmp_path)
    codecs_of = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf-32")
    for number, codec in enumerate(codecs_of):
        (tmp_path / f"{number}.txt").write_bytes("a bird at a café\r\n".encode(codec))
    assert (tmp_path / "1.txt").read_bytes().startswith(codecs.BOM_UTF8)
    listing = list_folder(tmp_path)
    read = captions(listing)
    assert all(read[f"{number}.png"] == ("a bird at a café",) for number in (0, 1, 2, 5))
    assert read["4.png"] == ("a bird at a caf\ufffd",) and "3.png" not in read  # UTF-16 without its mark is no text
    assert found(listing) == {
        "caption file that is not UTF-8": 1, "caption file with NUL characters": 1, "image without a caption": 1
    }  # fmt: skip


def test_half_a_surrogate_pair_is_replaced_in_a_caption_and_named_in_an_image(tmp_path):
    rows = rows_of(tmp_path)
    rows[2]["captions"] = ["a bird \ud83d", "a \U0001f426"]
    rows[4]["image"] = "4\ud83d.png"
    write(tmp_path, rows)
    listing = list_folder(tmp_path)
    assert captions(listing)["2.png"] == ("a bird \ufffd", "a \U0001f426")
    named = [(each.image, each.found) for each in listing.decisions]
    assert named == [
        ("4\\ud83d.png", "file name that is not UTF-8"), ("4.png", "image without a caption"),
        ("2.png", "half a surrogate pair in a caption"),
    ]  # fmt: skip
    prepare_photographs(listing, tmp_path / "out" / "set", 16, workers=1)
    assert PreparedDataset(tmp_path / "out" / "set").caption(2, 0) == "a bird \ufffd"


def test_file_names_that_are_not_utf_8_are_left_out_and_named(tmp_path):
    rows_of(tmp_path)
    for number in range(COUNT):
        (tmp_path / f"{number}.txt").write_text(f"bird {number}\n")
    for end in (b"png", b"txt"):
        os.rename(os.fsencode(tmp_path / "3.") + end, os.fsencode(tmp_path) + b"/caf\xe9." + end)
    listing = list_folder(tmp_path)
    assert len(listing.images) == COUNT - 1
    assert sorted(each.image for each in listing.decisions) == ["caf\\udce9.png", "caf\\udce9.txt"]
    assert found(listing) == {"file name that is not UTF-8": 2}
    prepare_photographs(listing, tmp_path / "out" / "set", 16, workers=1)
    write(tmp_path, [{"image": f"{n}.png", "captions": ["a bird"]} for n in range(COUNT) if n != 3])
    shutil.rmtree(tmp_path / "out")
    assert [each.image for each in list_folder(tmp_path).decisions] == ["caf\\udce9.png"]


def test_captions_that_are_no_text_are_left_out_and_named(tmp_path):
    rows = rows_of(tmp_path)
    rows[0]["captions"] = [None, ["a list"], 7, float("nan"), True, {"a": 1}, "a bird", "NUL \0 bird"]
    rows[1]["captions"] = None
    rows[2]["captions"] = "one caption"
    write(tmp_path, rows)
    listing = list_folder(tmp_path)
    assert captions(listing)["0.png"] == ("a bird",) and captions(listing)["2.png"] == ("one caption",)
    assert found(listing) == {
        "caption that is no text": 7, "caption with a NUL character": 1, "image without a caption": 1
    }  # fmt: skip


def test_a_box_is_cropped_to_as_in_the_papers(tmp_path):
    rows = rows_of(tmp_path)
    rows[0]["box"] = [10.9, 12, 30, 24]
    write(tmp_path, rows)
    listing = list_folder(tmp_path)
    assert [each.box for each in listing.images][:2] == [(10, 12, 30, 24), None]
    prepare_photographs(listing, tmp_path / "out" / "set", 16, workers=1)
    assert PreparedDataset(tmp_path / "out" / "set").image(0).shape[:2] == (19, 19)


def test_long_names_and_folders_are_images_that_are_not_there(tmp_path):
    rows = rows_of(tmp_path)
    (tmp_path / "folder.png").mkdir()
    rows += [{"image": name, "captions": ["a bird"]} for name in ("n" * 1_000_000, "folder.png", "a\0b.png")]
    write(tmp_path, rows)
    assert found(list_folder(tmp_path)) == {"image file that is not there": 3}


def test_a_list_that_is_a_pipe_is_refused_at_once(tmp_path):
    rows_of(tmp_path)
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(UserError, match="pipe.jsonl: cannot be read .it is not a regular file.; give a file with"):
        list_folder(tmp_path, tmp_path / "pipe.jsonl")
