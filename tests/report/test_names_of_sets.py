"""The name of a data set in tables, and what a set says that is only a part of the published one."""

import pytest

from dmgan.data.dataset import PreparedDataset
from dmgan.data.sources.table import find_source
from dmgan.report.figures import image_grids
from dmgan.report.figures.scene import Scene
from dmgan.report.page.layouts import published_table
from dmgan.report.results import read_measured
from dmgan.report.tables.render import write_tables
from dmgan.storage.files import json_sha256
from dmgan.training import run_folder
from tests.report.made_metrics import MODEL, markdown_cells, metrics, read_all

SUBJECT = {"kind": "model", "name": "dmgan", "seed": 0, "dataset": "cub50", "num_images": 2000, "image_size": 64}


def described(species=200, train=8855, test=2933, size=256, **source) -> dict:
    """Return the part of dataset.json that is compared with the published set."""
    classes = {"train": species - species // 4, "test": species // 4}
    images = {"train": train, "test": test}
    return {"images": images, "classes": classes, "image_size": size, "source": {"name": "cub", **source}}


@pytest.mark.parametrize(
    ("description", "differences"),
    [
        (described(), ()),
        (described(size=64), ("64 px",)),
        (described(50, 1906, 983, 64), ("50 of 200 species", "64 px")),
        (described(train=8854), ("8,854 of 8,855 train images",)),
        (described(test=2934), ("2,934 instead of 2,933 test images",)),
        (described(crop="whole"), ("whole images",)),
    ],
)
def test_a_set_that_differs_from_the_published_one_says_how(description, differences):
    assert find_source("cub").published.differences(description) == differences


def test_only_sources_of_the_papers_have_a_published_set():
    titles = {name: find_source(name).published for name in ("synthbirds", "folder", "cub", "coco")}
    assert {name: each and each.title for name, each in titles.items()} == {
        "synthbirds": None, "folder": None, "cub": "CUB", "coco": "COCO"
    }  # fmt: skip


def test_the_column_beside_published_numbers_says_what_the_set_is(write_metrics, tmp_path):
    part = {"published_set": "CUB", "differences": ["50 of 200 species", "64 px"]}
    file = write_metrics("dmgan", dataset="cub50", subject=SUBJECT | part)
    write_tables([file], tmp_path)
    said = "50 of 200 species, 64 px: not the published set"
    assert read_measured([file]).not_published == said
    header = markdown_cells(tmp_path, "table1", "Method")
    assert [each.split(", ", 1)[1] for each in header] == [
        "CUB (published)", "COCO (published)", f"cub50 (this run; {said}), species"
    ]  # fmt: skip
    for text in ((tmp_path / f"table2.{kind}").read_text() for kind in ("md", "tex")):
        assert said in text and "may differ from the paper's" not in text
    assert said not in read_all(tmp_path, "measures")  # no published number stands beside
    of_report = published_table(read_measured([file])).caption
    assert said in of_report and "may differ" not in of_report


def test_the_published_set_itself_says_nothing(write_metrics, tmp_path):
    whole = {"published_set": "CUB", "differences": []}
    write_tables([write_metrics("dmgan", subject=SUBJECT | whole, metrics=metrics(MODEL))], tmp_path)
    assert "not the published set" not in read_all(tmp_path, "table1")


@pytest.fixture
def cub50(data) -> PreparedDataset:
    """A prepared set that its configuration calls cub50."""
    opened = PreparedDataset(data)
    opened.description["name"] = "cub50"
    return opened


def test_figures_show_the_name_of_the_set(cub50, monkeypatch):
    headings = []
    monkeypatch.setattr(image_grids, "draw_gallery", lambda heading, *others: headings.append(heading))
    for draw in (image_grids.draw_models, image_grids.draw_rivals):
        draw(Scene([], cub50, 0))
    assert headings == ["Test captions of cub50"] * 2


def test_mlflow_shows_the_name_and_the_hash_of_the_set(cub50, tmp_path, monkeypatch):
    tags = {}
    monkeypatch.setattr(run_folder, "MlflowRun", lambda uri, folder, title, given, *others: tags.update(given))
    written = {"options": {"epochs": 1, "checkpoint_every": 1}}
    with run_folder.RunFolder(
        tmp_path / "run", run_folder.RunDescription("dmgan", "train", "dmgan", cub50, 0, written)
    ):
        assert tags["dataset"] == "cub50" and tags["data"] == json_sha256(cub50.sha256)[:12]


def test_a_set_without_a_stored_name_has_that_of_its_folder(cub50):
    del cub50.description["name"]
    assert cub50.name_of_set == "synthbirds"
