"""Training steps as one CUDA graph, with a recorder that replays on the CPU.

A captured step may not read a value of the device on the host, create a constant on the host, or draw random numbers.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dmgan.data.batches import TrainingBatches
from dmgan.models.registry import MODELS
from dmgan.models.vgg import FeatureNetwork
from dmgan.options import EngineOptions, MatchingOptions
from dmgan.runtime.cuda_graph import CudaGraph, NotCapturable, forbidden_host_reads
from dmgan.runtime.distributed import DistributedContext
from dmgan.storage.files import read_json
from dmgan.text.encoders import EfficientNetLite0ImageEncoder, TextEncoder, build_image_encoder
from dmgan.text.folded_encoder import folded_encoder
from dmgan.training import captured_steps, pretrain_damsm, train
from dmgan.training.engine import EngineRecord, graph_obstacle, resolve_graphs
from dmgan.training.pretrain_damsm import Pretrainer
from dmgan.training.trainer import Trainer
from tests.conftest import CPU, DAMSM
from tests.reading import read_csv
from tests.runtime.eager_recorder import EagerRecorder
from tests.training.device_steps import GRAPHS, WORDS, augmented, inputs_of, make_trainer
from tests.training.short_runs import assert_equal_files, assert_equal_states, training_stage
from tests.training.validated_runs import VALIDATED, train_validated


@pytest.fixture
def trainer_of(dataset, damsm_folder, captioner_folder):
    """A function (model, engine) -> trainer on the CPU."""
    return lambda name, engine=GRAPHS: make_trainer(name, dataset, damsm_folder, captioner_folder, CPU, engine)


class _NoHostConstants(TorchDispatchMode):
    """Mode that refuses tensors made of Python values, which a GPU would copy from the host, and random numbers."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket._qualified_op_name
        random = any(tag.name == "nondeterministic_seeded" for tag in function.tags)
        if name == "aten::lift_fresh" or random:
            raise NotCapturable(f"{name}: makes a tensor of host values")
        return function(*args, **(kwargs or {}))


def _refuse_copy(*_):
    raise NotCapturable("a tensor is copied to the host")


@pytest.fixture
def device_only(monkeypatch):
    """A function that runs a step, which may not touch the host."""

    def run(step, *arguments):
        with monkeypatch.context() as patched, forbidden_host_reads(CPU), _NoHostConstants():
            for name in ("numpy", "tolist", "cpu", "__array__", "pin_memory"):
                patched.setattr(Tensor, name, _refuse_copy)
            return step(*arguments)

    return run


def images_of(trainer: Trainer, words: int) -> Tensor:
    """Images of the first batch, whose captions are padded to `words`."""
    inputs = inputs_of(trainer, 0, words)
    captions, memory = inputs.captions, trainer.features_of(inputs.images)
    with torch.no_grad():
        return trainer.model.generate(inputs.noise, captions.sentence, captions.words, captions.mask, memory).images[-1]


@pytest.mark.parametrize("name", MODELS)
def test_a_step_can_be_captured(name, trainer_of, device_only):
    """Padding beyond the longest caption changes no image, and no step reads a value of the device."""
    trainer = trainer_of(name)
    torch.testing.assert_close(images_of(trainer, 7), images_of(trainer, WORDS), rtol=1e-4, atol=1e-5)
    for step in range(2):  # the first step creates Adam's moments
        trainer.model.begin_step(step, 2)
        losses = device_only(trainer.step, *inputs_of(trainer, step))
    assert losses and all(torch.isfinite(loss) for loss in losses.values())


def test_diff_augment_reads_no_value_of_the_device(dataset, damsm_folder, captioner_folder, device_only):
    engine = dataclasses.replace(GRAPHS, fused=True)
    trainer = make_trainer("dmgan", dataset, damsm_folder, captioner_folder, CPU, engine)
    for step in range(2):
        device_only(trainer.step, *augmented(trainer, inputs_of(trainer, step), "color,translation,cutout", step))


@pytest.mark.parametrize("fused", [False, True])
def test_the_pretrained_trunk_is_part_of_a_captured_step(fused, dataset, damsm_folder, captioner_folder, device_only):
    """The DAMSM loss by EfficientNet-lite0: resizing, normalisation and padding make no constant on the host."""
    encoder = EfficientNetLite0ImageEncoder(DAMSM.embedding_dim).eval().requires_grad_(False)
    engine = dataclasses.replace(GRAPHS, fused=fused)
    trainer = make_trainer("dmgan", dataset, damsm_folder, captioner_folder, CPU, engine)
    trainer.image_encoder = folded_encoder(encoder) if fused else encoder
    losses = device_only(trainer.step, *inputs_of(trainer, 0))
    assert all(torch.isfinite(loss) for loss in losses.values()) and losses["word0"] > 0


