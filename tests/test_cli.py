"""The command line: instant help, one clear line for bad input, whole files or none."""

import re
import resource
import signal
import subprocess
import sys

import pytest

from dmgan.__main__ import VERBS, main
from dmgan.errors import UserError
from dmgan.options import TrainingOptions
from dmgan.storage import files
from tests.paths import ROOT

IMAGES = files.OwnFiles("sample", ("1.png",), r"\d+\.png")


def error_line(capsys, *arguments) -> str:
    """Run a verb that must fail, and return the one line it says."""
    assert main([str(argument) for argument in arguments]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1 and "Traceback" not in lines[0], lines
    return lines[0]


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS)])
def test_help_does_not_load_torch(verb):
    code = f"""
import sys
from dmgan.__main__ import main
try:
    main({[*verb, "--help"]})
except SystemExit as end:
    assert end.code == 0
heavy = {{"torch", "mlflow", "matplotlib", "pandas", "nltk"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m dmgan" in done.stdout


def test_bad_input_is_one_clear_line(capsys, tmp_path, data, damsm_folder, run_folder):
    train = ["train", "--data", data, "--damsm", damsm_folder, "--out", tmp_path / "run", "--model"]
    line = error_line(capsys, *train, "dmgam")
    assert "model 'dmgam': unknown; known models are attngan, attngan-dcgan, dmgan" in line
    line = error_line(
        capsys, "train", "--model", "dmgan", "--data", tmp_path / "no", "--damsm", damsm_folder, "--out", tmp_path
    )
    assert "no: does not exist; prepare it again: python -m dmgan prepare" in line
    line = error_line(capsys, *train, "dmgan", "--batch-size", 1)
    assert "batch_size 1: must be 2 or more" in line
    line = error_line(capsys, *train, "dmgan", "--base-size", 48)
    assert "base_size 48: must be a power of two" in line
    line = error_line(
        capsys, "train", "--model", "dmgan", "--data", data, "--damsm", tmp_path, "--out", tmp_path / "run"
    )
    assert "options.json: cannot be read" in line and "python -m dmgan pretrain" in line
    line = error_line(capsys, "generate", "--run", run_folder, "--caption", "", "--out", tmp_path / "out")
    assert "holds no word" in line
    line = error_line(capsys, "generate", "--run", run_folder, "--caption", "xyzzy", "--out", tmp_path / "out")
    assert "the text encoder knows none of its words" in line
    line = error_line(
        capsys, "generate", "--run", tmp_path / "nothing", "--caption", "a bird", "--out", tmp_path / "out"
    )
    assert "nothing/options.json: cannot be read" in line and "finished training" in line
    line = error_line(
        capsys, "sample", "--run", run_folder, "--data", data, "--out", tmp_path / "out", "--device", "cuda:77x"
    )
    assert "--device cuda:77x" in line
    assert not (tmp_path / "out").exists() and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "model, flags, wanted",
    [
        ("dmgan", [], {}),
        ("dfgan", [], {"generator_lr": 1e-4, "discriminator_lr": 4e-4, "adam_beta1": 0.0, "adam_beta2": 0.9}),
        ("stackganpp", ["--epochs", "3"], {"kl_weight": 2.0, "epochs": 3}),
        ("stackganpp", ["--kl-weight", "1.0"], {}),  # the general default, but given
    ],
)
def test_a_model_has_its_own_defaults_where_no_flag_is_given(model, flags, wanted, monkeypatch):
    seen = []
    monkeypatch.setattr("dmgan.training.train.train", lambda *arguments: seen.append(arguments))
    paths = ["--data", "data", "--damsm", "damsm", "--out", "out"]
    assert main(["train", "--model", model, *paths, *flags, "--device", "cpu"]) == 0
    assert seen[0][5] == TrainingOptions(**wanted)


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    """A file-size limit stands in for the full disk: the write fails in the middle."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    target = tmp_path / "results" / "weights.bin"
    files.write_bytes(target, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match=r"weights.bin: could not be written \(File too large\); nothing was left"):
            files.write_bytes(target, b"new" * 10_000)
        with (
            pytest.raises(UserError, match=r"images: could not be written"),
            files.atomic_folder(tmp_path / "images", IMAGES) as folder,
        ):
            (folder / "1.png").write_bytes(b"x")
            (folder / "2.png").write_bytes(b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target.read_bytes() == b"old"
    assert {path.name for path in tmp_path.rglob("*")} == {"results", "weights.bin"}


def test_an_interrupted_folder_is_not_there(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(tmp_path / "images", IMAGES) as folder:
        (folder / "1.png").write_bytes(b"x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "metrics.json", {"FID": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_logs_get_plain_lines(capsys):
    from dmgan.runtime.progress import Progress

    progress = Progress(3, "steps", seconds_between_lines=0)
    for _ in range(3):
        progress.step(note="loss 1.0")
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"] and "\r" not in "".join(lines)


def test_the_readme_names_every_verb():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    sentence = text.split("Every stage is also a verb of its own")[1].split("\n\n")[0]
    assert set(VERBS) <= set(re.findall(r"[\w-]+", sentence))
