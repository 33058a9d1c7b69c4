"""Verification of values, figures, control images, images of other programs and retrieval tables."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmgan.evaluation.external_images import folder_sha256
from dmgan.evaluation.image_blocks import pixels_sha256
from dmgan.evaluation.image_sets import AnyImages
from dmgan.evaluation.statistics.folds import whole_with_jackknife
from dmgan.report.figures.canvas import Canvas
from dmgan.report.tables.retrieval import write_retrieval
from dmgan.report.verify import ALTERED, OK, ORPHANED, STALE, UNSEALED, verify
from dmgan.report.verify_values import altered_values
from dmgan.storage.seals import SEAL, write_sealed_json
from tests.report.made_metrics import TRAINING, measure
from tests.report.page.made_results import DATA, RESULTS, edit_metric, make_results


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("verified")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        make_results()
    return home


@pytest.fixture
def results(made, tmp_path, monkeypatch) -> Path:
    """A copy, in the current folder."""
    shutil.copytree(made / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return Path("results")


def states(*parts: Path) -> dict[str, str]:
    """Return the state and reason of every finding in these folders that is not OK, by path."""
    found = verify(Path("results"), parts or (Path("results"),))
    return {str(each.path): f"{each.state}: {each.what}" for each in found if each.state not in (OK, ORPHANED)}


def test_made_results_are_whole(results):
    assert states() == {}


FILE = RESULTS / "attngan/seed0/metrics.json"


def test_an_edited_value_is_named_although_the_seal_was_made_again(results):
    edit_metric(FILE, "FID(species)", 12.0)
    content = json.loads(FILE.read_text())
    del content[SEAL]
    write_sealed_json(FILE, content)
    assert states(RESULTS / "attngan", DATA) == {
        str(FILE): "altered: FID(species): its value 12 is not the one that was computed, 25.5"
    }


def test_a_file_without_a_seal_is_unsealed(results):
    content = json.loads(FILE.read_text())
    del content[SEAL]
    FILE.write_text(json.dumps(content))
    assert states(RESULTS / "attngan", DATA)[str(FILE)].startswith(f"{UNSEALED}: it has no hash of its content")


def test_values_of_arrays_without_stored_values_are_recomputed(tmp_path):
    """Evaluations of earlier versions: a share from the images' hits, an interval from the folds."""
    random = np.random.default_rng(1)
    hits, without = random.integers(2, size=300), 20 + random.normal(size=10)
    score = whole_with_jackknife(20.0, without, without)
    share, fid = 100 * float(hits.mean()), measure(20.0) | {"interval": list(score.interval)}
    arrays = {f"hits/{TRAINING}": hits, f"counts/{TRAINING}": np.ones(300), "without/FID(species)": without}
    np.savez(tmp_path / "per_image.npz", **arrays)

    def altered(**changed) -> list[str]:
        content = {"metrics": {TRAINING: measure(share), "FID(species)": fid} | changed}
        return list(altered_values(tmp_path / "metrics.json", content))

    assert altered() == []
    assert altered(**{TRAINING: measure(share + 5)}) == [
        f"{TRAINING}: its value {share + 5:.6g} is not the share of the images' hits, {share:.6g}"
    ]
    edited = altered(**{"FID(species)": fid | {"value": 12.0}})
    assert len(edited) == 2 and all("does not follow from its value and folds" in each for each in edited)


def test_an_edited_figure_is_named(results):
    data = json.loads((DATA / "dataset.json").read_text())["sha256"]
    Canvas(1, 1).write(RESULTS / "figures" / "figure3", {"data": data, "generators": []})
    assert states(RESULTS / "figures", DATA) == {}
    path = RESULTS / "figures" / "figure3.pdf"
    path.write_bytes(path.read_bytes() + b" ")
    assert states(RESULTS / "figures", DATA) == {
        str(path): "altered: its bytes are not those that figure3.json records"
    }


def test_a_figure_of_other_weights_is_stale(results):
    Canvas(1, 1).write(RESULTS / "figures" / "figure3", {"generators": ["ab" * 32]})
    (RESULTS / "dmgan/seed0/generator.safetensors").write_bytes(b"others")
    assert states(RESULTS / "figures", RESULTS / "dmgan/seed0")[str(RESULTS / "figures/figure3.json")].startswith(STALE)


