"""The training engine on a GPU; every test here is skipped on a machine without one."""

import dataclasses
import os
import shutil

import pytest
import torch
from torch.nn import functional as F

from dmgan.data.batches import TrainingBatches
from dmgan.data.prefetch import PrefetchedBatches
from dmgan.models.registry import MODELS, build_model, find
from dmgan.options import PLAIN_ENGINE, EngineOptions, MatchingOptions, TrainingSettings
from dmgan.runtime.device import to_device
from dmgan.runtime.distributed import SINGLE_PROCESS
from dmgan.text.caption_cache import CachedCaptions
from dmgan.text.damsm import Damsm
from dmgan.training.pretrain_damsm import pretrain
from dmgan.training.train import step_noise
from dmgan.training.trainer import Trainer
from tests.conftest import ARCHITECTURE, DAMSM, TRAINING
from tests.training import without_batch_norm
from tests.training.short_runs import assert_equal_files, assert_resumes_bit_exactly, first_losses, train_briefly

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
        pretrain(data, tmp_path / name, options, MatchingOptions(), 0, GPU, deterministic=True)
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


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_cuda_graphs_have_the_losses_of_eager_steps(training_inputs, tmp_path):
    engine = EngineOptions(compile=True, cuda_graphs=True)
    graphs = train_briefly(training_inputs, tmp_path / "graphs", engine=engine, device=GPU)
    eager = train_briefly(training_inputs, tmp_path / "eager", device=GPU)
    assert first_losses(graphs) == pytest.approx(first_losses(eager), rel=0.01)


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
