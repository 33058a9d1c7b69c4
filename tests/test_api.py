"""The Python interface: the images of `generate`, the numbers of `evaluate`, and a fast `import dmgan`."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import dmgan
from dmgan.inspection.generated_folder import GenerateRequest, generate_from_captions
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from tests.conftest import CPU
from tests.evaluation.own_images import write_images
from tests.paths import ROOT

CAPTIONS = ["this bird has a red crown and a white belly", "a quetzal with blue wings"]


@pytest.fixture(scope="module")
def model(run_folder) -> dmgan.Model:
    return dmgan.load(str(run_folder), device="cpu")


def test_import_dmgan_does_not_import_torch():
    code = "import dmgan, sys; assert 'dmgan.api' not in sys.modules and 'torch' not in sys.modules; print(dir(dmgan))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'evaluate'" in done.stdout and "'load'" in done.stdout


def test_every_name_of_the_interface_exists():
    assert all(getattr(dmgan, name) is not None for name in dmgan.__all__)
    assert set(dmgan.__all__) == set(dmgan.api.__all__)
    with pytest.raises(AttributeError, match="module 'dmgan' has no attribute 'lode'"):
        dmgan.lode  # noqa: B018


def test_the_page_names_the_whole_interface_and_nothing_else():
    page = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\bdmgan\.([A-Za-z]\w+)", page)) - set(dmgan.__all__) == set()
    assert [name for name in dmgan.__all__ if name not in page] == []


def test_a_model_generates_the_images_that_the_subcommand_writes(model, run_folder, tmp_path):
    generate_from_captions(run_folder, GenerateRequest(CAPTIONS, 2, seed=1), tmp_path / "out", CPU)
    images = model.generate(CAPTIONS, images_per_caption=2, seed=1)
    assert [each.caption for each in images] == [caption for caption in CAPTIONS for _ in range(2)]
    for number, each in enumerate(images):
        assert [stage.size for stage in each.stages] == [(side, side) for side in model.image_sizes]
        for stage in each.stages:
            path = tmp_path / "out" / f"caption{number // 2:03d}_{number % 2:03d}_{stage.width}.png"
            assert np.array_equal(np.asarray(stage), np.asarray(Image.open(path))), path.name
    assert images[0].image is images[0].stages[-1]
    assert not np.array_equal(np.asarray(images[0].image), np.asarray(images[1].image))


def test_a_model_describes_itself_and_what_it_read(model, capsys):
    assert model.name == "dmgan" and model.image_sizes == (8, 16, 32) and model.device == CPU
    assert repr(model) == "<dmgan.Model dmgan, 8/16/32 px, cpu>"
    assert "red" in model.vocabulary and "<end>" not in model.vocabulary
    (image,) = model.generate("a quetzal with blue wings")
    assert image.words_used == ("a", "with", "blue", "wings") and image.words_unknown == ("quetzal",)
    assert "left out the unknown words quetzal" in capsys.readouterr().err
    assert model.generate([]) == []


def test_bad_input_is_a_user_error(model, tmp_path):
    with pytest.raises(dmgan.UserError, match="images_per_caption 0: must be 1 or more"):
        model.generate("a red bird", images_per_caption=0)
    with pytest.raises(dmgan.UserError, match="holds no word"):
        model.generate(["a red bird", " "])
    with pytest.raises(dmgan.UserError, match="options.json: cannot be read"):
        dmgan.load(tmp_path, device="cpu")
    with pytest.raises(dmgan.UserError, match="device mps9: is not a known device"):
        dmgan.load(tmp_path, device="mps9")


def test_evaluate_returns_the_content_of_metrics_json(
    run_folder, data, damsm_folder, classifier_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    sample_test_captions(run_folder, data, tmp_path / "images", SampleRequest(20), CPU)
    networks = dmgan.NetworkFiles(
        extractors=("species",), classifier=str(classifier_folder), weights=str(tmp_path), damsm=str(damsm_folder)
    )
    settings = {"options": dmgan.EvaluationOptions(neighbours=2), "device": "cpu"}
    content = dmgan.evaluate(str(tmp_path / "images"), data, networks, out=tmp_path / "metrics.json", **settings)
    assert content == json.loads((tmp_path / "metrics.json").read_text())
    assert content["metrics"]["FID(species)"]["value"] > 0 and content["subject"]["num_images"] == 20
    again = dmgan.evaluate(tmp_path / "images", data, networks, reference_features=tmp_path / "reference", **settings)
    assert again["metrics"] == content["metrics"]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_evaluate_measures_a_folder_of_any_program(classifier_folder, tmp_path):
    for seed, name in enumerate(("mine", "real")):
        write_images(tmp_path / name, 20, seed=seed)
    networks = dmgan.NetworkFiles(
        extractors=("species",), classifier=str(classifier_folder), weights=str(tmp_path), damsm=None
    )
    settings = {"options": dmgan.EvaluationOptions(neighbours=2), "device": "cpu"}
    mine = dmgan.OwnImages(str(tmp_path / "mine"), "My method")
    content = dmgan.evaluate(mine, None, networks, reference=str(tmp_path / "real"), **settings)
    assert content["subject"]["kind"] == "external" and content["subject"]["name"] == "My method"
    assert content["metrics"]["FID(species)"]["value"] > 0
    alone = dmgan.evaluate(mine, None, networks, **settings)
    assert list(alone["metrics"]) == ["IS(species)"]
    for data, reference in ((None, None), ("data", "real")):
        with pytest.raises(dmgan.UserError, match="give data and leave reference out, or give OwnImages"):
            dmgan.evaluate("images", data, networks, reference=reference, **settings)
