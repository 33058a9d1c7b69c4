"""Real photographs in the published layouts, where they are there: what is listed, --strict, one crop each."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmgan.__main__ import main
from dmgan.data.dataset import PreparedDataset
from dmgan.data.sources.cub import KNOWN, list_cub
from dmgan.data.sources.photographs import read_photograph
from dmgan.storage.plain_pickle import load_plain_pickle
from tests.data.made_sources import found
from tests.paths import SHARED

CUB10, CUB50, FLICKR8K = (SHARED / "data" / name for name in ("cub10", "cub50", "flickr8k-128"))
TEXTS = {CUB10: "text", CUB50: "text_attributes"}  # ten captions an image, one caption an image
FIRST = "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18"


def needs(*folders: Path):
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not there")


def species_of(data: Path) -> list[str]:
    """Return the names of the 200 species."""
    return [line.split()[1] for line in (data / "CUB_200_2011" / "classes.txt").read_text().splitlines()]


def reed_of(folder: Path, data: Path, more: Sequence[str] = ()) -> Path:
    """Make Reed et al.'s folder of AttnGAN's, with the same texts and test species; `more` test species."""
    reed, test = folder / "cvpr2016_cub", load_plain_pickle(data / "birds" / "test" / "filenames.pickle")
    reed.mkdir()
    (reed / "text_c10").symlink_to(data / "birds" / TEXTS[data])
    (reed / "testclasses.txt").write_text("\n".join([*sorted({name.split("/")[0] for name in test}), *more]))
    return reed


def with_the_lists_of_the_whole(folder: Path, data: Path) -> tuple[Path, Path]:
    """Return CUB_200_2011 and birds, whose lists name all 11,788 images; the others' files are not there."""
    root, birds, given = folder / "CUB_200_2011", folder / "birds", data / "CUB_200_2011"
    for name in ("images", "classes.txt"):
        root.mkdir(exist_ok=True)
        (root / name).symlink_to(given / name)
    labels = [line.split() for line in (CUB10 / "CUB_200_2011" / "image_class_labels.txt").read_text().splitlines()]
    present, species = len((given / "images.txt").read_text().splitlines()), species_of(data)
    absent = {number: f"{species[int(label) - 1]}/Absent_{number}" for number, label in labels[present:]}
    more = {
        "images.txt": [f"{number} {name}.jpg" for number, name in absent.items()],
        "bounding_boxes.txt": [f"{number} 1.0 1.0 9.0 9.0" for number in absent],
        "image_class_labels.txt": [" ".join(each) for each in labels[present:]],
    }
    for name, lines in more.items():
        own = (given / name).read_text().splitlines()[:present]
        (root / name).write_text("\n".join([*own, *lines]) + "\n")
    for split, others in (("train", list(absent.values())), ("test", [])):
        (birds / split).mkdir(parents=True)
        names = load_plain_pickle(data / "birds" / split / "filenames.pickle")
        (birds / split / "filenames.pickle").write_bytes(pickle.dumps([*names, *others], 2))
    (birds / "text").symlink_to(data / "birds" / TEXTS[data])
    return root, birds


@pytest.mark.slow
@needs(CUB10)
def test_ten_species_of_cub_pass_strict(tmp_path, capsys):
    flags = ["--root", str(CUB10 / "CUB_200_2011"), "--metadata", str(CUB10 / "birds"), "--image-size", "256"]
    out = ["--out", str(tmp_path / "cub10"), "--workers", "2", "--strict"]
    assert main(["prepare", "--source", "cub", *flags, *out]) == 0
    log, opened = capsys.readouterr().err, PreparedDataset(tmp_path / "cub10")
    assert opened.description["images"] == {"train": 275, "test": 268}
    assert opened.description["classes"] == {"train": 5, "test": 5} and opened.description["captions"] == 5430
    assert "147 of 543 images or crops are smaller than 304 px and were enlarged" in log
    assert "879 of 5,430 captions are captions of several images" in log
    assert found(opened.description["decisions"]) == {"grey image": 1}
    assert opened.published_set == ("CUB", ("10 of 200 species",)) and opened.name_of_set == "cub10"
    # Box 60 27 325 304: half side int(0.75 * 325) = 243 about (222, 179), clipped to the image of 500 x 335.
    photograph = Image.open(CUB10 / "CUB_200_2011" / "images" / f"{FIRST}.jpg")
    assert photograph.size == (500, 335) and opened.name(0) == FIRST
    crop = photograph.crop((0, 0, 465, 335)).resize((421, 304), Image.BILINEAR)
    assert np.array_equal(opened.image(0), np.asarray(crop))


