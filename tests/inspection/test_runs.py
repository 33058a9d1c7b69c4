"""Finished runs of a results folder are found, encoders and unfinished runs are not."""

import shutil

import pytest

from dmgan.errors import UserError
from dmgan.inspection.runs import find_runs
from dmgan.storage.files import read_json
from dmgan.storage.seals import write_sealed_json


def test_the_runs_of_a_results_folder(results, dmgan_run):
    assert [run.label for run in find_runs([results])] == ["DF-GAN · birds/dfgan/seed0", "DM-GAN · birds/dmgan/seed0"]
    assert [run.folder for run in find_runs([dmgan_run])] == [dmgan_run]
    assert len(find_runs([results, dmgan_run])) == 2


def test_two_results_folders_with_runs_of_equal_names(results, dmgan_run, tmp_path):
    shutil.copytree(dmgan_run, tmp_path / "birds" / "dmgan" / "seed0")
    found = find_runs([results, tmp_path])
    assert len({run.label for run in found}) == len(found) == 3


def test_a_folder_without_a_finished_run_is_refused(damsm_folder, dmgan_run, tmp_path):
    with pytest.raises(UserError, match="missing: is not a folder"):
        find_runs([tmp_path / "missing"])
    with pytest.raises(UserError, match="holds no finished run of a model; give a results folder"):
        find_runs([damsm_folder])
    (tmp_path / "unfinished").mkdir()
    shutil.copyfile(dmgan_run / "options.json", tmp_path / "unfinished" / "options.json")
    with pytest.raises(UserError, match="holds no finished run"):
        find_runs([tmp_path])


def test_a_run_of_an_unknown_model_is_named_and_left_out(dmgan_run, tmp_path, capsys):
    for name in ("known", "unknown"):
        shutil.copytree(dmgan_run, tmp_path / name)
    path = tmp_path / "unknown" / "options.json"
    write_sealed_json(path, read_json(path, "") | {"model": "toy-gan"})
    assert [run.folder.name for run in find_runs([tmp_path])] == ["known"]
    assert "unknown: left out, because its model 'toy-gan' is not in the registry" in capsys.readouterr().err


@pytest.mark.parametrize("options", ['{"model": []}', "[]", "{}"])
def test_a_run_whose_options_name_no_model_is_left_out(options, dmgan_run, tmp_path, capsys):
    for name in ("known", "unknown"):
        shutil.copytree(dmgan_run, tmp_path / name)
    (tmp_path / "unknown" / "options.json").write_text(options)
    assert [run.folder.name for run in find_runs([tmp_path])] == ["known"]
    assert "unknown: left out, because its model None is not in the registry" in capsys.readouterr().err
