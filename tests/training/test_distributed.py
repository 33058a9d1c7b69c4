"""Several processes and several micro-batches compute the update of the whole batch."""

import dataclasses
import itertools
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from dmgan.data.batches import TrainingBatches
from dmgan.errors import UserError
from dmgan.options import PLAIN_ENGINE, EngineOptions
from dmgan.runtime.distributed import DistributedContext
from dmgan.storage.files import read_json
from dmgan.training.mlflow_database import create_database
from tests.conftest import TRAINING
from tests.training import without_batch_norm
from tests.training.short_runs import assert_equal_files, first_losses, train_briefly, train_command
from tests.training.two_processes import alive, launch, ranks_of, torchrun


def assert_close(found: dict, expected: dict, tolerance: float):
    """Raise if a tensor of `found` differs from that of the same name in `expected`."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("name", ["attngan", "dmgan-paper", "dfgan", "stackganpp", "gan-int-cls"])
def test_micro_batches_make_the_update_of_the_whole_batch(name):
    micro_batches, whole = (
        without_batch_norm.count_no_passes(without_batch_norm.trainer_of(name, engine))
        for engine in (EngineOptions(accumulate=3), PLAIN_ENGINE)
    )
    assert_close(without_batch_norm.train(micro_batches), without_batch_norm.train(whole), 1e-11)


@pytest.mark.slow
def test_two_processes_make_the_update_of_one(tmp_path):
    # gan-int-cls runs its generator twice, stackganpp's discriminators read the means of all processes' captions
    names = ("dmgan", "attngan", "gan-int-cls", "stackganpp")
    job = torchrun("-m", "tests.training.without_batch_norm", tmp_path, *names)
    assert job.wait(timeout=600) == 0, job.stderr.read()
    for name, micro_batches in itertools.product(names, without_batch_norm.MICRO_BATCHES):
        whole = without_batch_norm.trainer_of(name)
        expected = without_batch_norm.train(whole if micro_batches == 1 else without_batch_norm.count_no_passes(whole))
        for rank in range(2):
            assert_close(torch.load(tmp_path / f"{name}-{micro_batches}-rank{rank}.pt"), expected, 1e-11)


def test_a_barrier_reads_the_result_of_its_exchange(monkeypatch):
    """NCCL only queues an exchange on the GPU; the host waits only when it reads the result."""
    read = []

    class Queued:
        def item(self):
            read.append(self)

    monkeypatch.setattr(DistributedContext, "sum", lambda self, values: Queued())
    DistributedContext(1, 2).barrier()
    assert len(read) == 1


def test_every_process_reads_its_rows_of_the_same_batch(dataset):
    whole = TrainingBatches(dataset, [8, 32], 7, 12, seed=3)
    shares = [TrainingBatches(dataset, [8, 32], 7, 12, 3, DistributedContext(rank, 3).rows(7)) for rank in range(3)]
    for step in (0, 5):
        assert all(torch.equal(share[step].tokens, whole[step].tokens) for share in shares)
        for size in range(2):
            together = torch.cat([share[step].images[size] for share in shares])
            assert torch.equal(together, whole[step].images[size])


def test_micro_batches_of_fewer_than_two_images_are_refused(training_inputs, tmp_path):
    with pytest.raises(
        UserError, match="batch_size 4: 1 processes with 3 micro-batches each leave fewer than two images"
    ):
        train_briefly(training_inputs, tmp_path / "run", engine=EngineOptions(accumulate=3))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_killed_distributed_training_resumes_bit_exactly(training_inputs, tmp_path):
    whole, killed = tmp_path / "whole" / "seed0", tmp_path / "killed" / "seed0"
    job = torchrun(*train_command(training_inputs, whole, 10, threads=2))
    assert job.wait(timeout=300) == 0, job.stderr.read()

    job = torchrun(*train_command(training_inputs, killed, 10, threads=2))
    deadline = time.monotonic() + 300
    while not (killed / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)  # of torchrun only: its processes must not outlive it
    job.wait()
    while alive(job.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(job.pid) == []
    assert not (killed / "generator.safetensors").exists(), "the training finished before it could be killed"

    job = torchrun(*train_command(training_inputs, killed, 10, threads=2))
    assert job.wait(timeout=300) == 0
    assert "resuming from step" in job.stderr.read()
    assert_equal_files(whole, killed)
    one = train_briefly(
        training_inputs, tmp_path / "one", training=dataclasses.replace(TRAINING, epochs=4, checkpoint_every=20)
    )
    # Not closer: batch norm of each process sees two images.
    assert first_losses(whole) == pytest.approx(first_losses(one), rel=0.1)
    (segment,) = read_json(whole / "options.json", "")["engine"]
    assert segment["processes"] == 2 and segment["effective_batch"] == 4 and segment["largest_micro_batch"] == 2


@pytest.mark.slow
def test_a_killed_rank_is_one_line_and_the_next_run_resumes(training_inputs, tmp_path):
    out = tmp_path / "run" / "seed0"
    job = launch(*train_command(training_inputs, out, 10, threads=2)[2:])
    deadline = time.monotonic() + 300
    while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    started = ranks_of(job.pid)
    os.kill(started[1], signal.SIGKILL)
    killed = time.monotonic()
    _, messages = job.communicate(timeout=300)
    assert time.monotonic() - killed < 30 and not any(Path("/proc", str(pid)).exists() for pid in started)
    assert job.returncode == 128 + signal.SIGKILL
    assert "Traceback" not in messages and "fault of the program" not in messages, messages
    assert messages.splitlines()[-1] == "dmgan train: rank 1 was killed by SIGKILL; run the same command to resume"

    job = launch(*train_command(training_inputs, out, 10, threads=2)[2:])
    _, messages = job.communicate(timeout=300)
    assert job.returncode == 0 and "resuming from step" in messages


@pytest.mark.slow
def test_an_error_of_one_process_names_its_rank(training_inputs, damsm_folder, tmp_path):
    words = train_command(training_inputs, tmp_path / "run", 1, threads=2)
    words[words.index(str(damsm_folder))] = "$damsm"
    command = " ".join(words)
    script = f"damsm={damsm_folder}; [ $RANK = 0 ] || damsm=nowhere; exec {sys.executable} {command}"
    job = torchrun("--no-python", "sh", "-c", script)
    _, messages = job.communicate(timeout=300)
    assert job.returncode != 0 and not (tmp_path / "run" / "generator.safetensors").exists()
    (line,) = (line for line in messages.splitlines() if "nowhere/options.json: cannot be read" in line)
    assert line.startswith("dmgan train: rank 1: nowhere")


@pytest.mark.slow
def test_a_retrieving_model_trains_on_two_processes_and_logs_its_samples(training_inputs, tmp_path):
    """In training it retrieves features of the batch, of which a process has only its own rows."""
    uri, out = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "mdsp" / "seed0"
    create_database(uri, tmp_path / "artifacts")
    command = train_command(training_inputs, out, 1, "mdsp", threads=2)
    job = torchrun(*command, "--feature-network", "small", "--mlflow", uri)
    _, messages = job.communicate(timeout=300)
    assert job.returncode == 0, messages
    (picture,) = (tmp_path / "artifacts").rglob("stages+*.png")
    columns = 4  # a batch
    assert Image.open(picture).width >= columns * 32
    assert (out / "generator.safetensors").exists()
