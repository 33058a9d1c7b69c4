"""The training engine: precision, parts and ranks, repeated passes, cached captions."""

import csv
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from benchmarks import precision
from dmgan.__main__ import main
from dmgan.data.batches import TrainingBatches
from dmgan.errors import UserError
from dmgan.options import PLAIN_ENGINE, EngineOptions, TrainingSettings
from dmgan.runtime.distributed import SINGLE_PROCESS, DistributedContext
from dmgan.storage.files import file_sha256, read_json
from dmgan.text.caption_cache import CachedCaptions
from dmgan.text.damsm import Damsm, resized
from dmgan.text.encoders import place_means
from dmgan.training.engine import describe_engine
from dmgan.training.mlflow_run import create_database
from dmgan.training.train import TrainingInputs, train
from tests import norm_free
from tests.conftest import ARCHITECTURE, CPU, TRAINING

PROGRAMS = Path(sys.executable).parent
SMALL = precision.Size(side=32, stages=2, images=120, batch=8, width=4, embedding_dim=16, damsm_epochs=3)
OTHER_OPTIONS = {"fused": True, "channels_last": True, "fused_adam": True, "cache_captions": True}


def run(data, damsm_folder, out, engine=PLAIN_ENGINE, name="dmgan", training=TRAINING, device=CPU, captioner=None):
    train(
        name, TrainingInputs(data, damsm_folder, captioner=captioner), out,
        TrainingSettings(ARCHITECTURE, training, engine=engine), 0, device,
    )  # fmt: skip
    return out


