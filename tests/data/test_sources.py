"""CUB, COCO and folders of photographs: what is listed, what is decided, and a preparation that goes on."""

import io
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmgan.__main__ import main
from dmgan.data import prepare
from dmgan.data.dataset import PreparedDataset
from dmgan.data.prepare import prepare_photographs
from dmgan.data.sources import cub, photographs
from dmgan.data.sources.coco import list_coco
from dmgan.data.sources.cub import list_cub
from dmgan.data.sources.folder import list_folder
from dmgan.data.sources.listing import files_under
from dmgan.data.sources.photographs import papers_crop, read_photograph
from dmgan.errors import UserError
from dmgan.storage.files import file_sha256
from tests.paths import SHARED
from tests.storage.test_files import contents, killed_before

COCO_MINI = Path(os.environ.get("COCO_MINI", SHARED / "data" / "coco-mini"))
SPECIES = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross", "004.Groove_billed_Ani")
PER_SPECIES = 3


def picture(width=60, height=50, seed=0) -> np.ndarray:
    """A smooth picture, so that JPEG keeps it."""
    corners = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(corners).resize((width, height), Image.BICUBIC))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


def cub_names() -> list[str]:
    return [f"{name}/{name[4:]}_{number:04d}_{number}" for name in SPECIES for number in range(PER_SPECIES)]


def make_cub(folder: Path) -> Path:
    """CUB_200_2011 in its exact layout, but small: four species, three images each."""
    root, names = folder / "CUB_200_2011", cub_names()
    numbered = list(enumerate(names, 1))
    for number, name in numbered:
        save(root / "images" / f"{name}.jpg", picture(seed=number))
    (root / "images.txt").write_text("".join(f"{n} {name}.jpg\n" for n, name in numbered))
    (root / "image_class_labels.txt").write_text("".join(f"{n} {(n - 1) // PER_SPECIES + 1}\n" for n, _ in numbered))
    (root / "classes.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(SPECIES, 1)))
    (root / "bounding_boxes.txt").write_text("".join(f"{n} 10.0 12.0 30.0 24.0\n" for n, _ in numbered))
    return root


def write_texts(folder: Path) -> None:
    for name in cub_names():
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"this bird has {c} wings\n" for c in ("red", "blue", "green")) + "\n")


