"""Real photographs in the published layouts, where they are there: what is listed, --strict, one crop each."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmgan.__main__ import main
from dmgan.data.dataset import PreparedDataset
from dmgan.data.sources.cub import KNOWN, list_cub
from dmgan.data.sources.folder import list_folder
from dmgan.data.sources.photographs import read_photograph
from tests.data.made_sources import found
from tests.paths import SHARED

CUB10, CUB50, FLICKR8K = (SHARED / "data" / name for name in ("cub10", "cub50", "flickr8k-128"))
FIRST = "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18"
TEST_SPECIES = ("001", "004", "006", "008", "009")


def needs(folder: Path):
    return pytest.mark.skipif(not folder.is_dir(), reason=f"{folder} is not there")


def reed_of(folder: Path, data: Path) -> Path:
    """Make Reed et al.'s folder of AttnGAN's, with the same texts and test species."""
    reed = folder / "cvpr2016_cub"
    reed.mkdir()
    (reed / "text_c10").symlink_to(data / "birds" / "text")
    species = [line.split()[1] for line in (data / "CUB_200_2011" / "classes.txt").read_text().splitlines()]
    (reed / "testclasses.txt").write_text("\n".join(each for each in species[:10] if each[:3] in TEST_SPECIES))
    return reed


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


@needs(CUB10)
def test_both_routes_to_the_captions_of_cub_agree(tmp_path):
    by_metadata = list_cub(CUB10 / "CUB_200_2011", metadata=CUB10 / "birds")
    by_reed = list_cub(CUB10 / "CUB_200_2011", captions=reed_of(tmp_path, CUB10))
    assert by_metadata.images == by_reed.images and len(by_reed.images) == 543
    assert found(by_metadata) == found(by_reed) == {}


@needs(CUB10)
def test_a_part_of_cub_with_the_lists_of_the_whole(tmp_path):
    """images.txt and the boxes for all 11,788 images, of which 543 are there."""
    root, given = tmp_path / "CUB_200_2011", CUB10 / "CUB_200_2011"
    root.mkdir()
    for name in ("images", "classes.txt", "image_class_labels.txt"):
        (root / name).symlink_to(given / name)
    labels = [line.split() for line in (given / "image_class_labels.txt").read_text().splitlines()]
    absent = [f"{number} {int(label):03d}.Absent/Absent_{number}.jpg" for number, label in labels[543:]]
    (root / "images.txt").write_text((given / "images.txt").read_text() + "\n".join(absent) + "\n")
    boxes = "".join(f"{line.split()[0]} 1.0 1.0 9.0 9.0\n" for line in absent)
    (root / "bounding_boxes.txt").write_text((given / "bounding_boxes.txt").read_text() + boxes)
    listing = list_cub(root, metadata=CUB10 / "birds")
    assert len(absent) == 11_245 and len(listing.images) == 543
    (decision,) = (each for each in listing.decisions if not each.accepted)
    assert (decision.found, decision.count) == ("image file that is not there", 11_245)
    assert decision.detail == "11,245 images, such as 011.Absent/Absent_544"


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
def test_flickr8k_is_listed_from_its_csv():
    listing = list_folder(FLICKR8K)
    assert len(listing.images) == 8_091 and sum(len(each.captions) for each in listing.images) == 40_455
    assert listing.decisions == [] and not listing.has_classes
    splits = [each.split for each in listing.images]
    assert (splits.count("train"), splits.count("test")) == (7_282, 809)
    first = listing.images[0]
    assert first.name == "Images/1000268201_693b08cb0e.jpg"
    assert first.captions[1] == "A girl going into a wooden building ."
    crop = Image.open(first.path).resize((76, 76), Image.BILINEAR)
    assert np.array_equal(read_photograph(first.path, None, 76).pixels, np.asarray(crop))