def torchrun(*words) -> subprocess.Popen:
    """Two ranks, in a session of their own."""
    command = [PROGRAMS / "torchrun", "--standalone", "--nproc-per-node", 2, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [str(word) for word in command]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


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
    parts, whole = (norm_free.count_no_passes(norm_free.trainer_of(name, *each)) for each in ([engine], []))
    assert_equal(norm_free.train(parts), norm_free.train(whole), 1e-11)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_are_one_process(accumulate, tmp_path):
    names = ("dmgan", "attngan", "gan-int-cls")  # the last passes its generator twice before one backward
    job = torchrun("-m", "tests.norm_free", tmp_path, accumulate, *names)
    assert job.wait(timeout=600) == 0, job.stderr.read()
    for name in names:
        whole = norm_free.trainer_of(name)
        expected = norm_free.train(whole if accumulate == 1 else norm_free.count_no_passes(whole))
        for rank in range(2):
            assert_equal(torch.load(tmp_path / f"{name}-rank{rank}.pt"), expected, 1e-11)


def test_a_rank_that_waits_reads_what_the_ranks_exchanged(monkeypatch):
    """NCCL only queues an exchange on the GPU; the host waits where it reads the result."""
    read = []

    class Queued:
        def item(self):
            read.append(self)

    monkeypatch.setattr(DistributedContext, "sum", lambda self, values: Queued())
    DistributedContext(1, 2).barrier()
    assert len(read) == 1


def test_ranks_read_the_rows_of_one_batch(dataset):
    whole = TrainingBatches(dataset, [8, 32], 7, 12, seed=3)
    shares = [TrainingBatches(dataset, [8, 32], 7, 12, 3, DistributedContext(rank, 3).rows(7)) for rank in range(3)]
    for step in (0, 5):
        assert all(torch.equal(each[step].tokens, whole[step].tokens) for each in shares)
        for size in range(2):
            together = torch.cat([each[step].images[size] for each in shares])
            assert torch.equal(together, whole[step].images[size])


def test_parts_of_fewer_than_two_images_are_refused(data, damsm_folder, tmp_path):
    with pytest.raises(
        UserError, match="batch_size 4: 1 processes with 3 micro-batches each leave fewer than two images"
    ):
        run(data, damsm_folder, tmp_path / "run", EngineOptions(accumulate=3))
    assert not (tmp_path / "run").exists()


def flags(data, damsm_folder, out, epochs, model="dmgan") -> list:
    return [
        "-m", "dmgan", "train", "--model", model, "--data", data, "--damsm", damsm_folder, "--out", out, "--device",
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

    job = torchrun(*flags(data, damsm_folder, killed, 20))
    deadline = time.monotonic() + 300
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
    assert "resuming from step" in job.stderr.read()
    for name in ("generator.safetensors", "history.csv"):
        assert file_sha256(whole / name) == file_sha256(killed / name)
    one = run(
        data, damsm_folder, tmp_path / "one", training=dataclasses.replace(TRAINING, epochs=4, checkpoint_every=20)
    )
    assert curve(whole) == pytest.approx(curve(one), rel=0.1)  # not closer: each rank's batch norm sees two images
    (stretch,) = read_json(whole / "options.json", "")["engine"]
    assert stretch["processes"] == 2 and stretch["effective_batch"] == 4 and stretch["largest_micro_batch"] == 2


def test_a_rank_that_fails_alone_says_why(data, damsm_folder, tmp_path):
    words = flags(data, damsm_folder, tmp_path / "run", 1)
    words[words.index(damsm_folder)] = "$damsm"
    command = " ".join(str(word) for word in words)
    script = f"damsm={damsm_folder}; [ $RANK = 0 ] || damsm=nowhere; exec {sys.executable} {command}"
    job = torchrun("--no-python", "sh", "-c", script)
    _, messages = job.communicate(timeout=300)
    assert job.returncode != 0 and not (tmp_path / "run" / "generator.safetensors").exists()
    (line,) = (line for line in messages.splitlines() if "nowhere/options.json: cannot be read" in line)
    assert line.startswith("dmgan train: rank 1: nowhere")


def test_a_retrieving_model_on_two_ranks_ends_well_and_shows_its_images(data, damsm_folder, tmp_path):
    """Its memory in training is of images, of which a rank has its own rows alone."""
    uri, out = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "mdsp" / "seed0"
    create_database(uri, tmp_path / "artifacts")
    job = torchrun(*flags(data, damsm_folder, out, 1, "mdsp"), "--feature-network", "small", "--mlflow", uri)
    _, messages = job.communicate(timeout=300)
    assert job.returncode == 0, messages
    (picture,) = (tmp_path / "artifacts").rglob("samples.png")
    columns = 4  # a batch
    assert Image.open(picture).width >= columns * 32
    assert (out / "generator.safetensors").exists()


# Precision, layout and memory.

LOSSES = ("discriminator0", "discriminator1", "discriminator2", "adversarial", "word0", "sentence0", "kl")


def curve(folder) -> dict[str, float]:
    """Mean losses of a run's first steps: the first row of its history."""
    row = next(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    return {name: float(row[name]) for name in LOSSES}


@pytest.mark.parametrize(
    "engine, tolerance",
    [
        (EngineOptions(precision="bfloat16"), 0.01),
        (EngineOptions(precision="float16"), 0.01),
        (EngineOptions(channels_last=True), 1e-3),
        (EngineOptions(fused_adam=True), 1e-3),
        (EngineOptions(cache_captions=True), 1e-3),
        (EngineOptions(fused=True), 1e-3),
    ],
    ids=["bfloat16", "float16", "channels_last", "fused_adam", "cache_captions", "fused"],
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


def test_encoders_are_pretrained_by_algorithms_that_repeat_their_bits(data, damsm_folder, tmp_path, monkeypatch):
    wanted = []
    monkeypatch.setattr("torch.use_deterministic_algorithms", wanted.append)
    flags = ["--image-encoder", "small", "--image-size", 32, "--width", 4, "--embedding-dim", 16, "--epochs", 1]
    flags += ["--batch-size", 8, "--threads", 1, "--device", "cpu", "--deterministic"]
    command = ["pretrain", "--data", data, "--out", tmp_path, *flags]
    assert main([str(word) for word in command]) == 0 and wanted == [True]
    assert main([str(word) for word in command[:-1]]) == 0 and wanted == [True, False]
    for name in ("text_encoder.safetensors", "image_encoder.safetensors"):
        assert file_sha256(tmp_path / name) == file_sha256(damsm_folder / name)  # it is no part of the experiment


@pytest.mark.parametrize("side", [1, 2, 4, 8, 12])
def test_place_means_are_adaptive_pooling(side):
    x = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    found, expected = place_means(x, 4), F.adaptive_avg_pool2d(x, 4)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    gradients = [torch.autograd.grad((weight * each).sum(), x)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("side, wanted", [(64, 32), (32, 8), (8, 32), (24, 31), (32, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_image_encoder_s_resizing_is_torch_s(side, wanted, dtype):
    x = torch.rand(2, 3, side, side, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = resized(x, wanted)
    expected = F.interpolate(x, size=(wanted, wanted), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    gradients = [torch.autograd.grad((weight * each).sum(), x)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_float32_on_a_gpu_is_no_tf32():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    norm_free.trainer_of("dmgan")
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert describe_engine(PLAIN_ENGINE, TRAINING, torch.device("cuda"), SINGLE_PROCESS)["tf32"] is False


def test_a_compiled_generator_gives_the_same_losses(data, damsm_folder, tmp_path):
    training = dataclasses.replace(TRAINING, epochs=1)
    architecture = dataclasses.replace(ARCHITECTURE, stages=1)
    curves = []
    for engine in (PLAIN_ENGINE, EngineOptions(compile=True)):
        out = tmp_path / str(engine.compile)
        train(
            "dmgan",
            TrainingInputs(data, damsm_folder),
            out,
            TrainingSettings(architecture, training, engine=engine),
            0,
            CPU,
        )
        row = next(csv.DictReader((out / "history.csv").read_text().splitlines()))
        curves.append({name: float(value) for name, value in row.items()})
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)


def test_cached_features_are_those_of_the_encoder(dataset, damsm_folder, tmp_path):
    damsm = Damsm.read(damsm_folder)
    lengths = sorted(len(dataset.tokens(i, 0)) for i in dataset.indices("train"))
    limit = lengths[len(lengths) // 2]  # half of the captions are longer, and encoded when they come
    cached = CachedCaptions(damsm, dataset, tmp_path, limit, SINGLE_PROCESS)
    batch = TrainingBatches(dataset, [32], 12, limit, 0)[0]
    found, expected = (each.encode(batch.tokens, batch.lengths) for each in (cached, damsm))
    for name in expected._fields:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), msg=lambda m, n=name: f"{n}: {m}")
    written = {path: path.stat().st_mtime_ns for path in cached.folder.iterdir()}
    again = CachedCaptions(damsm, dataset, tmp_path, limit, SINGLE_PROCESS)
    assert written == {path: path.stat().st_mtime_ns for path in again.folder.iterdir()}


def test_jobs_that_start_together_encode_the_captions_once(dataset, damsm_folder, tmp_path, monkeypatch):
    written = []

    def write(self, *given):
        written.append(self)
        time.sleep(0.1)  # the others come meanwhile
        of_one_job(self, *given)

    of_one_job = CachedCaptions._write
    monkeypatch.setattr(CachedCaptions, "_write", write)
    damsm = Damsm.read(damsm_folder)
    with ThreadPoolExecutor(3) as jobs:
        made = [jobs.submit(CachedCaptions, damsm, dataset, tmp_path, 12, SINGLE_PROCESS) for _ in range(3)]
    assert {each.result().folder for each in made} == {written[0].folder} and len(written) == 1


# What is kept, and what is refused.


def segments(out) -> list[tuple[int, str]]:
    return [(each["from_step"], each["precision"]) for each in read_json(out / "options.json", "")["engine"]]


def test_a_run_may_go_on_with_another_engine_and_says_so(run_folder, data, damsm_folder, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    longer = dataclasses.replace(TRAINING, epochs=3)
    run(data, damsm_folder, out, EngineOptions(precision="float16"), training=longer)
    assert "another engine from step 12 on (precision)" in capsys.readouterr().err
    assert segments(out) == [(0, "float32"), (12, "float16")]
    run(data, damsm_folder, out, EngineOptions(precision="float16"), training=dataclasses.replace(TRAINING, epochs=4))
    assert segments(out) == [(0, "float32"), (12, "float16")]


def test_a_finished_run_is_not_relabelled(run_folder, data, damsm_folder, tmp_path, capsys):
    """It is written again from its checkpoint, as a job must whose outputs were lost, and has made no step."""
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    (out / "generator.safetensors").unlink()
    run(data, damsm_folder, out, EngineOptions(precision="bfloat16"))
    said = capsys.readouterr().err
    assert "all 12 steps are already made; the run stays as it is" in said and "another engine" not in said
    assert segments(out) == [(0, "float32")]
    for name in ("generator.safetensors", "history.csv"):
        assert file_sha256(out / name) == file_sha256(run_folder / name)


@pytest.mark.parametrize("fused", [False, True])
def test_a_run_goes_on_with_the_optimiser_of_its_own_engine(fused, data, damsm_folder, tmp_path):
    """torch's optimisers take over with their state whether it was fused."""
    out = tmp_path / "run"
    for epochs, each in ((1, not fused), (2, fused)):
        training = dataclasses.replace(TRAINING, epochs=epochs)
        run(data, damsm_folder, out, EngineOptions(fused_adam=each), training=training)
    state = torch.load(out / "checkpoint.pt", weights_only=True)["state"]
    for name in ("generator_adam", "discriminator_adam0"):
        (group,) = state[name]["param_groups"]
        assert bool(group["fused"]) == fused
        steps = {int(each["step"]) for each in state[name]["state"].values()}
        assert steps == {12}, "the moments are those of the whole run"
    assert [each["fused_adam"] for each in read_json(out / "options.json", "")["engine"]] == [not fused, fused]


def test_the_loss_scale_of_float16_is_kept(data, damsm_folder, tmp_path):
    out = run(data, damsm_folder, tmp_path / "run", EngineOptions(precision="float16"))
    state = torch.load(out / "checkpoint.pt", weights_only=True)["state"]["scaler"]
    assert state["scale"] > 0 and state["_growth_tracker"] > 0


def test_a_step_that_is_not_finite_leaves_its_data(dataset, data, damsm_folder, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UserError, match=r"step \d+: .* is not a finite number; the last good checkpoint is kept"):
        run(data, damsm_folder, out, training=dataclasses.replace(TRAINING, generator_lr=1e30))
    failure = read_json(out / "failure.json", "")
    batches = TrainingBatches(dataset, [32], TRAINING.batch_size, TRAINING.max_words, 0)
    assert failure["seed"] == 0 and failure["images"] == batches.rows(failure["step"] - 1).tolist()
    assert "nan" in failure["losses"].values() and len(failure["captions"]) == TRAINING.batch_size


@pytest.mark.parametrize(
    "options, words",
    [
        ({"precision": "float8"}, "precision 'float8': must be float32, bfloat16, float16"),
        ({"accumulate": 0}, "accumulate 0: must be 1 or more"),
        ({"cuda_graphs": True}, "cuda_graphs: replays compiled networks; add compile"),
        ({"compile": True, "gradient_checkpointing": True}, "gradient_checkpointing: cannot be had with compile"),
        ({"compile": True, "cuda_graphs": True}, "cuda_graphs: needs a CUDA device"),
        ({"compile": True}, "compile: needs a C.. compiler; install g.., or leave compile out"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(options, words, data, damsm_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=words):
        run(data, damsm_folder, tmp_path / "run", EngineOptions(**options))
    assert not (tmp_path / "run").exists()


def test_stages_that_are_trained_one_by_one_are_not_shared_by_ranks(data, damsm_folder, tmp_path):
    distributed = DistributedContext(0, 2)
    with pytest.raises(UserError, match="stackgan: trains its stages one by one, .*; give it one GPU"):
        train(
            "stackgan", TrainingInputs(data, damsm_folder), tmp_path, TrainingSettings(ARCHITECTURE, TRAINING), 0, CPU,
            distributed=distributed,
        )  # fmt: skip


def test_loss_curves_of_half_precision_stay_within_the_noise_of_float32(tmp_path):
    """500 steps on synthbirds, judged as benchmarks/precision.py does at a larger size."""
    precision.prepare(tmp_path, SMALL)

    def curves(name: str, engine: dict, seeds: int = 1, **changes) -> np.ndarray:
        runs = [
            precision.train_curves(tmp_path, tmp_path / f"{name}{seed}", engine, seed, 500, SMALL, **changes)
            for seed in range(seeds)
        ]
        return np.stack(runs)

    plain = curves("float32", {}, 3)
    halves = {
        "bfloat16": curves("bfloat16", {"precision": "bfloat16", **OTHER_OPTIONS}),
        "float16": curves("float16", {"precision": "float16"}),
    }
    for name, half in halves.items():
        noise, distance = precision.distances(plain, half)
        assert distance < precision.NOISES * noise, name
    # The criterion sees a generator that learns half as fast again.
    noise, distance = precision.distances(plain, curves("faster", {}, lr_factor=1.5))
    assert distance > precision.NOISES * noise


def test_distances_are_in_deviations_of_the_seeds_pooled_over_blocks():
    plain = np.zeros((3, 2, 1))
    plain[:, 0, 0] = [-1.0, 0.0, 1.0]  # variance 1 in one block, 0 in the other: pooled 1/2
    noise, distance = precision.distances(plain, np.full((1, 2, 1), 2.0))
    assert noise == pytest.approx(np.mean([1.5, 0.0, 1.5]))  # sqrt((1.5^2 / 0.5 + 0) / 2)
    assert distance == pytest.approx(np.sqrt((1.5**2 + 2.0**2) / 0.5 / 2))
