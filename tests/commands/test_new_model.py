"""new-model, in a copy of the project: the new model passes the contract tests untouched, and is trained."""

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from dmgan.errors import UserError
from dmgan.models.new_model import HYPERPARAMETERS, SMOKE_HYPERPARAMETERS, write_model
from dmgan.options import ArchitectureOptions, EngineOptions, TrainingOptions
from dmgan.storage import files
from tests.commands.test_command_line import error_line
from tests.paths import CONFIGS, ROOT

NAME, TITLE = "tiny-gan", "Tiny & new GAN"
ENTRY = '    "tiny-gan":       Entry("baselines.tiny_gan:TinyGAN", "Tiny & new GAN"),\n'


def copy_of_project(folder: Path) -> Path:
    """Copy what a new model changes and what checks it."""
    for part in ("dmgan", "baselines", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run(*command, folder: Path) -> str:
    """Run a Python module in `folder`, and return what it prints."""
    done = subprocess.run([sys.executable, "-m", *map(str, command)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files.files_below(folder) if name.endswith(".py")}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project in which new-model has run."""
    folder = copy_of_project(tmp_path_factory.mktemp("project"))
    printed = run("dmgan", "new-model", NAME, "--title", TITLE, folder=folder)
    assert f"    {NAME}: {HYPERPARAMETERS}\n" in printed and f"    {NAME}: {SMOKE_HYPERPARAMETERS}\n" in printed
    return folder


@pytest.fixture
def small_project(tmp_path) -> Path:
    """The files that new-model reads and writes."""
    (tmp_path / "pyproject.toml").touch()
    for part in ("baselines/__init__.py", "dmgan/models/registry.py"):
        (tmp_path / part).parent.mkdir(parents=True)
        shutil.copy(ROOT / part, tmp_path / part)
    return tmp_path


def test_a_file_and_a_formatted_line_are_written(project):
    old, new = contents(ROOT / "baselines"), contents(project / "baselines")
    assert new.keys() - old.keys() == {"tiny_gan.py"} and old.items() <= new.items()
    before, after = contents(ROOT / "dmgan"), contents(project / "dmgan")
    assert {name for name in after if after[name] != before[name]} == {"models/registry.py"}
    text = (project / "dmgan" / "models" / "registry.py").read_text(encoding="utf-8")
    assert text.replace(ENTRY, "") == (ROOT / "dmgan" / "models" / "registry.py").read_text(encoding="utf-8")
    written = ["baselines/tiny_gan.py", "dmgan/models/registry.py"]
    run("ruff", "check", *written, folder=project)
    run("ruff", "format", "--check", *written, folder=project)


@pytest.mark.slow
def test_a_new_model_passes_the_contract_tests(project):
    printed = run("pytest", "-q", "-p", "no:cacheprovider", "tests/models/test_models.py", "-k", NAME, folder=project)
    assert int(re.search(r"^(\d+) passed", printed, re.MULTILINE).group(1)) >= 10


@pytest.mark.slow
def test_a_new_model_is_trained_and_generates(project, data, damsm_folder, tmp_path):
    sizes = {"base-size": 8, "stages": 3, "generator-width": 4, "discriminator-width": 2, "noise-dim": 6}
    sizes |= {"condition-dim": 5, "epochs": 1, "batch-size": 4}
    given = [word for name, value in sizes.items() for word in (f"--{name}", value)]
    paths = ["--data", data, "--damsm", damsm_folder, "--out", tmp_path / "run"]
    run("dmgan", "train", "--model", NAME, *paths, *given, "--device", "cpu", "--threads", 1, folder=project)
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) > 1
    images = ["--caption", "a red bird", "--out", tmp_path / "images", "--device", "cpu", "--threads", 1]
    run("dmgan", "generate", "--run", tmp_path / "run", *images, folder=project)
    assert len(list((tmp_path / "images").glob("*.png"))) == 3


def test_the_printed_block_holds_options_of_a_generator():
    block = yaml.safe_load(HYPERPARAMETERS)
    architecture, training, engine = (
        kind(**{field.name: block.pop(field.name) for field in fields(kind) if field.name in block})
        for kind in (ArchitectureOptions, TrainingOptions, EngineOptions)
    )
    assert block == {} and architecture.image_size == 64 and training.epochs == 8 and engine.fused


@pytest.mark.parametrize(("name", "block"), [("config.yaml", HYPERPARAMETERS), ("smoke.yaml", SMOKE_HYPERPARAMETERS)])
def test_the_printed_blocks_fit_the_images_of_their_configurations(name, block):
    text = (CONFIGS / name).read_text(encoding="utf-8")
    assert text.rstrip().splitlines()[-1].startswith("    ")  # a model's line, under hyperparameters of the data set
    config = yaml.safe_load(f"{text.rstrip()}\n    {NAME}: {block}\n")
    ((dataset, prepared),) = config["datasets"].items()
    added = config["hyperparameters"][dataset][NAME]
    assert added["base_size"] * 2 ** (added["stages"] - 1) == prepared["image_size"]


@pytest.mark.parametrize(
    ("name", "title", "message"),
    [
        ("dmgan", "A", "dmgan: is in the registry already"),
        ("Tiny", "A", "'Tiny': is not a valid model name"),
        ("tiny_gan", "A", "'tiny_gan': is not a valid model name"),
        ("tiny--gan", "A", "is not a valid model name"),
        ("../tiny", "A", "is not a valid model name"),
        ("tiny\n", "A", "is not a valid model name"),
        ("", "A", "is not a valid model name"),
        ("class", "A", "class: is a reserved word"),
        ("null", "A", "null: is a reserved word"),
        ("text-to-image", "A", "its class would be named TextToImageGAN"),
        ("attngan", "A", "attngan: is in the registry already"),
        ("mdsp-b", "MDSP", "'MDSP': is the title of mdsp"),
        ("tiny", 'A"', "must be one line of text without quotation marks"),
        ("tiny", "A\nB", "must be one line of text"),
        ("tiny", " ", "must be one line of text"),
        ("tiny", 100 * "A", "registry line would have 158 characters"),
    ],
)
def test_a_name_or_title_that_cannot_be_is_refused(name, title, message, small_project):
    before = contents(small_project)
    with pytest.raises(UserError, match=re.escape(message)):
        write_model(name, title, small_project)
    assert contents(small_project) == before


@pytest.mark.parametrize("name", sorted(set(re.findall(
    r"results/\{dataset\}/([a-z]+)[/\"]", "".join(path.read_text() for path in (ROOT / "workflow").rglob("*.smk"))
))))  # fmt: skip
def test_a_folder_of_the_results_is_no_name(name):
    with pytest.raises(UserError, match=f"{name}: is a folder of results"):
        write_model(name, name)


def test_an_installed_package_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dmgan.models.new_model.PROJECT", tmp_path)
    assert "is an installed package, not a checkout" in error_line(capsys, "new-model", NAME)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_write_leaves_nothing(small_project, monkeypatch):
    before, write = contents(small_project), files.write_text

    def refuse_registry(path, content):
        if path.name == "registry.py":
            raise UserError("registry.py: could not be written")
        write(path, content)

    monkeypatch.setattr(files, "write_text", refuse_registry)
    with pytest.raises(UserError, match="could not be written"):
        write_model(NAME, TITLE, small_project)
    assert contents(small_project) == before


def test_an_interrupted_call_is_repeated(small_project, monkeypatch):
    write = files.write_text

    def interrupt_at_registry(path, content):
        if path.name == "registry.py":
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "write_text", interrupt_at_registry)
        write_model(NAME, TITLE, small_project)
    write_model(NAME, TITLE, small_project)
    assert ENTRY in (small_project / "dmgan" / "models" / "registry.py").read_text(encoding="utf-8")


def test_a_file_of_that_name_is_kept(small_project):
    (small_project / "baselines" / "tiny_gan.py").write_text("mine")
    before = contents(small_project)
    with pytest.raises(UserError, match="tiny_gan.py: exists; choose another name"):
        write_model(NAME, TITLE, small_project)
    assert contents(small_project) == before
