"""COCO: annotations of 2014 and 2017, and real photographs from preparation to sampling."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

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
    assert listing.source["year"] == year
    assert found(listing) == {"captions of an image that is not listed": 1}
    assert [(each.name[-2:], each.class_id, each.split, len(each.captions)) for each in listing.images] == [
        ("09", 0, "train", 5), ("25", 1, "train", 5), ("42", 2, "test", 5)
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


@pytest.mark.slow
@pytest.mark.skipif(
    not COCO_MINI.is_dir(), reason=f"{COCO_MINI} is not there; COCO_MINI names a folder of COCO in the layout of 2017"
)
def test_real_photographs_of_coco_are_prepared_trained_on_and_sampled(tmp_path):
    """159 photographs with their captions; training and sampling are tiny."""
    folder, damsm = tmp_path / "data", tmp_path / "damsm"
    prepare_photographs(list_coco(COCO_MINI), folder, 32, workers=2)
    opened = PreparedDataset(folder)
    assert opened.description["images"] == {"train": 80, "test": 79}
    assert opened.description["captions"] == 159 * 5 and found(opened.description["decisions"]) == {}
    assert len(set(opened.class_ids)) == 159
    pretrain(folder, damsm, DamsmSettings(dataclasses.replace(DAMSM, batch_size=16)), 0, CPU)
    settings = TrainingSettings(ARCHITECTURE, TrainingOptions(epochs=1, batch_size=16, max_words=12))
    train("dmgan", TrainingInputs(folder, damsm), tmp_path / "run", settings, 0, CPU)
    sample_test_captions(tmp_path / "run", folder, tmp_path / "images", SampleRequest(8), CPU)
    assert len(list((tmp_path / "images").rglob("*.png"))) == 8