def test_pretraining_with_the_pretrained_trunk_reads_no_value_of_the_device(dataset, device_only):
    encoder = EfficientNetLite0ImageEncoder(16)
    text = TextEncoder(len(dataset.vocabulary), 16, 0.0)
    pretrainer = Pretrainer(text, encoder, DAMSM, MatchingOptions(), CPU, capturable=True)
    batch = TrainingBatches(dataset, [32], 4, DAMSM.max_words, 0)[0]
    mask = torch.arange(batch.tokens.shape[1])[None] >= batch.lengths[:, None]
    before = encoder.emb_features.weight.clone()
    losses = device_only(pretrainer.padded_step, batch.images[0], batch.tokens, mask, batch.class_ids)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert not torch.equal(encoder.emb_features.weight, before)


@pytest.mark.parametrize(
    "engine",
    [
        EngineOptions(fused=True),
        EngineOptions(accumulate=2),
        EngineOptions(gradient_checkpointing=True),
        EngineOptions(precision="bfloat16", channels_last=True, fused=True),
    ],
    ids=["fused", "accumulate", "gradient_checkpointing", "papers"],
)
def test_no_engine_option_reads_a_value_of_the_device(engine, trainer_of, device_only):
    trainer = trainer_of("dmgan", dataclasses.replace(engine, cuda_graphs=True))
    for step in range(2):
        device_only(trainer.step, *inputs_of(trainer, step))


@pytest.mark.parametrize(
    "reads",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x * torch.tensor([1.0, 2.0]),
        lambda x: torch.rand_like(x),
        lambda x: x[x > 0],
    ],
)
def test_the_checks_above_can_fail(reads, device_only):
    with pytest.raises(NotCapturable):
        device_only(reads, torch.ones(2))


def test_vgg16_copies_no_constants_from_the_host(device_only):
    network = FeatureNetwork("vgg16", torch.nn.Conv2d(3, 4, 3), "")
    images = torch.rand(2, 3, 8, 8)
    first = network(images)  # copies the statistics of ImageNet to the device
    assert torch.equal(device_only(network, images), first)


def state_of(trainer: Trainer) -> dict[str, object]:
    """Copies of everything that a step changes."""
    return {name: each.state_dict() for name, each in trainer.stateful().items()}


def tensors_in(state: object) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    nested = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return [tensor for each in nested for tensor in tensors_in(each)]


@pytest.fixture
def replay_on_the_cpu(monkeypatch):
    """A function that lets captured steps replay on the CPU; a capture leaves the state of `trainers` as it was."""

    def use(trainers: list, recorder: type = EagerRecorder) -> list[EagerRecorder]:
        def new_graph(function, device) -> CudaGraph:
            recorders.append(recorder(lambda: tensors_in(state_of(trainers[-1]))))
            return CudaGraph(function, captured_steps.WARM_UP, recorders[-1])

        recorders = []
        monkeypatch.setattr(captured_steps, "new_graph", new_graph)
        return recorders

    return use


@pytest.mark.parametrize("name", ["dmgan", "attngan", "stackgan", "dfgan", "mdsp"])
def test_steps_in_static_buffers_give_the_bits_of_steps_with_fresh_ones(name, trainer_of, replay_on_the_cpu):
    steps = 10
    captured, plain = trainer_of(name), trainer_of(name, EngineOptions(fused_adam=True))
    recorders = replay_on_the_cpu([captured])
    run = train.captured_steps(captured, lambda step: inputs_of(captured, step), steps, EngineRecord({}))
    for step in range(steps):
        for trainer in (captured, plain):
            trainer.model.begin_step(step, steps)
        found, expected = run(step), plain.step(*inputs_of(plain, step))
        assert {name: loss.item() for name, loss in found.items()} == {k: v.item() for k, v in expected.items()}
    assert recorders[0].captures == (2 if name == "stackgan" else 1), "a stagewise model is captured once per stage"
    for part in ("model", "discriminators", "average"):
        assert_equal_states(state_of(captured)[part], state_of(plain)[part], part)