@pytest.mark.parametrize("data", [pytest.param(each, marks=needs(each), id=each.name) for each in (CUB10, CUB50)])
def test_both_routes_to_the_captions_of_cub_agree(data, tmp_path):
    root, count = data / "CUB_200_2011", {CUB10: 543, CUB50: 2_889}[data]
    by_metadata = list_cub(root, metadata=data / "birds", texts=data / "birds" / TEXTS[data])
    by_reed = list_cub(root, captions=reed_of(tmp_path, data))
    assert by_metadata.images == by_reed.images and len(by_reed.images) == count
    assert found(by_metadata) == found(by_reed) == {}
    assert all(each.accepted for each in by_metadata.decisions), "own texts have their own number of captions"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "counts", "prepared_by"),
    [
        pytest.param(CUB10, {"train": 275, "test": 268}, "captions", marks=needs(CUB10), id="cub10"),
        pytest.param(CUB50, {"train": 1_906, "test": 983}, "metadata", marks=needs(CUB10, CUB50), id="cub50"),
    ],
)
def test_a_part_of_cub_with_the_lists_of_the_whole_passes_strict(data, counts, prepared_by, tmp_path, capsys):
    """Lists of all 11,788 images and of test species that are not there; photographs are read by one route alone."""
    root, birds = with_the_lists_of_the_whole(tmp_path, data)
    routes = {"metadata": birds, "captions": reed_of(tmp_path, data, species_of(data)[150:160])}
    absent = 11_788 - sum(counts.values())
    for route, other in routes.items():
        listing = list_cub(root, **{route: other}, captions_per_image=1)
        assert len(listing.images) == sum(counts.values()) and all(each.accepted for each in listing.decisions), route
        (decision,) = (each for each in listing.decisions if each.count > 1)
        assert decision[1:3] == ("image file that is not there", "species left out") and decision.count == absent
        assert decision.detail.startswith(f"{absent:,} images, such as ")
    flags = ["--root", str(root), f"--{prepared_by}", str(routes[prepared_by]), "--captions-per-image", "1"]
    out = ["--out", str(tmp_path / "prepared"), "--image-size", "16", "--workers", "2", "--strict"]
    assert main(["prepare", "--source", "cub", *flags, *out]) == 0, capsys.readouterr().err
    opened = PreparedDataset(tmp_path / "prepared")
    assert opened.description["images"] == counts
    assert opened.published_set[1] == (f"{len(set(opened.class_ids))} of 200 species", "16 px")
    # Box 60 27 325 304 of cub10, 38 17 208 194 of cub50: the papers' crop, reduced to 19 px.
    photograph = Image.open(root / "images" / f"{FIRST}.jpg")
    edges = {CUB10: (0, 0, 465, 335), CUB50: (0, 0, 298, 214)}[data]
    crop = photograph.crop(edges).resize((int(19 * edges[2] / edges[3]), 19), Image.BILINEAR)
    assert opened.name(0) == FIRST and np.array_equal(opened.image(0), np.asarray(crop))


@needs(CUB50)
def test_fifty_species_of_cub_have_known_faults_alone():
    root, texts = CUB50 / "CUB_200_2011", CUB50 / "birds" / "text_attributes"
    listing = list_cub(root, metadata=CUB50 / "birds", texts=texts, captions_per_image=0)
    splits = [each.split for each in listing.images]
    assert (splits.count("train"), splits.count("test")) == (1_906, 983) and found(listing) == {}
    assert len({each.class_id for each in listing.images}) == 50
    numbers = {each.name.rpartition("_")[2]: each for each in listing.images}
    # Two boxes reach beyond the image as in the original, two by rounding.
    for number, kinds in (("21551", 1), ("796991", 1), ("796807", 0), ("796827", 0)):
        each = numbers[number]
        odd = read_photograph(each.path, each.box, 76).found
        assert len(odd) == kinds and {one.found for one in odd} <= KNOWN, each.name
    first = listing.images[0]
    assert first.name == FIRST and first.box == (38, 17, 208, 194)
    # Half side 156 about (142, 114), clipped to the image of 320 x 214.
    crop = Image.open(first.path).crop((0, 0, 298, 214)).resize((105, 76), Image.BILINEAR)
    assert np.array_equal(read_photograph(first.path, first.box, 76).pixels, np.asarray(crop))
    only_reed = list_cub(root, metadata=CUB50 / "birds", captions_per_image=0)
    (decision,) = (each for each in only_reed.decisions if not each.accepted)
    assert (decision.found, decision.count, len(only_reed.images)) == ("image without a caption", 2_346, 543)


@pytest.mark.slow
@needs(FLICKR8K)
def test_flickr8k_is_prepared_from_its_csv_in_one_command(tmp_path, capsys):
    flags = ["--root", str(FLICKR8K), "--image-size", "16", "--workers", "2", "--strict"]
    assert main(["prepare", "--source", "folder", *flags, "--out", str(tmp_path / "flickr8k")]) == 0
    log, opened = capsys.readouterr().err, PreparedDataset(tmp_path / "flickr8k")
    assert opened.description["images"] == {"train": 7_282, "test": 809}
    assert opened.description["captions"] == 40_455 and not opened.has_classes
    assert opened.description["decisions"] == [] and opened.name_of_set == "flickr8k"
    assert "captions are captions of several images" in log and "were enlarged" not in log
    assert opened.name(0) == "Images/1000268201_693b08cb0e.jpg"
    assert opened.caption(0, 1) == "A girl going into a wooden building ."
    crop = Image.open(FLICKR8K / opened.name(0)).resize((19, 19), Image.BILINEAR)
    assert np.array_equal(opened.image(0), np.asarray(crop))
