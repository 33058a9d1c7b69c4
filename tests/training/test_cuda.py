"""The training engine on a GPU; every test here is skipped on a machine without one."""

import dataclasses
import os
import shutil
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from dmgan.data.batches import TrainingBatches
from dmgan.data.prefetch import PrefetchedBatches
from dmgan.models.registry import MODELS, build_model, find
from dmgan.options import PLAIN_ENGINE, DamsmEngineOptions, DamsmSettings, EngineOptions, TrainingSettings
from dmgan.runtime.device import set_deterministic, to_device
from dmgan.runtime.distributed import SINGLE_PROCESS
from dmgan.storage.files import read_json
from dmgan.text.caption_cache import CachedCaptions
from dmgan.text.damsm import Damsm
from dmgan.training.engine import EngineRecord
from dmgan.training.pretrain_damsm import pretrain
from dmgan.training.train import captured_steps, step_noise
from dmgan.training.trainer import Trainer
from tests.conftest import ARCHITECTURE, DAMSM, TRAINING
from tests.reading import read_csv
from tests.training import without_batch_norm
from tests.training.device_steps import inputs_of, make_trainer
from tests.training.short_runs import (
    assert_equal_files,
    assert_equal_states,
    assert_resumes_bit_exactly,
    first_losses,
    train_briefly,
)
from tests.training.validated_runs import VALIDATED, train_validated

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first test uses cuBLAS

GPU = torch.device("cuda")
PAPERS = EngineOptions(precision="bfloat16", channels_last=True, fused=True, fused_adam=True)


@pytest.fixture(autouse=True)
def any_algorithm():
    """Allow algorithms that are not deterministic in the next test."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_resumes_bit_exactly_with_deterministic_algorithms(
    name, training_inputs, captioner_folder, tmp_path, monkeypatch
):
    training = dataclasses.replace(TRAINING, epochs=1, perceptual="damsm", **MODELS[name].training)
    inputs = dataclasses.replace(training_inputs, captioner=captioner_folder)

    def make(out):
        train_briefly(inputs, out, name, training, EngineOptions(deterministic=True), device=GPU)

    assert_resumes_bit_exactly(make, tmp_path, monkeypatch)


def test_deterministic_pretraining_is_reproducible(data, tmp_path):
    options = dataclasses.replace(DAMSM, epochs=2)
    for name in ("once", "again"):
        settings = DamsmSettings(options, engine=DamsmEngineOptions(deterministic=True))
        pretrain(data, tmp_path / name, settings, 0, GPU)
    files = ("text_encoder.safetensors", "image_encoder.safetensors", "history.csv")
    assert_equal_files(tmp_path / "once", tmp_path / "again", *files)


@pytest.mark.parametrize("fused", [False, True])
def test_float16_trains_without_overflow(fused, training_inputs, tmp_path):
    training = dataclasses.replace(TRAINING, epochs=8)  # 48 steps
    engine = EngineOptions(precision="float16", fused_adam=fused)
    found = train_briefly(training_inputs, tmp_path / "float16", engine=engine, training=training, device=GPU)
    plain = train_briefly(training_inputs, tmp_path / "float32", training=training, device=GPU)
    assert first_losses(found) == pytest.approx(first_losses(plain), rel=0.05)
    state = torch.load(found / "checkpoint.pt", weights_only=True)["state"]  # every saved state is finite
    assert state["scaler"]["scale"] > 0 and state["scaler"]["_growth_tracker"] > 0  # the last step was not skipped
    # The first steps are skipped until the loss scale fits.
    assert all(moments["step"] > 24 for moments in state["generator_adam"]["state"].values())


def engine_of(out) -> dict[str, object]:
    """Return the engine settings of a run's last segment."""
    return read_json(out / "options.json", "")["engine"][-1]


@pytest.mark.parametrize("name", MODELS)
def test_captured_steps_have_the_bits_of_eager_steps(name, dataset, damsm_folder, captioner_folder):
    """50 steps of the same inputs, with the same Adam and deterministic algorithms: only the launch differs."""
    set_deterministic(GPU, True)
    found = {}
    for captured in (True, False):
        trainer, record = make_trainer(name, dataset, damsm_folder, captioner_folder, GPU), EngineRecord({})
        record.begin_step(0)
        run = captured_steps(trainer, partial(inputs_of, trainer), 50, record)
        for step in range(50):
            trainer.model.begin_step(step, 50)
            losses = run(step) if captured else trainer.step(*inputs_of(trainer, step))
        assert record.segments == [{"from_step": 0}], "the step was not captured"
        state = {key: value.state_dict() for key, value in trainer.stateful().items()}
        found[captured] = state, {key: loss.item() for key, loss in losses.items()}
    assert found[True][1] == found[False][1]
    assert_equal_states(found[True][0], found[False][0])


