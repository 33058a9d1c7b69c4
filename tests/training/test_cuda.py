"""The engine on a GPU, where it can do what a CPU cannot show; without a GPU every test here is skipped."""

import dataclasses
import os
import shutil

import pytest
import torch
from torch.nn import functional as F

from dmgan.data.batches import TrainingBatches
from dmgan.data.prefetch import PrefetchedBatches
from dmgan.models.registry import MODELS, build_model, find
from dmgan.options import PLAIN_ENGINE, DamsmOptions, EngineOptions, MatchingOptions, TrainingSettings
from dmgan.runtime.device import to_device
from dmgan.runtime.distributed import SINGLE_PROCESS
from dmgan.storage.files import file_sha256
from dmgan.text.caption_cache import CachedCaptions
from dmgan.text.damsm import Damsm
from dmgan.training.pretrain_damsm import pretrain
from dmgan.training.train import step_noise
from dmgan.training.trainer import Trainer
from tests import norm_free
from tests.conftest import ARCHITECTURE, TRAINING
from tests.training.test_engine import curve, run
from tests.training.test_training import assert_goes_on_to_the_bit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first test uses cuBLAS

GPU = torch.device("cuda")
PAPERS = EngineOptions(precision="bfloat16", channels_last=True, fused=True, fused_adam=True)


@pytest.fixture(autouse=True)
def any_algorithm():
    """The next test chooses its algorithms itself."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_goes_on_to_the_bit_where_it_is_deterministic(
    name, data, damsm_folder, captioner_folder, tmp_path, monkeypatch
):
    training = dataclasses.replace(TRAINING, epochs=1, perceptual="damsm", **MODELS[name].training)
    engine = EngineOptions(deterministic=True)

    def make(out):
        run(data, damsm_folder, out, engine, name, training, GPU, captioner_folder)

    assert_goes_on_to_the_bit(make, tmp_path, monkeypatch)


def test_pretraining_repeats_its_bits_where_it_is_deterministic(data, tmp_path):
    options = DamsmOptions(image_encoder="small", image_size=32, width=4, embedding_dim=16, epochs=2, batch_size=8)
    for name in ("once", "again"):
        pretrain(data, tmp_path / name, options, MatchingOptions(), 0, GPU, deterministic=True)
    for file in ("text_encoder.safetensors", "image_encoder.safetensors", "history.csv"):
        assert file_sha256(tmp_path / "once" / file) == file_sha256(tmp_path / "again" / file)


@pytest.mark.parametrize("fused", [False, True])
def test_float16_trains_and_stays_finite(fused, data, damsm_folder, tmp_path):
    training = dataclasses.replace(TRAINING, epochs=8)  # 48 steps
    engine = EngineOptions(precision="float16", fused_adam=fused)
    found = run(data, damsm_folder, tmp_path / "float16", engine, training=training, device=GPU)
    plain = run(data, damsm_folder, tmp_path / "float32", training=training, device=GPU)
    assert curve(found) == pytest.approx(curve(plain), rel=0.05)
    state = torch.load(found / "checkpoint.pt", weights_only=True)["state"]  # a state that is not finite is not saved
    assert state["scaler"]["scale"] > 0 and state["scaler"]["_growth_tracker"] > 0  # the last step was made
    assert all(each["step"] > 24 for each in state["generator_adam"]["state"].values())  # the first ones find the scale


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_cuda_graphs_are_the_eager_step(data, damsm_folder, tmp_path):
    graphs = run(data, damsm_folder, tmp_path / "graphs", EngineOptions(compile=True, cuda_graphs=True), device=GPU)
    assert curve(graphs) == pytest.approx(curve(run(data, damsm_folder, tmp_path / "eager", device=GPU)), rel=0.01)


@pytest.mark.parametrize("fused", [False, True])
def test_a_run_goes_on_with_the_other_optimiser(fused, data, damsm_folder, tmp_path):
    """The counts of steps, which the fused one keeps on the GPU and the other on the CPU, move with it."""
    for epochs, each in ((1, not fused), (2, fused)):
        training = dataclasses.replace(TRAINING, epochs=epochs)
        out = run(data, damsm_folder, tmp_path, EngineOptions(fused_adam=each), training=training, device=GPU)
    state = torch.load(out / "checkpoint.pt", weights_only=True)["state"]["generator_adam"]["state"]
    counts = {(each["step"].device.type, int(each["step"])) for each in state.values()}
    assert counts == {("cuda" if fused else "cpu", 12)}


def test_float32_is_not_rounded_to_tf32():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    norm_free.trainer_of("dmgan")
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
def test_no_step_waits_for_the_gpu(engine, cached, dataset, damsm_folder, tmp_path):
    damsm = Damsm.read_for(dataset, damsm_folder).to(GPU)
    torch.manual_seed(0)
    model = build_model("dmgan", ARCHITECTURE, damsm.options.embedding_dim)
    losses = find("dmgan").losses
    trainer = Trainer(model, damsm.image_encoder, TrainingSettings(ARCHITECTURE, TRAINING, engine=engine), losses, GPU)
    encode = CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS).encode if cached else damsm.encode
    with PrefetchedBatches(TrainingBatches(dataset, model.image_sizes, 4, 12, 0), GPU) as batches:
        for step in range(3):  # the first makes what later ones reuse
            torch.cuda.set_sync_debug_mode("error" if step else "default")
            try:
                batch = batches[step]
                captions = encode(batch.tokens, batch.lengths)
                class_ids, noise = batch.class_ids, step_noise(0, step, 4, model.noise_dim)
                trainer.step(batch.images, captions, to_device(class_ids, GPU), to_device(noise, GPU))
            finally:
                torch.cuda.set_sync_debug_mode("default")