def images(folder: Path, count: int = 3) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{number:06d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
    return paths


def rewrite(file: Path, **changed) -> None:
    """Write a metrics.json anew, with other entries and a whole seal."""
    content = json.loads(file.read_text())
    del content[SEAL]
    write_sealed_json(file, content | changed)


@pytest.mark.parametrize("sealed_again", [False, True])
def test_edited_control_images_are_named(results, sealed_again):
    folder = RESULTS / "controls/noise"
    paths, file = images(folder / "images"), folder / "metrics.json"
    data = json.loads((DATA / "dataset.json").read_text())["sha256"]
    manifest = {"damsm_sha256": {}, "data_sha256": data, "seed": 100}
    write_sealed_json(folder / "images/manifest.json", manifest, [path.name for path in paths])
    inputs = json.loads(file.read_text())["inputs"]
    rewrite(file, inputs=inputs | {"images_sha256": pixels_sha256(AnyImages(paths))})
    assert states(RESULTS / "controls", DATA) == {}
    Image.fromarray(np.full((8, 8, 3), 99, np.uint8)).save(paths[1])
    if sealed_again:
        write_sealed_json(folder / "images/manifest.json", manifest, [path.name for path in paths])
    found = states(RESULTS / "controls", DATA)
    assert found[str(file)] == f"stale: the images in {folder / 'images'} are not those that it measured"
    assert (str(paths[1]) in found) is not sealed_again


def test_changed_images_of_another_program_are_stale(results, tmp_path):
    paths = images(tmp_path / "theirs")
    (tmp_path / "theirs/captions.jsonl").write_text(
        "".join(json.dumps({"image": path.name, "caption": "a bird"}) + "\n" for path in paths)
    )
    captions, file = tmp_path / "theirs/captions.jsonl", RESULTS / "theirs/external/metrics.json"
    shutil.copytree(RESULTS / "controls/real", file.parent)
    content = json.loads(file.read_text())
    rewrite(
        file,
        subject=content["subject"] | {"kind": "external", "name": "theirs"},
        inputs=content["inputs"] | {"files_sha256": folder_sha256(tmp_path / "theirs", captions)},
        images_folder="../../../../theirs",
        captions_file="../../../../theirs/captions.jsonl",
    )
    assert states(RESULTS / "theirs", DATA) == {}
    Image.fromarray(np.full((8, 8, 3), 99, np.uint8)).save(paths[1])
    assert "are not those that it measured" in states(RESULTS / "theirs", DATA)[str(file)]
    shutil.rmtree(tmp_path / "theirs")
    (finding,) = [each for each in verify(Path("results"), (RESULTS / "theirs", DATA)) if each.state == ORPHANED]
    assert finding.what == "theirs, which it measured, is not there"


def test_an_edited_retrieval_table_is_named(results):
    folder = RESULTS / "mdsp"
    used = {"method": "W-WI", "entries": 50, "feature_network": "small"}
    shutil.copytree(RESULTS / "dmgan/seed0", folder / "seed0")
    content = json.loads((folder / "seed0/metrics.json").read_text())
    rewrite(
        folder / "seed0/metrics.json",
        subject=content["subject"] | {"name": "mdsp"}, inputs=content["inputs"] | {"retrieval": used},
    )  # fmt: skip
    write_retrieval([folder / "seed0/metrics.json"], [], folder)
    assert states(RESULTS / "mdsp", DATA) == {}
    path = folder / "retrieval.md"
    path.write_text(path.read_text().replace("20 ±", "2 ±"))
    assert states(RESULTS / "mdsp", DATA) == {str(path): f"{ALTERED}: the table differs from its metrics.json files"}


def test_comparisons_of_models_in_any_order_are_rendered_again(results):
    """The order of --metrics decides which model is first in a pair; the other tables do not show it."""
    assert [row.split(",")[:2] for row in (RESULTS / "tables/comparisons.csv").read_text().splitlines()][1] == [
        "DM-GAN", "AttnGAN"
    ]  # fmt: skip
    assert states(RESULTS / "tables") == {}


def test_edited_memorisation_is_named(results):
    path = RESULTS / "mdsp/seed0/memorisation.json"
    rows = {kind: {"output to retrieved": 0.5} for kind in ("pixels", "features")}
    counts = dict.fromkeys(("test_images", "equal_hash", "equal_pixels"), 1)
    inputs = json.loads((RESULTS / "dmgan/seed0/metrics.json").read_text())["inputs"]
    content = {
        "subject": {"name": "mdsp", "dataset": "synthbirds", "seed": 0}, "retrieval": {"method": "S-S"},
        "distances": {"images": 1, "mean": rows}, "diversity": {"captions": 1, "mean": rows},
        "duplicates": {"hash": "dHash", **counts, "share_equal_hash": 1.0, "share_equal_pixels": 1.0},
        "inputs": {"data": inputs["data"], "generator_sha256": None},
    }  # fmt: skip
    path.parent.mkdir(parents=True)
    write_sealed_json(path, content)
    assert states(RESULTS / "mdsp", DATA) == {}
    path.write_text(path.read_text().replace("0.5", "0.6"))
    assert states(RESULTS / "mdsp", DATA) == {str(path): f"{ALTERED}: its content is not the one that was written"}
    rows["pixels"]["output to retrieved"] = "0.5"
    write_sealed_json(path, content)
    assert states(RESULTS / "mdsp", DATA) == {
        str(path): f"{ALTERED}: is damaged (output to retrieved is not a finite number); measure it again: python -m "
        "dmgan memorisation"
    }