@pytest.mark.parametrize(
    "engine",
    [
        EngineOptions(),
        PAPERS,
        EngineOptions(precision="float16"),
        EngineOptions(accumulate=2),
        EngineOptions(gradient_checkpointing=True),
        pytest.param(
            dataclasses.replace(PAPERS, compile=True),
            marks=pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler"),
        ),
    ],
    ids=["default", "papers", "float16", "accumulate", "gradient_checkpointing", "compile"],
)
def test_every_engine_option_is_captured_by_default(engine, training_inputs, tmp_path):
    captured = train_briefly(training_inputs, tmp_path / "captured", engine=engine, device=GPU)
    assert engine_of(captured)["cuda_graphs"] is True, engine_of(captured)
    eager = dataclasses.replace(engine, cuda_graphs=False, fused_adam=True)
    plain = train_briefly(training_inputs, tmp_path / "eager", engine=eager, device=GPU)
    assert engine_of(plain)["cuda_graphs_reason"] == "turned off"
    assert first_losses(captured) == pytest.approx(first_losses(plain), rel=0.05)


def test_captured_pretraining_is_reproducible_and_close_to_eager_pretraining(data, tmp_path):
    rows = {}
    for name, graphs in (("captured", True), ("again", True), ("eager", False)):
        engine = DamsmEngineOptions(cuda_graphs=graphs, deterministic=True)
        options = dataclasses.replace(DAMSM, epochs=4, dropout=0.0)
        pretrain(data, tmp_path / name, DamsmSettings(options, engine=engine), 0, GPU)
        rows[name] = [float(row["sentence0"]) for row in read_csv(tmp_path / name / "history.csv")]
    assert engine_of(tmp_path / "captured")["cuda_graphs"] is True
    assert_equal_files(tmp_path / "captured", tmp_path / "again", "text_encoder.safetensors")
    assert rows["captured"] == pytest.approx(rows["eager"], rel=0.02)


@pytest.mark.parametrize("fused", [False, True])
def test_a_run_resumes_with_the_other_adam_implementation(fused, training_inputs, tmp_path):
    """Fused Adam keeps its step counts on the GPU, the other on the CPU: a resumed run moves them."""
    for epochs, fused_adam in ((1, not fused), (2, fused)):
        training, engine = dataclasses.replace(TRAINING, epochs=epochs), EngineOptions(fused_adam=fused_adam)
        out = train_briefly(training_inputs, tmp_path, training=training, engine=engine, device=GPU)
    state = torch.load(out / "checkpoint.pt", weights_only=True)["state"]["generator_adam"]["state"]
    counts = {(each["step"].device.type, int(each["step"])) for each in state.values()}
    assert counts == {("cuda" if fused else "cpu", 12)}


def test_float32_is_not_rounded_to_tf32():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    without_batch_norm.trainer_of("dmgan")
    x, weight = torch.randn(4, 256, 16, 16, device=GPU), torch.randn(256, 256, 3, 3, device=GPU)

    def product(x, weight):
        return x.flatten(1)[:, : 9 * 256] @ weight.flatten(1).t()

    for compute in (F.conv2d, product):
        found, exact = compute(x, weight), compute(x.double(), weight.double())
        assert (found - exact).norm() < 3e-5 * exact.norm()  # TF32: some 3e-4


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    "engine",
    [
        PLAIN_ENGINE,
        EngineOptions(fused=True),
        EngineOptions(channels_last=True),
        EngineOptions(fused_adam=True),
        EngineOptions(precision="bfloat16"),
        PAPERS,
    ],
    ids=["plain", "fused", "channels_last", "fused_adam", "bfloat16", "papers"],
)
def test_no_step_synchronizes_with_the_gpu(engine, cached, dataset, damsm_folder, tmp_path):
    damsm = Damsm.read_for(dataset, damsm_folder).to(GPU)
    torch.manual_seed(0)
    model = build_model("dmgan", ARCHITECTURE, damsm.options.embedding_dim)
    losses = find("dmgan").losses
    trainer = Trainer(model, damsm.image_encoder, TrainingSettings(ARCHITECTURE, TRAINING, engine=engine), losses, GPU)
    encode = CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS).encode if cached else damsm.encode
    with PrefetchedBatches(TrainingBatches(dataset, model.image_sizes, 4, 12, 0), GPU) as batches:
        for step in range(3):  # the first step allocates what later steps reuse
            torch.cuda.set_sync_debug_mode("error" if step else "default")
            try:
                batch = batches[step]
                captions = encode(batch.tokens, batch.lengths)
                class_ids, noise = batch.class_ids, step_noise(0, step, 4, model.noise_dim)
                trainer.step(batch.images, captions, to_device(class_ids, GPU), to_device(noise, GPU))
            finally:
                torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("captured", [True, False])
def test_measuring_does_not_change_the_training_on_a_gpu(captured, networks, training_inputs, tmp_path):
    engine = EngineOptions(deterministic=True, cuda_graphs=captured)
    often, rarely = (
        train_validated(
            training_inputs, networks, tmp_path / f"every{every}",
            dataclasses.replace(VALIDATED, epochs=4, evaluate_every=every), engine=engine, device=GPU,
        )
        for every in (1, 1000)
    )  # fmt: skip
    assert engine_of(often)["cuda_graphs"] is captured
    assert_equal_files(often, rarely)
    last = [{**read_csv(run / "validation.csv")[-1], "seconds": ""} for run in (often, rarely)]
    assert last[0] == last[1]
