"""Verification of a results folder: one flipped byte in every kind of file, and results of other inputs."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmgan.__main__ import main
from dmgan.errors import UserError
from dmgan.evaluation.evaluate import evaluate, measure_reference
from dmgan.evaluation.networks.base import ExtractorInputs
from dmgan.evaluation.networks.loaded import NetworkFiles
from dmgan.evaluation.statistics import uncertainty
from dmgan.options import EvaluationOptions
from dmgan.report.tables.claims import write_claims
from dmgan.report.tables.comparisons import write_comparisons
from dmgan.report.tables.render import write_tables
from dmgan.report.verify import OK, verify
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.storage.files import read_json
from dmgan.storage.json_hash import SEAL
from dmgan.storage.seals import FILES, write_sealed_json
from tests.conftest import CPU

DATA, DAMSM, SPECIES = (
    Path("results/data/synthbirds"),
    Path("results/synthbirds/damsm/seed0"),
    "results/synthbirds/species",
)
RUN, REFERENCE = Path("results/synthbirds/dmgan/seed0"), Path("results/synthbirds/reference")
TABLES = Path("results/synthbirds/tables")


@pytest.fixture(scope="module")
def made(data, damsm_folder, classifier_folder, captioner_folder, run_folder, tmp_path_factory) -> Path:
    """A folder with results/, made as the workflow makes it."""
    home = tmp_path_factory.mktemp("verified")
    copied = {DATA: data, DAMSM: damsm_folder, SPECIES: classifier_folder, RUN: run_folder}
    for place, source in (copied | {"results/synthbirds/captioner": captioner_folder}).items():
        shutil.copytree(source, home / place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(uncertainty, "RESAMPLES", 100)
        written = read_json(RUN / "options.json", "")
        beside = written.pop(FILES)
        del written[SEAL]
        folders = {"data_folder": "../../../data/synthbirds", "damsm_folder": "../../damsm/seed0"}
        write_sealed_json(RUN / "options.json", written | folders, beside)
        sample_test_captions(RUN, DATA, RUN / "images", SampleRequest(40), CPU)
        networks = NetworkFiles(("species",), Path(SPECIES), Path("weights"), DAMSM)
        given = {"data": DATA, "network_files": networks, "reference": REFERENCE, "device": CPU}
        given["options"] = EvaluationOptions(neighbours=2)
        evaluate(images=RUN / "images", out=RUN / "metrics.json", **given)
        measure_reference(
            data=DATA, extractors=("species",), networks=ExtractorInputs(Path(SPECIES), Path("weights"), CPU),
            out=REFERENCE, options=given["options"],
        )  # fmt: skip
        write_tables([RUN / "metrics.json"], TABLES)
        write_comparisons([RUN / "metrics.json"], TABLES, 100)
        write_claims([RUN / "metrics.json"], TABLES / "comparisons.csv", TABLES)
    return home


@pytest.fixture
def results(made, tmp_path, monkeypatch) -> Path:
    """A copy, in the current folder."""
    shutil.copytree(made / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return Path("results")


def bad(results: Path) -> list[str]:
    return [str(each) for each in verify(results) if each.state != OK]


def test_whole_results_are_ok(results, capsys):
    assert main(["verify", "results"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in lines[:-1]) and lines[-1] == f"results: {len(lines) - 1} ok"
    for what in (
        "data/synthbirds: prepared data set", "damsm/seed0: training run", "species: training run",
        "captioner: training run", "dmgan/seed0: training run", "images: sampled images", "metrics.json: metrics",
        "species: stored features", "checkpoint.pt: checkpoint", "measures.md: table", "comparisons.csv: table",
        "claims.md: table", "conflicts.csv: table",
    ):  # fmt: skip
        assert any(line.endswith(what) for line in lines), what


FILES_OF_RESULTS = [
    DATA / "images.bin", DATA / "index.npz", DATA / "captions.json", DATA / "vocabulary.json",
    DAMSM / "text_encoder.safetensors", DAMSM / "image_encoder.safetensors", DAMSM / "vocabulary.json",
    DAMSM / "history.csv", "results/synthbirds/species/classifier.safetensors",
    "results/synthbirds/captioner/captioner.safetensors", RUN / "generator.safetensors", RUN / "history.csv",
    RUN / "checkpoint.pt", RUN / "images/000007.png", RUN / "per_image.npz", RUN / "features/species/features.npy",
]  # fmt: skip
SEALED = [
    DATA / "dataset.json", DAMSM / "options.json", "results/synthbirds/captioner/options.json", RUN / "options.json",
    RUN / "images/manifest.json", RUN / "metrics.json", REFERENCE / "reference.json",
]  # fmt: skip
OF_TABLES = [TABLES / "measures.csv", TABLES / "table2.tex", TABLES / "comparisons.md", TABLES / "claims.csv"]


def flip(path: str | Path) -> None:
    """Change a byte in the middle of a file; in a sealed JSON file a digit, so that it stays valid."""
    content = bytearray(Path(path).read_bytes())
    place = len(content) // 2
    if SEAL.encode() in content:
        place = next(each for each in range(place, 0, -1) if chr(content[each]) in "2468")
    content[place] ^= 1
    Path(path).write_bytes(content)


@pytest.mark.parametrize("change", [flip, lambda path: os.truncate(path, 100)], ids=["flipped", "cut"])
@pytest.mark.parametrize("paths", [FILES_OF_RESULTS, SEALED, OF_TABLES], ids=["files", "sealed", "tables"])
def test_a_flipped_byte_and_a_cut_file_are_named(change, paths, results, capsys):
    for path in paths:
        change(path)
    assert main(["verify", "results"]) == 1
    printed = capsys.readouterr()
    for path in paths:
        place = Path(path).parent if "features" in str(path) else path  # rows of several files have one hash
        assert f"altered  {place}:" in printed.out, path
    assert " altered" in printed.err and "Traceback" not in printed.err


SAMPLE = ["sample", "--run", RUN, "--data", DATA, "--out", "more", "--num-images", "4", "--threads", "1"]
EVALUATE = ["evaluate", "--images", RUN / "images", "--data", DATA, "--damsm", DAMSM, "--classifier", SPECIES,
            "--extractors", "species", "--out", "more.json", "--threads", "1"]  # fmt: skip
READERS = {
    DATA / "dataset.json": SAMPLE, DAMSM / "options.json": SAMPLE, RUN / "options.json": SAMPLE,
    RUN / "images/manifest.json": EVALUATE, f"{SPECIES}/options.json": EVALUATE,
    RUN / "metrics.json": ["tables", "--metrics", RUN / "metrics.json", "--out", "more"],
}  # fmt: skip


@pytest.mark.parametrize("path", READERS, ids=str)
def test_every_job_refuses_a_result_that_was_altered(path, results, capsys):
    flip(path)
    assert main([str(word) for word in READERS[path]]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    place = "/".join(Path(path).parts[-2:])
    assert f"{place}: was altered after it was written: content_sha256 is the hash of another content; " in said
    assert said.endswith("or delete that entry to accept the file as it is")
    assert not Path("more").exists() and not Path("more.json").exists()


def test_evaluate_refuses_an_altered_run_before_it_measures(results, capsys):
    flip(RUN / "options.json")
    before = (RUN / "metrics.json").read_bytes()
    words = [str(word) for word in EVALUATE]
    words[words.index("more.json")] = str(RUN / "metrics.json")
    assert main(words) == 1
    assert f"{RUN / 'options.json'}: was altered after it was written" in capsys.readouterr().err.splitlines()[-1]
    assert (RUN / "metrics.json").read_bytes() == before


def test_tables_are_compared_although_their_metrics_were_altered(results):
    path = RUN / "metrics.json"
    path.write_text(path.read_text().replace('"commit": "', '"commit": "0'))
    with open(TABLES / "table2.csv", "a") as file:
        file.write("x")
    found = [each.partition(": ")[0] for each in bad(results)]
    assert found == [f"altered  {path}", f"altered  {TABLES / 'table2.csv'}"]


def test_a_flipped_byte_is_named_once(results):
    flip(RUN / "checkpoint.pt")
    flip(RUN / "history.csv")
    assert bad(results) == [
        f"altered  {RUN / 'history.csv'}: its bytes are not those that options.json records",
        f"altered  {RUN / 'checkpoint.pt'}: its bytes changed after it was written",
    ]


def test_results_of_other_inputs_are_stale(results):
    """A generator that was trained again, and images that were replaced together with their manifest."""
    shutil.copy(DAMSM / "text_encoder.safetensors", RUN / "generator.safetensors")
    found = bad(results)
    assert any(each.startswith(f"stale    {RUN / 'images'}: {RUN / 'generator.safetensors'} changed") for each in found)
    assert any(each.startswith(f"stale    {RUN / 'metrics.json'}: ") for each in found)


def test_metrics_of_other_images_are_stale(results):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(RUN / "images" / "000003.png")
    manifest = read_json(RUN / "images" / "manifest.json", "")
    beside = manifest.pop(FILES)
    del manifest[SEAL]
    write_sealed_json(RUN / "images" / "manifest.json", manifest, beside)
    assert bad(results) == [
        f"stale    {RUN / 'metrics.json'}: the images in {RUN / 'images'} are not those that it measured"
    ]


def test_a_table_older_than_its_metrics_is_stale(results):
    path = TABLES / "table2.csv"
    path.write_text(path.read_text() + "\n")
    os.utime(path, (0, 0))
    assert bad(results) == [f"stale    {path}: a metrics.json is newer, and the table differs from it"]


def test_results_whose_inputs_were_deleted_are_orphaned(results, capsys):
    shutil.rmtree(DATA)
    (RUN / "generator.safetensors").unlink()
    shutil.rmtree(TABLES)
    found = bad(results)
    assert any(each.startswith(f"orphaned {DAMSM}: the data set that it was made from is not there") for each in found)
    assert any(each.startswith(f"orphaned {RUN / 'images'}: the weights") for each in found)
    assert all(each.startswith("orphaned") or "generator.safetensors" in each for each in found)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere: is not a folder; give"):
        list(verify(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="holds no results; give"):
        list(verify(tmp_path))


def test_files_that_are_no_regular_files_are_named(results, capsys):
    """Reading a pipe waits for ever, and a device has no end."""
    pipes = [RUN / "checkpoint.pt", RUN / "generator.safetensors", RUN / "images/000007.png", TABLES / "table2.csv"]
    for path in pipes:
        Path(path).unlink()
        os.mkfifo(path)
    Path(DAMSM / "history.csv").unlink()
    Path(DAMSM / "history.csv").symlink_to("/dev/zero")
    assert main(["verify", "results"]) == 1
    printed = capsys.readouterr()
    for path in (*pipes[:3], TABLES, DAMSM / "history.csv"):
        assert f"altered  {path}:" in printed.out, path
    assert "altered" in printed.err and printed.err.count("\n") == 1


def test_an_empty_checkpoint_is_named(results):
    (RUN / "checkpoint.pt").write_bytes(b"")
    assert f"altered  {RUN / 'checkpoint.pt'}: is empty, was cut, or is another file" in bad(results)


def test_many_arrays_beside_the_features_are_named(results):
    """Their order is not recorded: all orders of twenty arrays cannot be tried."""
    for number in range(20):
        shutil.copyfile(RUN / "features/species/features.npy", RUN / f"features/species/f{number}.npy")
    assert any("arrays, more than a network has" in each for each in bad(results))


def test_names_of_files_do_not_control_the_terminal(results, capsys):
    Path("results/\x1b[31m.json").write_text("{")
    assert main(["verify", "results"]) == 1
    assert r"results/\x1b[31m.json: is not valid JSON" in capsys.readouterr().out
