"""The training engine: precision, parts and ranks, repeated passes, cached captions."""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dmgan.caption_cache import CachedCaptions
from dmgan.damsm import Damsm
from dmgan.data.batches import TrainingBatches
from dmgan.errors import UserError
from dmgan.files import file_sha256, read_json
from dmgan.options import PLAIN_ENGINE, EngineOptions, MatchingOptions
from dmgan.ranks import ALONE, Ranks
from dmgan.training import train
from tests import norm_free
from tests.conftest import ARCHITECTURE, CPU, TRAINING

PROGRAMS = Path(sys.executable).parent


def run(data, damsm_folder, out, engine=PLAIN_ENGINE, name="dmgan", training=TRAINING):
    train(name, data, damsm_folder, out, ARCHITECTURE, training, MatchingOptions(), 0, CPU, engine=engine)
    return out


def torchrun(*words, **settings):
    command = [PROGRAMS / "torchrun", "--standalone", "--nproc-per-node", 2, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([str(word) for word in command], env=environment, stderr=subprocess.PIPE, text=True)


def assert_equal(found: dict, expected: dict, tolerance: float):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


# Parts and ranks.


@pytest.mark.parametrize("name", ["attngan", "dmgan-paper"])
def test_a_batch_in_parts_is_the_batch(name):
    engine = EngineOptions(accumulate=3)
    parts, whole = norm_free.trainer_of(name, engine), norm_free.trainer_of(name)
    for trainer in (parts, whole):  # the power iteration of spectral norm counts passes, of which parts have more
        trainer.discriminators.eval()
    assert_equal(norm_free.train(parts), norm_free.train(whole), 1e-11)


@pytest.mark.parametrize("name", ["dmgan", "attngan"])
def test_two_ranks_are_one_process(name, tmp_path):
    job = torchrun("-m", "tests.norm_free", name, tmp_path)
    assert job.wait(timeout=300) == 0, job.stderr.read()
    expected = norm_free.train(norm_free.trainer_of(name))
    for rank in range(2):
        assert_equal(torch.load(tmp_path / f"rank{rank}.pt"), expected, 1e-11)


def test_ranks_read_the_rows_of_one_batch(dataset):
    whole = TrainingBatches(dataset, [8, 32], 7, 12, seed=3)
    shares = [TrainingBatches(dataset, [8, 32], 7, 12, 3, Ranks(rank, 3).rows(7)) for rank in range(3)]
    for step in (0, 5):
        assert all(torch.equal(each[step].tokens, whole[step].tokens) for each in shares)
        for size in range(2):
            together = torch.cat([each[step].images[size] for each in shares])
            assert torch.equal(together, whole[step].images[size])


def test_parts_of_fewer_than_two_images_are_refused(data, damsm_folder, tmp_path):
    with pytest.raises(UserError, match="batch_size 4: 1 processes with 3 parts each leave fewer than two images"):
        run(data, damsm_folder, tmp_path / "run", EngineOptions(accumulate=3))
    assert not (tmp_path / "run").exists()


def flags(data, damsm_folder, out, epochs) -> list:
    return [
        "-m", "dmgan", "train", "--model", "dmgan", "--data", data, "--damsm", damsm_folder, "--out", out, "--device",
        "cpu", "--threads", 2, "--base-size", 8, "--generator-width", 4, "--discriminator-width", 2, "--noise-dim", 6,
        "--condition-dim", 5, "--residual-blocks", 1, "--batch-size", 4, "--epochs", epochs, "--max-words", 12,
        "--checkpoint-every", 20,
    ]  # fmt: skip


def alive(group: int) -> list[int]:
    """Processes of a job's session that have not ended."""
    return [int(p.name) for p in Path("/proc").glob("[0-9]*") if _session(p) == group]


def _session(process: Path) -> int | None:
    try:
        state, *_, session = (process / "stat").read_text().rsplit(")", 1)[1].split()[:4]
    except OSError:
        return None
    return None if state in "ZX" else int(session)


def test_killed_ranks_go_on_and_end_with_the_same_bits(data, damsm_folder, tmp_path):
    whole, killed = tmp_path / "whole" / "seed0", tmp_path / "killed" / "seed0"
    job = torchrun(*flags(data, damsm_folder, whole, 20))
    assert job.wait(timeout=300) == 0, job.stderr.read()

    job = subprocess.Popen(
        [str(word) for word in [PROGRAMS / "torchrun", "--standalone", "--nproc-per-node", 2,
         *flags(data, damsm_folder, killed, 20)]],
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (killed / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)  # of torchrun alone: its ranks must not outlive it
    job.wait()
    while alive(job.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(job.pid) == []
    assert not (killed / "generator.safetensors").exists(), "the job had already ended; it must be killed in the middle"

    job = torchrun(*flags(data, damsm_folder, killed, 20))
    assert job.wait(timeout=300) == 0
    assert "going on from step" in job.stderr.read()
    for name in ("generator.safetensors", "history.csv"):
        assert file_sha256(whole / name) == file_sha256(killed / name)
    (stretch,) = read_json(whole / "options.json", "")["engine"]
    assert stretch["processes"] == 2 and stretch["effective_batch"] == 4 and stretch["largest_part"] == 2


# Precision, layout and memory.

LOSSES = ("discriminator0", "discriminator1", "discriminator2", "adversarial", "word0", "sentence0", "kl")


def curve(folder) -> dict[str, float]:
    """Mean losses of a run's first twelve steps."""
    (row,) = csv.DictReader((folder / "history.csv").read_text().splitlines())
    return {name: float(row[name]) for name in LOSSES}


@pytest.mark.parametrize(
    "engine, tolerance",
    [
        (EngineOptions(precision="bfloat16"), 0.03),
        (EngineOptions(precision="float16"), 0.01),
        (EngineOptions(channels_last=True), 1e-3),
        (EngineOptions(fused_adam=True), 1e-3),
        (EngineOptions(cache_captions=True), 1e-3),
    ],
    ids=["bfloat16", "float16", "channels_last", "fused_adam", "cache_captions"],
)
def test_losses_stay_those_of_plain_float32(engine, tolerance, run_folder, data, damsm_folder, tmp_path):
    found, plain = curve(run(data, damsm_folder, tmp_path / "run", engine)), curve(run_folder)
    assert found == pytest.approx(plain, rel=tolerance)
    assert file_sha256(tmp_path / "run" / "generator.safetensors") != file_sha256(run_folder / "generator.safetensors")


@pytest.mark.parametrize("engine", [EngineOptions(gradient_checkpointing=True), EngineOptions(deterministic=True)])
def test_bits_stay_those_of_plain_float32(engine, run_folder, data, damsm_folder, tmp_path):
    run(data, damsm_folder, tmp_path / "run", engine)
    torch.use_deterministic_algorithms(False)
    for name in ("generator.safetensors", "history.csv"):
        assert file_sha256(tmp_path / "run" / name) == file_sha256(run_folder / name)