def make_metadata(folder: Path) -> Path:
    """AttnGAN's folder birds, its pickles in the protocol of Python 2."""
    birds, names = folder / "birds", cub_names()
    write_texts(birds / "text")
    for split, share in (("train", names[: 3 * PER_SPECIES]), ("test", names[3 * PER_SPECIES :])):
        (birds / split).mkdir()
        (birds / split / "filenames.pickle").write_bytes(pickle.dumps(share, 0))
        ids = [names.index(name) // PER_SPECIES + 1 for name in share]
        (birds / split / "class_info.pickle").write_bytes(pickle.dumps(ids, 0))
    words = dict(enumerate(["<end>", "this", "bird", "has", "wings", "red", "blue", "green"]))
    ids = {word: number for number, word in words.items()}
    (birds / "captions.pickle").write_bytes(pickle.dumps([[[1, 2]], [[1, 2]], words, ids], 2))
    return birds


def make_reed(folder: Path) -> Path:
    """Reed et al.'s folder cvpr2016_cub."""
    reed = folder / "cvpr2016_cub"
    write_texts(reed / "text_c10")
    (reed / "testclasses.txt").write_text(SPECIES[3] + "\n")
    return reed


def found(listing_or_set) -> dict[str, int]:
    """How often each kind of thing was decided on, the small fixtures' counts left aside."""
    decisions = listing_or_set.decisions if hasattr(listing_or_set, "decisions") else listing_or_set
    kinds = [each["found"] if isinstance(each, dict) else each.found for each in decisions]
    usual = ("another number of images than published", "fewer captions than asked for")
    return {kind: kinds.count(kind) for kind in sorted(set(kinds)) if kind not in usual}


# CUB.


@pytest.mark.parametrize("captions", ["metadata", "captions"])
def test_cub_is_prepared_with_attngan_s_metadata_and_with_plain_captions(captions, tmp_path):
    root = make_cub(tmp_path)
    other = make_metadata(tmp_path) if captions == "metadata" else make_reed(tmp_path)
    words = tmp_path / "birds" / "captions.pickle" if captions == "metadata" else None
    listing = list_cub(root, **{captions: other}, captions_per_image=2, captions_pickle=words)
    assert found(listing) == {}
    counts = [each.detail for each in listing.decisions]
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


def test_cub_without_captions_or_with_other_files_is_one_clear_line(tmp_path):
    root, birds, reed = make_cub(tmp_path), make_metadata(tmp_path), make_reed(tmp_path)
    with pytest.raises(UserError, match="give one of --metadata birds .* and --captions cvpr2016_cub"):
        list_cub(root)
    with pytest.raises(UserError, match="images.txt: cannot be read .*; give the folder CUB_200_2011"):
        list_cub(tmp_path, metadata=birds)
    with pytest.raises(UserError, match="text: is no folder; .* its text.zip unpacked"):
        list_cub(root, metadata=reed)
    (birds / "test" / "filenames.pickle").write_bytes(pickle.dumps(np.array(["a"]), 2))
    with pytest.raises(UserError, match="nothing of it was executed.*give the folder birds"):
        list_cub(root, metadata=birds)
    (reed / "testclasses.txt").write_text("201.Dodo\n")
    with pytest.raises(UserError, match="201.Dodo is no species of classes.txt"):
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
def test_what_is_wrong_with_a_listing_is_named(spoil, kinds, images, tmp_path):
    root, birds = make_cub(tmp_path), make_metadata(tmp_path)
    spoil(root, birds)
    listing = list_cub(root, metadata=birds, captions_pickle=birds / "captions.pickle")
    assert found(listing) == dict.fromkeys(kinds, 1)
    assert len(listing.images) == images


def test_a_vocabulary_beside_the_metadata_is_taken_or_said_not_to_be_read(tmp_path, capsys):
    root, birds = make_cub(tmp_path), make_metadata(tmp_path)
    prepared = ["prepare", "--source", "cub", "--root", str(root), "--metadata", str(birds), "--workers", "1"]
    prepared += ["--image-size", "32"]
    words, said = str(birds / "captions.pickle"), "captions.pickle: is not read, the vocabulary is that of the texts"
    assert main([*prepared, "--out", str(tmp_path / "texts")]) == 0
    assert said in capsys.readouterr().err
    assert main([*prepared, "--out", str(tmp_path / "taken"), "--captions-pickle", words]) == 0
    assert said not in capsys.readouterr().err
    opened, taken = PreparedDataset(tmp_path / "texts"), PreparedDataset(tmp_path / "taken")
    assert found(opened.description["decisions"]) == found(taken.description["decisions"]) == {}
    assert list(taken.vocabulary.words)[1:3] == ["this", "bird"] != list(opened.vocabulary.words)[1:3]


@pytest.mark.parametrize("captions", ["metadata", "captions"])
def test_the_official_files_of_cub_pass_strict(captions, tmp_path, monkeypatch, capsys):
    """Everything that the archive and the metadata hold, and what a desktop adds, but few images."""
    monkeypatch.setattr(cub, "PUBLISHED", {"train": 9, "test": 3})
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
    assert "nothing had to be decided" in capsys.readouterr().err
    assert PreparedDataset(tmp_path / "out").description["images"] == {"train": 9, "test": 3}


def test_papers_crop():
    assert papers_crop(500, 400, (60, 27, 325, 304)) == (0, 0, 465, 400)  # half side 243 about (222, 179), clipped
    assert papers_crop(500, 400, (200, 150, 40, 60)) == (175, 135, 265, 225)  # half side 45 about (220, 180)


# Photographs of every odd kind: rows of (file name, maker of its bytes, what is found, colour that must come out).

RED, GREY, WHITE = (200, 30, 40), (120, 120, 120), (255, 255, 255)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(colour=RED, mode="RGB", **options) -> bytes:
    return encoded(Image.new(mode, (60, 50), colour), "JPEG", quality=95, **options)


def deep_png(levels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write in colour."""
    height, width, _ = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def palette_png(transparent: bool = False) -> bytes:
    image = Image.new("P", (60, 50), 1)
    image.putpalette([0, 0, 0, *RED])
    return encoded(image, "PNG", **({"transparency": 1} if transparent else {}))


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def turned(kind="JPEG", orientation=6, **options) -> bytes:
    """60x50, red above and grey below, marked (6) as to be turned by a quarter to the right."""
    image = Image.new("RGB", (60, 50), RED)
    image.paste(GREY, (0, 25, 60, 50))
    return encoded(image, kind, exif=exif_of(orientation), **options)


def ppm(maximum: int) -> bytes:
    """A PPM file of one colour, RED as shares of 255 times the maximum."""
    levels = np.round(np.full((50, 60, 3), RED) / 255 * maximum)
    return f"P6\n60 50\n{maximum}\n".encode() + levels.astype(">u2" if maximum > 255 else np.uint8).tobytes()


PHOTOGRAPHS = {
    "plain": (jpeg, [], RED),
    "grey": (lambda: jpeg(120, "L"), ["grey image"], GREY),
    "bilevel": (lambda: encoded(Image.new("1", (60, 50), 1), "PNG"), ["grey image"], WHITE),
    "cmyk": (lambda: jpeg((0, 255, 255, 0), "CMYK"), ["CMYK image"], (255, 0, 0)),
    "palette": (palette_png, ["palette image"], RED),
    "transparent palette": (lambda: palette_png(True), ["palette image", "transparency"], WHITE),
    "alpha": (lambda: encoded(Image.new("RGBA", (60, 50), (*RED, 0)), "PNG"), ["transparency"], WHITE),
    "grey alpha": (
        lambda: encoded(Image.new("LA", (60, 50), (120, 255)), "PNG"), ["transparency"], GREY
    ),
    "16-bit grey": (
        lambda: encoded(Image.fromarray(np.full((50, 60), 120 * 256 + 99, np.uint16)), "PNG"),
        ["16-bit image", "grey image"], GREY,
    ),
    "16-bit colour": (lambda: deep_png(np.full((50, 60, 3), RED) * 256 + 77), ["16-bit image"], RED),
    "floating point": (
        lambda: encoded(Image.new("F", (60, 50), 0.5), "TIFF"), ["pixels of floating point"], None
    ),
    "EXIF rotation": (lambda: turned(quality=95), ["EXIF rotation"], None),
    "EXIF rotation, TIFF": (lambda: turned("TIFF"), ["EXIF rotation"], None),
    "EXIF orientation 0": (lambda: jpeg(exif=exif_of(0)), ["EXIF orientation without a meaning"], RED),
    "EXIF orientation 9, TIFF": (
        lambda: encoded(Image.new("RGB", (60, 50), RED), "TIFF", exif=exif_of(9)),
        ["EXIF orientation without a meaning"], RED,
    ),
    "EXIF orientation 1": (lambda: jpeg(exif=exif_of(1)), [], RED),
    "PPM": (lambda: ppm(255), [], RED),
    "16-bit PPM": (lambda: ppm(65535), ["16-bit colour PPM"], RED),
    "10-bit PPM": (lambda: ppm(1023), ["16-bit colour PPM"], RED),
    "plain 16-bit PPM": (
        lambda: b"P3\n60 50\n1000\n" + b"784 118 157\n" * 3000, ["16-bit colour PPM"], RED
    ),
    "two frames": (
        lambda: encoded(
            Image.new("RGB", (60, 50), RED), "TIFF", save_all=True, append_images=[Image.new("RGB", (60, 50))]
        ),
        ["several frames"], RED,
    ),
    "truncated": (lambda: jpeg()[:500], ["truncated or corrupt file"], None),
    "truncated PNG": (lambda: palette_png()[:-30], ["truncated or corrupt file"], None),
    "damaged": (
        lambda: deep_png(np.zeros((50, 60, 3)))[:60] + b"x" * 40, ["truncated or corrupt file"], None
    ),
    "no image": (lambda: b"<html>not found</html>", ["no image file of a known kind"], None),
    "empty": (lambda: b"", ["no image file of a known kind"], None),
    "EPS": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ["no image file of a known kind"], None),
}  # fmt: skip


@pytest.mark.parametrize("kind", PHOTOGRAPHS)
def test_every_odd_photograph_is_converted_or_left_out_and_named(kind, tmp_path):
    make, kinds, colour = PHOTOGRAPHS[kind]
    (tmp_path / "image").write_bytes(make())
    photograph = read_photograph(tmp_path / "image", None, 38)
    assert [each.found for each in photograph.found] == kinds
    assert all(each.decision and "0x" not in each.detail for each in photograph.found)
    assert photograph.sha256 == file_sha256(tmp_path / "image")
    if kind.startswith("EXIF rotation"):
        assert photograph.pixels.shape == (45, 38, 3)  # turned: 50 wide, 60 high
        assert np.abs(photograph.pixels[22, -5].astype(int) - RED).max() < 6  # what was above is on the right
        assert np.abs(photograph.pixels[22, 5].astype(int) - GREY).max() < 6
    elif colour is None:
        assert photograph.pixels is None and photograph.found[-1].decision == "image left out"
    else:
        assert photograph.pixels.shape == (38, 45, 3) and photograph.pixels.dtype == np.uint8
        assert np.abs(photograph.pixels.astype(int) - colour).max() < 4


@pytest.mark.parametrize(
    ("box", "kinds", "shape"),
    [
        ((10, 12, 30, 24), [], (38, 38)),
        ((-5, 12, 30, 24), ["box that reaches beyond the image"], (52, 38)),
        ((100, 12, 30, 24), ["box outside the image or empty"], (38, 45)),
        ((10, 12, 0, 24), ["box outside the image or empty"], (38, 45)),
        ((59, 12, 1, 1), ["box outside the image or empty"], (38, 45)),  # half side 0
    ],
)
def test_boxes_outside_the_image_are_named(box, kinds, shape, tmp_path):
    (tmp_path / "image").write_bytes(jpeg())
    photograph = read_photograph(tmp_path / "image", box, 38)
    assert [each.found for each in photograph.found] == kinds and photograph.pixels.shape[:2] == shape


def test_every_file_name_that_pillow_gives_the_kinds_read_is_an_image():
    registered = Image.registered_extensions().items()
    assert sorted(photographs.SUFFIXES) == sorted(end for end, kind in registered if kind in photographs.FORMATS)
    assert not set(photographs.SUFFIXES) & set(photographs.UNREAD_SUFFIXES)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_of_stored_pixels_and_a_tiff_is_turned_once(orientation, tmp_path):
    """PNG, which Pillow does not turn, and TIFF, which it turns while it loads, end alike."""
    (tmp_path / "a.png").write_bytes(turned("PNG", orientation))
    (tmp_path / "a.tiff").write_bytes(turned("TIFF", orientation))
    png, tiff = (read_photograph(tmp_path / f"a.{kind}", (30, 5, 20, 10), 24) for kind in ("png", "tiff"))
    assert np.array_equal(png.pixels, tiff.pixels) and png.found == tiff.found


# Folders.


def test_a_folder_with_json_lines(tmp_path):
    root = tmp_path / "mine"
    for number in range(4):
        save(root / f"{number}.png", picture(seed=number))
    save(root / "spare" / "unnamed.png", picture())
    rows = [
        {"image": "0.png", "captions": ["a red bird", "a bird"], "split": "train", "class": "red"},
        {"image": "1.png", "captions": ["a blue bird"], "split": "val", "class": "blue"},
        {"image": "2.png", "captions": ["a bird"], "split": "train", "class": "blue"},
        {"image": "2.png", "captions": ["twice"], "split": "train", "class": "blue"},
        {"image": "3.png", "captions": [" "], "split": "train", "class": "red"},
    ]
    (root / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    listing = list_folder(root)
    assert found(listing) == {
        "caption without a word": 1, "image without a caption": 2, "name that occurs more than once": 1
    }  # fmt: skip
    assert [(each.name, each.split, each.class_id) for each in listing.images] == [
        ("0.png", "train", 1), ("1.png", "test", 0), ("2.png", "train", 0)
    ]  # fmt: skip


def test_a_folder_with_text_files_is_split_by_name(tmp_path):
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


def test_nothing_beside_an_image_or_a_caption_is_passed_over(tmp_path, capsys):
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
    assert "5 images kept of 5; nothing had to be decided" in capsys.readouterr().err
    save(root / "0.png", picture())
    for name in ("5.heic", "6.raw", "7.avif", "orphan.txt", "5.txt", "6.txt"):
        (root / name).write_text("a bird\n")
    assert main([*prepared, "--out", str(tmp_path / "odd"), "--strict"]) == 1
    named = [tuple(each.values()) for each in json.loads((tmp_path / "odd.decisions.json").read_text())]
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


def test_a_folder_without_an_image_that_can_be_read_says_so(tmp_path):
    (tmp_path / "5.heic").touch()
    with pytest.raises(UserError, match="holds neither captions.jsonl nor an image of a kind that is read .jpg, "):
        list_folder(tmp_path)


def test_a_caption_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    for number in range(2):
        save(tmp_path / f"{number}.jpg", picture(seed=number))
        (tmp_path / f"{number}.txt").write_text("a bird\n")
    read_bytes = Path.read_bytes

    def denied(path: Path) -> bytes:
        if path.name == "0.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert found(list_folder(tmp_path)) == {"caption file that cannot be read": 1, "image without a caption": 1}


def test_files_are_found_once_through_links_and_in_order(tmp_path, monkeypatch):
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


def test_json_lines_without_a_split_have_that_of_their_folders(tmp_path):
    names = [f"{split}/{n}.png" for split in ("train", "test", "val") for n in range(3)]
    for name in names:
        save(tmp_path / name, picture())
    (tmp_path / "captions.jsonl").write_text(
        "".join(json.dumps({"image": name, "captions": ["a bird"]}) + "\n" for name in names)
    )
    listing = list_folder(tmp_path)
    assert {each.name: each.split for each in listing.images} == {
        name: "train" if name.startswith("train/") else "test" for name in names
    }
    assert listing.source["split"] == "given"
    save(tmp_path / "other" / "9.png", picture())  # not every image lies in such a folder
    with open(tmp_path / "captions.jsonl", "a") as file:
        file.write(json.dumps({"image": "other/9.png", "captions": ["a bird"]}) + "\n")
    assert list_folder(tmp_path).source["split"] == "by name"


def test_a_name_that_occurs_twice_keeps_the_split_of_its_first_line(tmp_path):
    rows = [{"image": name, "captions": ["a bird"], "split": split} for name, split in
            (("a.png", "train"), ("b.png", "test"), ("a.png", "test"))]  # fmt: skip
    for row in rows:
        save(tmp_path / row["image"], picture())
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    listing = list_folder(tmp_path)
    assert [(each.name, each.split) for each in listing.images] == [("a.png", "train"), ("b.png", "test")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("not json", "line 1 is not JSON"),
        ('{"image": "a.jpg"}', "line 1 must have image and captions"),
        ('{"image": "a.jpg", "captions": ["a"], "label": 1}', "may have split and class"),
        ('{"image": "a.jpg", "captions": "a"}', "captions a list of texts"),
        ('{"image": "a.jpg", "captions": ["a"], "split": "dev"}', "split 'dev' must be train or test"),
        (
            '{"image": "a.jpg", "captions": ["a"], "split": "train"}\n{"image": "b.jpg", "captions": ["a"]}',
            "b.jpg has no split, a.jpg has one",
        ),
    ],
)
def test_other_lines_are_refused(lines, message, tmp_path):
    (tmp_path / "captions.jsonl").write_text(lines)
    with pytest.raises(UserError, match=message):
        list_folder(tmp_path)


# COCO.


def make_coco(folder: Path, year: str) -> Path:
    root = folder / "coco"
    (root / "annotations").mkdir(parents=True)
    for split, ids in (("train", (9, 25)), ("val", (42,))):
        prefix = f"COCO_{split}{year}_" if year == "2014" else ""
        images = [{"id": each, "file_name": f"{prefix}{each:012d}.jpg"} for each in ids]
        texts = [{"image_id": each, "caption": f"a bird number {n}"} for n in range(6) for each in ids]
        if split == "val":
            texts.append({"image_id": 77, "caption": "of no image"})
        content = {"images": images, "annotations": texts}
        (root / "annotations" / f"captions_{split}{year}.json").write_text(json.dumps(content))
        for image in images:
            save(root / f"{split}{year}" / image["file_name"], picture(seed=image["id"]))
    return root


@pytest.mark.parametrize(("year", "other"), [("2014", "2017"), ("2017", "2014")])
def test_coco_in_the_layout_of_either_year(year, other, tmp_path):
    root = make_coco(tmp_path, year)
    listing = list_coco(root)
    assert listing.source["year"] == year
    assert found(listing) == {"captions of an image that is not listed": 1}
    assert [(each.name[-2:], each.class_id, each.split, len(each.captions)) for each in listing.images] == [
        ("09", 0, "train", 5), ("25", 1, "train", 5), ("42", 2, "test", 5)
    ]  # fmt: skip
    published = {"2014": ("82,783", "40,504"), "2017": ("118,287", "5,000")}[year]
    assert [each.detail for each in listing.decisions[-2:]] == [
        f"2 train images, COCO {year} has {published[0]}", f"1 test images, COCO {year} has {published[1]}"
    ]  # fmt: skip
    save(root / f"val{year}" / "spare.jpg", picture())
    (root / f"val{year}" / ".DS_Store").touch()
    assert found(list_coco(root)) == {"captions of an image that is not listed": 1, "image file that is not listed": 1}
    annotations = root / "annotations"
    shutil.copy(annotations / f"captions_train{year}.json", annotations / f"captions_train{other}.json")
    with pytest.raises(UserError, match="holds COCO 2014 and 2017; say which with --year"):
        list_coco(root)
    (annotations / f"captions_val{year}.json").write_text('{"images": [{"file_name": "a"}]}')
    with pytest.raises(UserError, match=f"captions_val{year}.json: is no file of COCO captions"):
        list_coco(root, year)
    with pytest.raises(UserError, match="holds no COCO captions"):
        list_coco(tmp_path)


# The preparation.


def make_odd_folder(folder: Path) -> Path:
    root = folder / "mine"
    for number in range(9):
        save(root / f"{number}.jpg", picture(seed=number))
    for name, kind in (("grey.jpg", "grey"), ("torn.jpg", "truncated"), ("tiny.png", "alpha")):
        (root / name).write_bytes(PHOTOGRAPHS[kind][0]())
    for path in sorted(root.iterdir()):
        path.with_suffix(".txt").write_text(f"a bird called {path.stem}\n")
    return root


def test_nothing_is_refused_silently_and_strict_makes_it_an_error(tmp_path, capsys):
    root, out = make_odd_folder(tmp_path), tmp_path / "out"
    prepared = ["prepare", "--source", "folder", "--root", str(root), "--out", str(out), "--image-size", "32"]
    assert main([*prepared, "--strict", "--workers", "1"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--strict: decisions: " in line and "1 x truncated or corrupt file (image left out)" in line
    named = json.loads((tmp_path / "out.decisions.json").read_text())
    assert sorted(each["image"] for each in named) == ["grey.jpg", "tiny.png", "torn.jpg"]
    assert not out.exists()
    assert main([*prepared, "--workers", "1"]) == 0
    said = capsys.readouterr().err
    assert "going on after 12 of 12 photographs" in said and "11 images kept of 12" in said
    description = PreparedDataset(out).description
    assert description["decisions"] == named and sum(description["images"].values()) == 11
    assert description["inputs"]["images"]["count"] == 12
    assert {path.name for path in out.iterdir()} == {*description["sha256"], "dataset.json"}
    assert description["sha256"] == {p.name: file_sha256(p) for p in out.iterdir() if p.name != "dataset.json"}


def test_a_preparation_replaces_its_own_folder_and_no_other(tmp_path, capsys):
    root, out = make_odd_folder(tmp_path), tmp_path / "out"
    photographs = {path: path.read_bytes() for path in root.iterdir()}
    prepared = ["prepare", "--source", "folder", "--root", str(root), "--image-size", "32", "--workers", "1", "--out"]
    out.mkdir()  # as Snakemake does
    assert main([*prepared, str(out)]) == 0 and main([*prepared, str(out)]) == 0
    for over in (root, tmp_path):
        assert main([*prepared, str(over)]) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert f"--out {over}: would take the place of --root {root}; give another folder" in line
    captions = tmp_path / "elsewhere" / "captions.jsonl"
    captions.parent.mkdir()
    captions.write_text(json.dumps({"image": "0.jpg", "captions": ["a bird"]}) + "\n")
    assert main([*prepared, str(captions.parent), "--captions", str(captions)]) == 1
    assert "would take the place of --captions" in capsys.readouterr().err
    with pytest.raises(UserError, match="mine: holds 0.jpg, which prepare did not write"):
        prepare_photographs(list_folder(root), root, 32, workers=1)
    (out / "notes.md").write_text("mine")
    assert main([*prepared, str(out)]) == 1
    said = capsys.readouterr().err
    assert "out: holds notes.md, which prepare did not write" in said and "photographs" not in said
    assert {path: path.read_bytes() for path in root.iterdir()} == photographs
    assert captions.exists() and (out / "notes.md").read_text() == "mine" and len(PreparedDataset(out)) == 11


def test_a_killed_preparation_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch, capsys):
    listing = list_folder(make_odd_folder(tmp_path))
    monkeypatch.setattr(prepare, "_CHUNK", 2)
    prepare_photographs(listing, tmp_path / "whole", 32, workers=2)
    append, appended = prepare._Photographs._append, []

    def killed(self, chunk, pixels, lines):
        if len(appended) == 3:
            pixels.write(b"half an image")  # torn in the middle of a write
            raise KeyboardInterrupt
        appended.append(len(chunk))
        append(self, chunk, pixels, lines)

    with monkeypatch.context() as patch:
        patch.setattr(prepare._Photographs, "_append", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_photographs(listing, tmp_path / "torn", 32, workers=1)
    assert not (tmp_path / "torn").exists()
    capsys.readouterr()
    prepare_photographs(listing, tmp_path / "torn", 32, workers=1)
    assert "going on after 6 of 12 photographs" in capsys.readouterr().err
    for path in (tmp_path / "whole").iterdir():
        assert file_sha256(path) == file_sha256(tmp_path / "torn" / path.name), path.name


def test_a_preparation_killed_at_any_moment_leaves_neither_workers_nor_a_lock(tmp_path, monkeypatch, capsys):
    listing = list_folder(make_odd_folder(tmp_path))
    monkeypatch.setattr(prepare, "_CHUNK", 1)
    append = prepare._Photographs._append
    child = os.fork()
    if not child:
        try:  # the child: read slowly until it is killed
            prepare._Photographs._append = lambda *arguments: (time.sleep(0.3), append(*arguments))
            prepare_photographs(listing, tmp_path / "out", 32, workers=2)
        finally:
            os._exit(0)
    lines, deadline = tmp_path / ".out.partial" / "read.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and not (lines.exists() and lines.read_text().count("\n") >= 4):
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not (tmp_path / "out").exists()
    prepare_photographs(listing, tmp_path / "out", 32, workers=1)
    assert "of 12 photographs" in capsys.readouterr().err
    prepare_photographs(listing, tmp_path / "whole", 32, workers=1)
    for path in (tmp_path / "whole").iterdir():
        assert file_sha256(path) == file_sha256(tmp_path / "out" / path.name), path.name


def test_a_preparation_killed_while_it_takes_its_place_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "sync", lambda: None)
    root, home = make_odd_folder(tmp_path), tmp_path / "home"
    prepare_photographs(list_folder(root), tmp_path / "old", 24, workers=1)
    prepare_photographs(list_folder(root), tmp_path / "whole", 32, workers=1)
    old, whole = contents(tmp_path / "old"), contents(tmp_path / "whole")
    stopped = []

    def stop(photographs) -> None:
        stopped.append(photographs)
        raise KeyboardInterrupt

    step, going = 0, True
    while going:
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(tmp_path / "old", home / "out")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(prepare._Photographs, "become", stop)
            prepare_photographs(list_folder(root), home / "out", 32, workers=1)
        going = killed_before(step, stopped[-1].become)
        if (home / "out").exists():
            found = contents(home / "out")
            assert found in (old, whole) or whole.items() <= found.items(), step
        else:
            assert whole.items() <= contents(stopped[-1].folder).items(), step
        capsys.readouterr()
        prepare_photographs(list_folder(root), home / "out", 32, workers=1)
        assert ("going on after 12 of 12 photographs" in capsys.readouterr().err) == going, step
        assert contents(home / "out") == whole and sorted(os.listdir(home)) == [".out.lock", "out"], step
        step += 1
    assert step > 5


@pytest.mark.parametrize("name", ["captions.json", "index.npz"])
def test_a_disk_that_is_full_at_the_end_is_one_line(name, tmp_path, capsys):
    """A file-size limit stands in for the full disk."""
    root = make_odd_folder(tmp_path)
    for path in root.glob("*.txt"):
        path.write_text("a b c d e f g h\n" * 60)
    prepared = ["prepare", "--source", "folder", "--root", str(root), "--image-size", "8", "--workers", "1", "--out"]
    assert main([*prepared, str(tmp_path / "whole")]) == 0
    limit = (tmp_path / "whole" / name).stat().st_size - 1
    assert (tmp_path / "whole" / "images.bin").stat().st_size < limit
    capsys.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        assert main([*prepared, str(tmp_path / "out")]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err
    assert "out: could not be read or written (File too large); free space or fix the permissions, then run" in said
    assert "Traceback" not in said and not (tmp_path / "out").exists()
    assert main([*prepared, str(tmp_path / "out")]) == 0
    assert "going on after 12 of 12 photographs" in capsys.readouterr().err
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_photograph_that_goes_meanwhile_and_a_folder_that_cannot_be_written_are_one_line(tmp_path):
    listing = list_folder(make_odd_folder(tmp_path))
    (tmp_path / ".out.partial").write_text("in the way")
    with pytest.raises(UserError, match=r"partial: could not be read or written \(.*\); .* run the same command again"):
        prepare_photographs(listing, tmp_path / "out", 32, workers=1)
    listing.images[3].path.unlink()
    with pytest.raises(UserError, match=r"3.jpg: could not be read or written \(No such file or directory\)"):
        prepare_photographs(listing, tmp_path / "out", 32, workers=1)


def test_lines_that_a_power_cut_lost_are_read_again(tmp_path, capsys):
    listing = list_folder(make_odd_folder(tmp_path))
    with pytest.raises(UserError, match="--strict"):
        prepare_photographs(listing, tmp_path / "out", 32, workers=1, strict=True)
    lines = tmp_path / ".out.partial" / "read.jsonl"
    text = lines.read_bytes().splitlines(keepends=True)
    lines.write_bytes(b"".join(text[:6]) + bytes(20) + text[6][20:] + b"".join(text[7:]))
    capsys.readouterr()
    prepare_photographs(listing, tmp_path / "out", 32, workers=1)
    assert "going on after 5 of 12 photographs" in capsys.readouterr().err
    prepare_photographs(listing, tmp_path / "whole", 32, workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_photograph_changed_after_a_kill_is_read_again(tmp_path, capsys):
    root = make_odd_folder(tmp_path)
    with pytest.raises(UserError, match="--strict"):
        prepare_photographs(list_folder(root), tmp_path / "out", 32, workers=1, strict=True)
    (root / "torn.jpg").write_bytes(jpeg())
    capsys.readouterr()
    prepare_photographs(list_folder(root), tmp_path / "out", 32, workers=1)
    assert "going on" not in capsys.readouterr().err
    assert sum(PreparedDataset(tmp_path / "out").description["images"].values()) == 12


def test_the_vocabulary_of_released_encoders(tmp_path):
    root = make_odd_folder(tmp_path)
    words = ["<end>", "grey", "bird", "tiny"]
    content = [[], [], dict(enumerate(words)), {word: number for number, word in enumerate(words)}]
    (tmp_path / "captions.pickle").write_bytes(pickle.dumps(content, 2))
    (root / "0.txt").write_text("nothing known\n")
    flags = ["--root", str(root), "--image-size", "32", "--test-share", "0.3"]
    flags += ["--captions-pickle", str(tmp_path / "captions.pickle")]
    assert main(["prepare", "--source", "folder", "--out", str(tmp_path / "out"), "--workers", "1", *flags]) == 0
    opened = PreparedDataset(tmp_path / "out")
    assert list(opened.vocabulary.words) == words
    assert found(opened.description["decisions"])["captions without a word of captions.pickle"] == 1
    grey = next(i for i in range(len(opened)) if opened.name(i) == "grey.jpg")
    assert list(opened.tokens(grey, 0)) == [2, 1]


def test_flags_of_another_source_are_refused(tmp_path, capsys):
    assert main(["prepare", "--source", "coco", "--out", str(tmp_path / "out"), "--num-species", "3"]) == 1
    assert "--num-species: is not read with --source coco; leave it out" in capsys.readouterr().err
    assert main(["prepare", "--source", "coco", "--out", str(tmp_path / "out")]) == 1
    assert "--source coco: needs --root" in capsys.readouterr().err


# Real photographs.


@pytest.mark.skipif(
    not COCO_MINI.is_dir(), reason=f"{COCO_MINI} is not there; COCO_MINI names a folder of COCO in the layout of 2017"
)
def test_photographs_of_coco_are_prepared_trained_on_and_drawn(tmp_path):
    """159 photographs with their captions; training and sampling are tiny."""
    import torch

    from dmgan.options import ArchitectureOptions, DamsmOptions, MatchingOptions, TrainingOptions
    from dmgan.sampling.sample import sample_test_captions
    from dmgan.training.pretrain_damsm import pretrain
    from dmgan.training.train import train

    cpu = torch.device("cpu")
    prepare_photographs(list_coco(COCO_MINI), tmp_path / "data", 32, workers=2)
    opened = PreparedDataset(tmp_path / "data")
    assert opened.description["images"] == {"train": 80, "test": 79}
    assert opened.description["captions"] == 159 * 5 and found(opened.description["decisions"]) == {}
    assert len(set(opened.class_ids)) == 159
    damsm = DamsmOptions(image_encoder="small", image_size=32, width=4, embedding_dim=16, epochs=1, batch_size=16)
    pretrain(tmp_path / "data", tmp_path / "damsm", damsm, MatchingOptions(), 0, cpu)
    architecture = ArchitectureOptions(
        base_size=8, stages=3, generator_width=4, discriminator_width=2, noise_dim=6, condition_dim=5, residual_blocks=1
    )
    options = TrainingOptions(epochs=1, batch_size=16, max_words=12)
    train(
        "dmgan",
        tmp_path / "data",
        tmp_path / "damsm",
        tmp_path / "run",
        architecture,
        options,
        MatchingOptions(),
        0,
        cpu,
    )
    sample_test_captions(tmp_path / "run", tmp_path / "data", tmp_path / "images", 8, 100, 8, False, cpu)
    assert len(list((tmp_path / "images").rglob("*.png"))) == 8
