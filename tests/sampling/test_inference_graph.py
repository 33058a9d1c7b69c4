"""The generator as a CUDA graph, without a GPU: a recorder replays it eagerly on the static buffers."""

from dataclasses import replace

import pytest
import torch

from dmgan.models.interface import Generated
from dmgan.models.registry import MODELS
from dmgan.options import SamplingOptions
from dmgan.sampling.inference import InferenceGenerator
from tests.conftest import CPU
from tests.runtime.eager_recorder import EagerRecorder
from tests.sampling.batches import SIZES, random_batches, random_model

OPTIONS = SamplingOptions(batch_size=4, workers=0)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_captured_and_replayed_bit_for_bit(name):
    model, recorder = random_model(name, CPU), EagerRecorder()
    eager = InferenceGenerator(model, OPTIONS, CPU, 12)
    captured = InferenceGenerator(model, OPTIONS, CPU, 12, recorder)
    for batch in random_batches(name, model, CPU):
        expected, found = eager.images(*batch), captured.images(*batch)
        assert len(found) == len(model.image_sizes) and found[-1].std() > 0
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    # Two shapes of four batches are captured after one eager batch; the last, smaller batch is eager.
    assert (recorder.warm_ups, recorder.captures, recorder.replays) == (3, 2, len(SIZES) - 3)
    assert captured.cuda_graphs and not eager.cuda_graphs


def test_bfloat16_is_captured_too():
    model, recorder = random_model("dmgan", CPU), EagerRecorder()
    options = replace(OPTIONS, precision="bfloat16")
    eager = InferenceGenerator(model, options, CPU, 12)
    captured = InferenceGenerator(model, options, CPU, 12, recorder)
    for batch in random_batches("dmgan", model, CPU)[:3]:
        expected, found = eager.images(*batch), captured.images(*batch)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert recorder.replays == 2


@pytest.mark.slow
def test_a_compiled_generator_is_one_graph(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    model, recorder = random_model("dmgan", CPU), EagerRecorder()
    options = replace(OPTIONS, compile=True)
    captured = InferenceGenerator(model, options, CPU, 12, recorder)
    for batch in random_batches("dmgan", model, CPU):
        images = captured.images(*batch)
        assert len(images[0]) == len(batch[0])
    assert (recorder.warm_ups, recorder.captures, recorder.replays) == (1, 1, len(SIZES) - 1)


def test_a_model_that_reads_values_is_sampled_eagerly_and_the_reason_logged(monkeypatch, capsys):
    model, recorder = random_model("dmgan", CPU), EagerRecorder()
    generate = type(model).generate

    def reads_a_value(self, noise, *rest) -> Generated:
        assert float(noise.mean()) < 10
        return generate(self, noise, *rest)

    monkeypatch.setattr(type(model), "generate", reads_a_value)
    eager = InferenceGenerator(model, OPTIONS, CPU, 12)
    captured = InferenceGenerator(model, OPTIONS, CPU, 12, recorder)
    for batch in random_batches("dmgan", model, CPU):
        expected, found = eager.images(*batch), captured.images(*batch)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    logged = capsys.readouterr().err
    assert (
        logged.count("the generator is not replayed as a CUDA graph") == 1
        and "aten.item.default reads values" in logged
    )
    assert recorder.warm_ups == recorder.captures == 0 and not captured.cuda_graphs


def test_the_cpu_has_no_graphs():
    model = random_model("dmgan", CPU)
    generator = InferenceGenerator(model, OPTIONS, CPU, 12)
    for batch in random_batches("dmgan", model, CPU)[:4]:
        generator.images(*batch)
    assert OPTIONS.cuda_graphs and not generator.cuda_graphs