@pytest.mark.parametrize("stage", ["dmgan", "pretrain"])
def test_a_captured_run_resumes_bit_exactly(stage, training_inputs, tmp_path, monkeypatch, replay_on_the_cpu):
    made, module = [], pretrain_damsm if stage == "pretrain" else train
    kind = "Pretrainer" if stage == "pretrain" else "Trainer"

    class Recorded(getattr(module, kind)):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(module, kind, Recorded)
    monkeypatch.setattr(module, "resolve_graphs", lambda engine, *_: dataclasses.replace(engine, cuda_graphs=True))
    recorders = replay_on_the_cpu(made)
    make = training_stage(stage, training_inputs)
    whole = make(2, 3, tmp_path / "whole")
    make(1, 3, tmp_path / "resumed")
    assert make(2, 3, tmp_path / "resumed") == whole
    assert len(recorders) == 3 and all(each.replays for each in recorders[:2])


def test_measuring_between_replays_changes_no_bit(networks, training_inputs, tmp_path, monkeypatch, replay_on_the_cpu):
    made = []

    class Recorded(Trainer):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(train, "Trainer", Recorded)
    monkeypatch.setattr(train, "resolve_graphs", lambda engine, *_: dataclasses.replace(engine, cuda_graphs=True))
    recorders = replay_on_the_cpu(made)
    often, rarely = (
        train_validated(
            training_inputs, networks, tmp_path / f"every{every}", dataclasses.replace(VALIDATED, evaluate_every=every)
        )
        for every in (1, 1000)
    )
    assert [each.replays for each in recorders] == [5, 5]
    assert_equal_files(often, rarely)
    last = [{**row, "seconds": ""} for row in (read_csv(run / "validation.csv")[-1] for run in (often, rarely))]
    assert last[0] == last[1]


class _Failing(EagerRecorder):
    def capture(self, function):
        super().capture(function)
        raise NotCapturable("operation not permitted when stream is capturing")


def test_a_step_that_cannot_be_captured_runs_without_a_graph_and_says_why(trainer_of, capfd, replay_on_the_cpu):
    captured, plain = trainer_of("dmgan"), trainer_of("dmgan", EngineOptions(fused_adam=True))
    replay_on_the_cpu([captured], _Failing)
    record = EngineRecord({"cuda_graphs": True})
    record.begin_step(0)
    run = train.captured_steps(captured, lambda step: inputs_of(captured, step), 6, record)
    for step in range(6):
        found, expected = run(step), plain.step(*inputs_of(plain, step))
        assert found["adversarial"].item() == expected["adversarial"].item()
    (segment,) = record.segments
    assert segment["cuda_graphs"] is False and "not permitted" in segment["cuda_graphs_reason"]
    assert capfd.readouterr().err.count("the step cannot be captured") == 1


def test_padded_pretraining_has_the_losses_of_packed_pretraining(dataset, replay_on_the_cpu):
    """Twelve steps over three epochs, with learning rates and cleared moments that a captured update must follow."""
    options = dataclasses.replace(DAMSM, dropout=0.0, max_words=18)

    def pretrainer(capturable: bool) -> Pretrainer:
        torch.manual_seed(0)
        text, image = TextEncoder(len(dataset.vocabulary), 16, 0.0), build_image_encoder("small", 16, 4)
        return Pretrainer(text, image, options, MatchingOptions(), CPU, capturable)

    captured, plain = pretrainer(True), pretrainer(False)
    (recorders, batches) = replay_on_the_cpu([captured]), TrainingBatches(dataset, [32], 8, 18, 0)
    run = pretrain_damsm.captured_steps(captured, batches, 12, EngineRecord({}))
    for step in range(12):
        for each in (captured, plain):
            each.schedule(*divmod(step, 4))
        batch = batches[step]
        expected = plain.step(batch.images[0], batch.tokens, batch.lengths, batch.class_ids)
        found = {name: loss.item() for name, loss in run(step).items()}
        assert found == pytest.approx({name: loss.item() for name, loss in expected.items()}, rel=2e-3)
    assert recorders[0].replays == 9
    torch.testing.assert_close(
        captured.text_encoder.encoder.weight, plain.text_encoder.encoder.weight, atol=1e-4, rtol=0
    )


def test_graphs_are_the_default_on_a_gpu_and_only_there():
    gpu, one = torch.device("cuda"), EngineOptions()
    assert resolve_graphs(one, gpu).cuda_graphs is True and resolve_graphs(one, CPU).cuda_graphs is False
    assert "turned off" in graph_obstacle(EngineOptions(cuda_graphs=False), gpu)
    assert "single process" in graph_obstacle(one, gpu, DistributedContext(0, 2))


def test_options_json_says_whether_steps_were_captured(run_folder):
    assert [each["cuda_graphs"] for each in read_json(run_folder / "options.json", "")["engine"]] == [False]
    assert np.isfinite(float(read_csv(run_folder / "history.csv")[-1]["adversarial"]))
