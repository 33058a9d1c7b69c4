"""The folder of `generate`: its files, the captions that are left out, and nothing half-written."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from dmgan.errors import UserError
from dmgan.inspection.generated_folder import GenerateRequest, generate_from_captions
from dmgan.inspection.inspector import Aspects, ComparedWith
from dmgan.sampling.generate import images_from_captions
from dmgan.sampling.trained_model import load_run
from tests.commands.test_command_line import error_line
from tests.conftest import CPU
from tests.storage.full_disk import check_full_disk

CAPTIONS = ["this bird has a red crown and a white belly", "a quetzal with blue wings"]
EVERYTHING = Aspects(attention=True, scores=True, nearest=True)


def names_in(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_own_captions(run_folder, tmp_path, capsys):
    generate_from_captions(run_folder, GenerateRequest(CAPTIONS, 2, seed=0), tmp_path / "out", CPU)
    images = {f"caption{c:03d}_{i:03d}_{s}.png" for c in range(2) for i in range(2) for s in (8, 16, 32)}
    assert names_in(tmp_path / "out") == {"captions.json", *images}
    assert "left out the unknown words quetzal" in capsys.readouterr().err
    described = json.loads((tmp_path / "out" / "captions.json").read_text())["captions"]
    assert described[1]["words_used"] == ["a", "with", "blue", "wings"]


def test_every_further_file(dmgan_run, tmp_path):
    request = GenerateRequest(CAPTIONS, 2, seed=0, sheet="jpg", gif=True, aspects=EVERYTHING)
    generate_from_captions(dmgan_run, request, tmp_path / "out", CPU)
    stems = [f"caption{c:03d}_{i:03d}" for c in range(2) for i in range(2)]
    endings = ("8.png", "16.png", "32.png", "stages.gif", "attention.png", "nearest.png")
    whole = {"captions.json", "scores.csv", "scores.json", "sheet_000.jpg"}
    assert names_in(tmp_path / "out") == whole | {f"{stem}_{ending}" for stem in stems for ending in endings}
    with Image.open(tmp_path / "out" / "caption000_001_stages.gif") as animation:
        assert animation.n_frames == 3 and animation.size == (128, 128)
    with (tmp_path / "out" / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["caption_number"], row["image"]) for row in rows] == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]
    assert all(1 <= int(row["rank of 100(training DAMSM)"]) <= 100 for row in rows)
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [each.get("scorer", each.get("extractor")) for each in written["protocols"]] == ["training DAMSM", "species"]
    assert [list(map(str, each.values())) for each in written["images"]] == [list(row.values()) for row in rows]
    generate_from_captions(dmgan_run, request, tmp_path / "out", CPU)  # replaces its own files


def test_captions_that_cannot_be_read_are_named_and_left_out(run_folder, tmp_path, capsys):
    captions = ["xyzzy", CAPTIONS[0], " ", "red " * 300]
    generate_from_captions(run_folder, GenerateRequest(captions), tmp_path / "out", CPU)
    errors = capsys.readouterr().err
    assert "left out: caption 'xyzzy': the text encoder knows no word" in errors
    assert "left out: caption ' ': holds no word" in errors and "has 1200 characters; write at most 1000" in errors
    assert "left out 3 of 4 captions" in errors
    written = json.loads((tmp_path / "out" / "captions.json").read_text())
    assert [each["number"] for each in written["captions"]] == [1]
    assert [each["number"] for each in written["skipped"]] == [0, 2, 3]
    trained = load_run(run_folder, CPU)
    (alone,) = images_from_captions(trained, CAPTIONS[:1], 1, 100)
    shown = np.asarray(Image.open(tmp_path / "out" / "caption001_000_32.png"))
    assert np.array_equal(shown, alone.stages[-1][0])


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ([], "no caption given"),
        (["  "], "holds no word"),
        (["quetzal"], "knows no word of this caption"),
        (["quetzal", ""], "none of the 2 captions can be read"),
        (["red"] * 1001, "1001 captions: must be 1000 at most"),
    ],
)
def test_captions_that_say_nothing_leave_nothing(run_folder, tmp_path, captions, message):
    with pytest.raises(UserError, match=message):
        generate_from_captions(run_folder, GenerateRequest(captions), tmp_path / "out", CPU)
    assert not (tmp_path / "out").exists()


def test_what_a_model_does_not_have_is_refused_and_leaves_nothing(dfgan_run, one_image_folder, imported, tmp_path):
    refused = [
        (dfgan_run, {"aspects": Aspects(attention=True)}, "--attention: the model does not attend to words"),
        (one_image_folder, {"gif": True}, "--gif: attngan-dcgan generates the image of its last stage only"),
        (imported, {"aspects": Aspects(nearest=True)}, "released weights name no training images; give --data"),
    ]
    for run, settings, message in refused:
        with pytest.raises(UserError, match=message):
            generate_from_captions(run, GenerateRequest(["a red bird"], **settings), tmp_path / "out", CPU)
    assert list(tmp_path.iterdir()) == []


def test_released_weights_are_scored_without_a_rank_or_with_given_data(imported, data, tmp_path):
    request = GenerateRequest(["a red bird"], aspects=Aspects(scores=True))
    for compared, wanted in ((ComparedWith(), False), (ComparedWith(data=data), True)):
        generate_from_captions(imported, request, tmp_path / "out", CPU, compared)
        heading = (tmp_path / "out" / "scores.csv").read_text().splitlines()[0]
        assert "similarity(released DAMSM)" in heading and ("rank of 100" in heading) == wanted


def test_the_flags_reach_the_request(dmgan_run, tmp_path):
    from dmgan.__main__ import main

    words = ["generate", "--run", dmgan_run, "--caption", "a red bird", "--out", tmp_path / "out", "--sheet", "png"]
    words += ["--gif", "--attention", "--scores", "--nearest", "--features", tmp_path / "features", "--threads", "1"]
    assert main([str(word) for word in words]) == 0
    assert {"sheet_000.png", "caption000_000_stages.gif", "scores.csv", "caption000_000_nearest.png"} <= names_in(
        tmp_path / "out"
    )
    assert len(list((tmp_path / "features").glob("*/species/features.npy"))) == 1


def test_clip_needs_its_weights(capsys, run_folder, tmp_path):
    line = error_line(
        capsys, "generate", "--run", run_folder, "--caption", "a bird", "--out", tmp_path, "--clip", "RN50"
    )
    assert "--clip and --clip-weights: belong together" in line


def test_a_caption_is_no_formula_of_a_spreadsheet_and_no_control_of_a_terminal(run_folder, tmp_path):
    request = GenerateRequest(["=HYPERLINK(1) red \x1b[31mbird"], aspects=Aspects(scores=True))
    generate_from_captions(run_folder, request, tmp_path / "out", CPU)
    with (tmp_path / "out" / "scores.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["caption"] == r"'=HYPERLINK(1) red \x1b[31mbird"


def test_half_a_surrogate_pair_of_the_command_line_is_replaced(run_folder, tmp_path):
    """Python reads bytes that are not UTF-8 as halves of surrogate pairs, which cannot be drawn."""
    request = GenerateRequest(["a red bird \udced\udca0"], sheet="png")
    generate_from_captions(run_folder, request, tmp_path / "out", CPU)
    (described,) = json.loads((tmp_path / "out" / "captions.json").read_text())["captions"]
    assert described["caption"] == "a red bird \ufffd\ufffd" and (tmp_path / "out" / "sheet_000.png").exists()


def test_a_disk_that_is_full_at_any_write_is_one_line_and_the_next_command_succeeds(run_folder, tmp_path):
    folder = tmp_path / "made"
    request = GenerateRequest(CAPTIONS[:1], 1, seed=0, sheet="png", gif=True)

    def write() -> None:
        generate_from_captions(run_folder, request, folder / "out", CPU)
        (folder / "out" / "captions.json").unlink()  # states the time

    assert check_full_disk(folder, write) > 10
