"""COCO: annotations of 2014 and 2017, and real photographs from preparation to sampling."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmgan.data.dataset import PreparedDataset
from dmgan.data.prepare import prepare_photographs
from dmgan.data.sources.coco import list_coco
from dmgan.errors import UserError
from dmgan.options import DamsmSettings, TrainingOptions, TrainingSettings
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.training.pretrain_damsm import pretrain
from dmgan.training.train import TrainingInputs, train
from tests.conftest import ARCHITECTURE, CPU, DAMSM
from tests.data.made_sources import found, make_coco, picture, save
from tests.paths import SHARED

COCO_MINI = Path(os.environ.get("COCO_MINI", SHARED / "data" / "coco-mini"))


@pytest.mark.parametrize(("year", "other"), [("2014", "2017"), ("2017", "2014")])
def test_both_layouts_of_coco_are_listed(year, other, tmp_path):
    root = make_coco(tmp_path, year)
    listing = list_coco(root)
    prefix = f"COCO_{{}}{year}_" if year == "2014" else ""
    assert listing.source["year"] == year and not listing.has_classes
    assert found(listing) == {"captions of an image that is not listed": 1}
    assert [(each.name, each.class_id, each.split, len(each.captions)) for each in listing.images] == [
        (f"train{year}/{prefix.format('train')}{9:012d}.jpg", 0, "train", 5),
        (f"train{year}/{prefix.format('train')}{25:012d}.jpg", 1, "train", 5),
        (f"val{year}/{prefix.format('val')}{42:012d}.jpg", 2, "test", 5),
    ]  # fmt: skip
    published = {"2014": ("82,783", "40,504"), "2017": ("118,287", "5,000")}[year]
    assert [decision.detail for decision in listing.decisions[-2:]] == [
        f"2 train images, COCO {year} has {published[0]}", f"1 test images, COCO {year} has {published[1]}"
    ]  # fmt: skip
    save(root / f"val{year}" / "spare.jpg", picture())
    (root / f"val{year}" / ".DS_Store").touch()
    assert found(list_coco(root)) == {"captions of an image that is not listed": 1, "image file that is not listed": 1}
    annotations = root / "annotations"
    shutil.copy(annotations / f"captions_train{year}.json", annotations / f"captions_train{other}.json")
    with pytest.raises(UserError, match="holds COCO 2014 and 2017; choose with --year"):
        list_coco(root)
    (annotations / f"captions_val{year}.json").write_text('{"images": [{"file_name": "a"}]}')
    with pytest.raises(UserError, match=f"captions_val{year}.json: is not a file of COCO captions"):
        list_coco(root, year)
    with pytest.raises(UserError, match="holds no COCO captions"):
        list_coco(tmp_path)


def change(root: Path, split: str, edit) -> None:
    """Change the annotations of a split in place."""
    path = root / "annotations" / f"captions_{split}2017.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_a_name_is_the_split_and_the_path(tmp_path):
    """Both splits count their files from 1, and two sub-folders have files of one name."""
    root = make_coco(tmp_path, "2017")

    def renumber(content, split):
        for number, image in enumerate(content["images"]):
            new = f"{'ab'[number]}/000001.jpg"
            (root / f"{split}2017" / new).parent.mkdir()
            (root / f"{split}2017" / image["file_name"]).rename(root / f"{split}2017" / new)
            image["file_name"] = f"./{new}"

    for split in ("train", "val"):
        change(root, split, lambda content, split=split: renumber(content, split))
    listing = list_coco(root)
    assert [each.name for each in listing.images] == [
        "train2017/a/000001.jpg", "train2017/b/000001.jpg", "val2017/a/000001.jpg"
    ]  # fmt: skip
    assert found(listing) == {"captions of an image that is not listed": 1}


def test_images_outside_the_split_s_folder_are_a_decision(tmp_path):
    root = make_coco(tmp_path, "2017")
    for name in ("../val2017/000000000042.jpg", "/etc/passwd", "a\ud83d.jpg"):
        change(root, "train", lambda content, name=name: content["images"].append({"id": 7, "file_name": name}))
    assert found(list_coco(root))["image outside its split's folder train2017"] == 3


def test_images_of_one_id_have_no_captions_of_their_own(tmp_path):
    root = make_coco(tmp_path, "2017")
    change(root, "train", lambda content: [image.update(id=9) for image in content["images"]])
    listing = list_coco(root)
    assert [each.split for each in listing.images] == ["test"]
    assert found(listing)["image whose id another image has"] == 2


def test_ids_may_be_names(tmp_path):
    root = make_coco(tmp_path, "2017")

    def rename(content):
        for image in content["images"]:
            image["id"] = f"img_{image['id']}"
        for each in content["annotations"]:
            each["image_id"] = f"img_{each['image_id']}"

    change(root, "train", rename)
    change(root, "val", lambda content: [image.update(id=str(image["id"])) for image in content["images"]])
    assert [len(each.captions) for each in list_coco(root).images] == [5, 5, 5]


def test_captions_that_are_no_text_are_left_out_and_named(tmp_path):
    root = make_coco(tmp_path, "2017")

    def spoil(content):
        own = [each for each in content["annotations"] if each["image_id"] == 9]
        for each, caption in zip(own, (None, ["a list", "of two"], 7, float("nan"), "", "a bird"), strict=True):
            each["caption"] = caption

    change(root, "train", spoil)
    listing = list_coco(root)
    assert listing.images[0].captions == ("a bird",)
    kinds = found(listing)
    assert kinds["caption that is no text"] == 4 and kinds["caption without a word"] == 1


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda content: content["images"][0].update(id=1e400), "id inf is neither a whole number nor a name"),
        (lambda content: content["annotations"][0].update(image_id=-1e400), "id -inf is neither"),
        (lambda content: content["images"][0].update(id="9" * 5000), "id 9{40} is neither"),
        (lambda content: content["images"][0].update(id=True), "id True is neither"),
        (lambda content: content["images"][0].update(file_name=None), "file_name None is no text"),
        (lambda content: content["annotations"][0].pop("caption"), "has no 'caption'.; give COCO's captions_"),
        (lambda content: content.pop("annotations"), "has no 'annotations'"),
    ],
)
def test_other_annotations_are_refused_with_the_reason(edit, reason, tmp_path):
    root = make_coco(tmp_path, "2017")
    change(root, "train", edit)
    with pytest.raises(UserError, match=f"captions_train2017.json: is not a file of COCO captions .{reason}"):
        list_coco(root)


@pytest.mark.slow
@pytest.mark.skipif(
    not COCO_MINI.is_dir(), reason=f"{COCO_MINI} is not there; COCO_MINI names a folder of COCO in the layout of 2017"
)
def test_real_photographs_of_coco_are_prepared_trained_on_and_sampled(tmp_path):
    """159 photographs with their captions; training and sampling are tiny."""
    folder, damsm = tmp_path / "data", tmp_path / "damsm"
    prepare_photographs(list_coco(COCO_MINI), folder, 32, workers=2, strict=True)
    opened = PreparedDataset(folder)
    photograph = Image.open(COCO_MINI / opened.name(0)).convert("RGB")
    width, height = photograph.size
    size = (38, int(38 * height / width)) if width < height else (int(38 * width / height), 38)
    assert np.array_equal(opened.image(0), np.asarray(photograph.resize(size, Image.BILINEAR)))
    assert opened.description["images"] == {"train": 80, "test": 79}
    assert opened.description["captions"] == 159 * 5 and found(opened.description["decisions"]) == {}
    assert len(set(opened.class_ids)) == 159
    pretrain(folder, damsm, DamsmSettings(dataclasses.replace(DAMSM, batch_size=16)), 0, CPU)
    settings = TrainingSettings(ARCHITECTURE, TrainingOptions(epochs=1, batch_size=16, max_words=12))
    train("dmgan", TrainingInputs(folder, damsm), tmp_path / "run", settings, 0, CPU)
    sample_test_captions(tmp_path / "run", folder, tmp_path / "images", SampleRequest(8), CPU)
    assert len(list((tmp_path / "images").rglob("*.png"))) == 8
