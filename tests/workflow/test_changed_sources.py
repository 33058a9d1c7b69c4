"""Texts and images of a source are inputs of the workflow: what changes in them makes the data set out of date."""

import os
from pathlib import Path

import pytest

from dmgan.data.sources.listing import fingerprint
from dmgan.data.sources.table import find_source
from tests.data.made_sources import make_coco, make_cub, make_metadata, make_reed, picture, save
from tests.project import copy_of_project, run
from tests.workflow.configurations import read_config, write_config
from workflow.configuration import input_fingerprint


def photos(root: Path) -> Path:
    for number in range(4):
        save(root / f"{number}.jpg", picture(seed=number))
        (root / f"{number}.txt").write_text(f"bird {number}\n")
    return root


def test_a_fingerprint_changes_with_every_text_and_image_and_with_nothing_else(tmp_path):
    root = photos(tmp_path / "photos")
    seen = [fingerprint([root])]
    (root / ".DS_Store").touch()
    (root / "notes.md").write_text("mine")
    (root / "torn.jpg").symlink_to("nowhere")
    assert fingerprint([root]) == seen[0] != fingerprint([])
    os.mkdir(root / "more")
    for change in (
        lambda: (root / "0.txt").write_text("bird 0, mended\n"),
        lambda: os.utime(root / "1.jpg", (1, 1)),  # another photograph of the same size
        lambda: save(root / "more" / "5.jpg", picture()),
        lambda: (root / "2.txt").rename(root / "3a.txt"),
        lambda: (root / "3a.txt").unlink(),
    ):
        change()
        seen.append(fingerprint([root]))
    assert len(set(seen)) == 6


@pytest.mark.parametrize("captions", ["metadata", "captions"])
def test_texts_and_images_of_cub_are_inputs(captions, tmp_path):
    root = make_cub(tmp_path)
    other = make_metadata(tmp_path) if captions == "metadata" else make_reed(tmp_path)
    folders = find_source("cub").input_folders(find_source("cub").options({"root": root, captions: other}))
    assert all(any(folder.rglob("*.jpg")) or any(folder.rglob("*.txt")) for folder in folders) and len(folders) == 2


def test_photographs_of_coco_are_inputs(tmp_path):
    root, coco = make_coco(tmp_path, "2017"), find_source("coco")
    given = coco.input_folders(coco.options({"root": root, "year": "2017"}))
    assert given == [root / "train2017", root / "val2017"]
    assert set(given) < set(coco.input_folders(coco.options({"root": root})))


def test_drawn_sources_have_no_input_folders():
    config = {"datasets": {"birds": {"source": "synthbirds"}}}
    assert input_fingerprint(config, "birds") == fingerprint([])


@pytest.mark.slow
def test_an_edited_caption_prepares_again(tmp_path):
    folder, root = copy_of_project(tmp_path / "project"), photos(tmp_path / "it's ü")
    config = read_config("smoke.yaml") | {"models": ["dmgan"], "retrieval": [], "extractors": ["inception-tf"]}
    config["datasets"]["smoke"] = {"source": "folder", "root": str(root), "image_size": 32}
    path, target = write_config(tmp_path / "photos.yaml", config), "results/data/smoke/dataset.json"
    made = run("snakemake", target, "--configfile", path, "--cores", "1", folder=folder)
    assert made.returncode == 0, made.stderr
    (root / "0.txt").write_text("a new caption about a penguin\n")
    dry = run("snakemake", target, "--configfile", path, "--dry-run", folder=folder)
    assert "rule prepare" in dry.stdout and "Params have changed" in dry.stdout, dry.stdout
