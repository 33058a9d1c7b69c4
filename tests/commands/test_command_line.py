"""The command line: instant help, one clear line for bad input, whole files or none."""

import argparse
import errno
import importlib
import os
import re
import resource
import signal
import subprocess
import sys
import time

import pytest

from dmgan import __version__
from dmgan.__main__ import SUBCOMMANDS, build_parser, main
from dmgan.errors import UserError
from dmgan.options import TrainingOptions
from dmgan.storage import files
from tests.paths import ROOT

IMAGES = files.OwnFiles("sample", ("1.png",), r"\d+\.png")


def error_line(capsys, *arguments) -> str:
    """Run a subcommand that must fail, and return the one line that it prints."""
    assert main([str(argument) for argument in arguments]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1 and "Traceback" not in lines[0], lines
    return lines[0]


every_subcommand = pytest.mark.parametrize("name", SUBCOMMANDS)


@pytest.mark.parametrize("arguments", [[], *([name] for name in SUBCOMMANDS)])
def test_help_works_and_loads_no_large_package(arguments):
    code = f"""
import sys
from dmgan.__main__ import main
try:
    main({[*arguments, "--help"]})
except SystemExit as end:
    assert end.code == 0
heavy = {{"torch", "mlflow", "matplotlib", "pandas", "nltk", "numpy", "gradio"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert " ".join(["usage: python -m dmgan", *arguments]) in done.stdout


@every_subcommand
def test_a_subcommand_has_a_summary_and_a_module_of_the_contract(name):
    module_name, summary = SUBCOMMANDS[name]
    module = importlib.import_module(f"dmgan.commands.{module_name}")
    assert re.fullmatch(r"[a-z].*[^.\n]", summary), "one line, a phrase without a full stop"
    assert module.__doc__ and callable(module.add_flags) and callable(module.run)
    assert [each for each, (other, _) in SUBCOMMANDS.items() if other == module_name] == [name]


@every_subcommand
def test_every_flag_has_a_help_text(name):
    chosen = build_parser(name)._subparsers._group_actions[0].choices[name]
    flags = [action for action in chosen._actions if not isinstance(action, argparse._HelpAction)]
    assert flags and all(action.help for action in flags), [action.dest for action in flags if not action.help]


@every_subcommand
def test_only_the_chosen_module_is_imported(name):
    code = f"""
import sys
from dmgan.__main__ import build_parser
build_parser({name!r})
print(*sorted(module for module in sys.modules if module.startswith("dmgan.commands.")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - {"dmgan.commands.flags"} == {f"dmgan.commands.{SUBCOMMANDS[name][0]}"}


def test_a_module_of_commands_is_in_the_table():
    modules = {path.stem for path in (ROOT / "dmgan" / "commands").glob("*.py")} - {"__init__", "flags"}
    assert modules == {module for module, _ in SUBCOMMANDS.values()}


@pytest.mark.parametrize("arguments", [["tabels"], [], ["--device", "cpu"]])
def test_a_mistyped_subcommand_is_an_error_of_usage(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2 and "usage: python -m dmgan" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"dmgan {__version__}\n"


def test_the_completion_of_a_shell_knows_subcommands_and_flags(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", "bash"])
    script = capsys.readouterr().out
    assert end.value.code == 0 and script.rstrip().endswith(" dmgan")
    assert f"subparsers=({' '.join(SUBCOMMANDS)})" in script and " --damsm-weight " in script


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_one_line_that_says_how_to_resume(tmp_path, data, damsm_folder):
    """Interrupted between the first checkpoint and the end, as by a user at the terminal."""
    words = ["train", "--model", "dmgan", "--data", data, "--damsm", damsm_folder, "--out", tmp_path / "run"]
    sizes = "--base-size 8 --stages 2 --generator-width 8 --discriminator-width 8 --batch-size 4 --epochs 500"
    words += [*sizes.split(), "--checkpoint-every", "1", "--device", "cpu", "--threads", "1"]
    job = subprocess.Popen(
        [sys.executable, "-m", "dmgan", *map(str, words)], stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores Ctrl-C
    )  # fmt: skip
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    while not checkpoint.exists():
        assert job.poll() is None, job.stderr.read()
        time.sleep(0.1)
    job.send_signal(signal.SIGINT)
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 130 and "Traceback" not in errors
    end = (
        r"dmgan train: interrupted at steps \d+/\d+; the checkpoint of step \d+ is kept; run the same command to resume"
    )
    assert re.fullmatch(end, errors.splitlines()[-1])


def test_a_fault_is_one_line_and_its_traceback_is_kept(capsys, monkeypatch, tmp_path):
    def fails(arguments):
        raise ZeroDivisionError("division by zero\nand more")

    monkeypatch.setattr("dmgan.commands.tables.run", fails)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["tables", "--metrics", "metrics.json", "--out", str(tmp_path / "out")]) == 70
    (kept,) = tmp_path.glob("dmgan-fault-*.txt")
    line = capsys.readouterr().err
    assert line.startswith("dmgan tables: ZeroDivisionError: division by zero; this is a fault of the program")
    assert line.endswith(f"{kept}\n") and line.count("\n") == 1 and "in fails" in kept.read_text()


@pytest.mark.parametrize(
    "words",
    [
        "train --model dmgan --data d --damsm d --out o --seed -1",
        "train --model dmgan --data d --damsm d --out o --seed 2147483648",
        "pretrain --data d --out o --threads 0",
        "sample --run r --data d --out o --num-images 0",
        "sample --run r --data d --out o --max-words -1",
        "generate --run r --caption bird --out o --images-per-caption 0",
        "generate --run r --caption bird --out o --seed one",
        "memorisation --run r --data d --out o --num-images -5",
        "prepare --source synthbirds --out o --workers 0",
    ],
)
def test_whole_numbers_out_of_bounds_are_errors_of_usage(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words.split())
    flag, value = words.split()[-2:]
    wanted = f"argument {flag}: " + (f"invalid int value: '{value}'" if value == "one" else f"{value}: must be ")
    assert end.value.code == 2 and wanted in capsys.readouterr().err


def test_only_train_runs_in_several_processes(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    line = error_line(capsys, "tables", "--metrics", "metrics.json", "--out", tmp_path / "out")
    assert line == "dmgan tables: only train runs in several processes; leave torchrun out"


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
    assert "the text encoder knows no word of this caption" in line
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
        (
            "dfgan",
            [],
            {
                "generator_lr": 1e-4,
                "discriminator_lr": 4e-4,
                "adam_beta1": 0.0,
                "adam_beta2": 0.9,
                "ema_decay": 0.0,
                "epochs": 1300,
                "batch_size": 32,
            },
        ),
        ("stackganpp", ["--epochs", "3"], {"kl_weight": 2.0, "epochs": 3, "batch_size": 24}),
        ("stackganpp", ["--kl-weight", "1.0"], {"epochs": 600, "batch_size": 24}),  # the general default, but given
    ],
)
def test_a_model_has_its_own_defaults_where_no_flag_is_given(model, flags, wanted, monkeypatch):
    seen = []
    monkeypatch.setattr("dmgan.training.train.train", lambda *arguments: seen.append(arguments))
    paths = ["--data", "data", "--damsm", "damsm", "--out", "out"]
    assert main(["train", "--model", model, *paths, *flags, "--device", "cpu"]) == 0
    assert seen[0][3].training == TrainingOptions(**wanted)
    assert seen[0][3].architecture.condition_dim == (128 if model == "stackganpp" else 100)


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

    with Progress(3, "steps", seconds_between_lines=0) as progress:
        for _ in range(3):
            progress.step(note="loss 1.0")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"] and "\r" not in "".join(lines)


def test_the_readme_names_every_subcommand():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    sentence = text.split("Every stage is also a subcommand")[1].split("\n\n")[0]
    assert set(SUBCOMMANDS) <= set(re.findall(r"[\w-]+", sentence))


def fails_with(error: Exception):
    def run(arguments):
        raise error

    return run


TABLES = ["tables", "--metrics", "metrics.json", "--out", "out"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_an_error_of_the_disk_is_one_line_wherever_it_occurs(number, capsys, monkeypatch):
    error = OSError(number, os.strerror(number), "results/a.csv")
    monkeypatch.setattr("dmgan.commands.tables.run", fails_with(error))
    assert error_line(capsys, *TABLES) == (
        f"dmgan tables: results/a.csv: could not be read or written ({os.strerror(number)}); free space or fix the "
        "permissions, then run the same command again"
    )


def test_a_fault_is_one_line_although_its_traceback_cannot_be_kept(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("dmgan.commands.tables.run", fails_with(ZeroDivisionError("by\x1b[31m zero")))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert main(TABLES) == 70
    line = capsys.readouterr().err
    assert (
        line.startswith(r"dmgan tables: ZeroDivisionError: by\x1b[31m zero; this is a fault") and line.count("\n") == 1
    )
    assert line.endswith("its traceback could not be written (No such file or directory)\n")


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE"])
def test_a_number_of_torchrun_that_is_none_is_one_line(name, capsys, monkeypatch):
    monkeypatch.setenv(name, "x")
    assert error_line(capsys, *TABLES) == (
        f"dmgan tables: {name}=x: is not a number, which torchrun sets; unset this environment variable"
    )
