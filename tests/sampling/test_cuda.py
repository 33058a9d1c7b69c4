"""Sampling on a GPU; every test here is skipped on a machine without one."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dmgan.models.registry import MODELS
from dmgan.options import SamplingOptions
from dmgan.sampling.captions import batches_by_length, choose_test_caption
from dmgan.sampling.host_copies import copied_to_host
from dmgan.sampling.image_folder import pixels_by_suffix
from dmgan.sampling.inference import InferenceGenerator
from dmgan.sampling.sample import SampleRequest, generate_batches, sample_test_captions
from dmgan.sampling.trained_model import load_run
from dmgan.storage.png import read_png
from tests.conftest import CPU
from tests.sampling.batches import random_batches, random_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

GPU = torch.device("cuda")


PLAIN, BFLOAT16 = SamplingOptions(fused=False, channels_last=False), SamplingOptions(precision="bfloat16")


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, SamplingOptions()) for name in MODELS), ("dmgan", PLAIN), ("dmgan", BFLOAT16), ("mdsp", BFLOAT16)],
    ids=[*MODELS, "dmgan, plain", "dmgan, bfloat16", "mdsp, bfloat16"],
)
def test_captured_images_are_the_eager_ones_bit_for_bit(name, options):
    model = random_model(name, GPU)
    eager = InferenceGenerator(model, replace(options, cuda_graphs=False), GPU, 12)
    captured = InferenceGenerator(model, options, GPU, 12)
    for batch in random_batches(name, model, GPU):  # two shapes, the last batch partial
        expected = [each.clone() for each in eager.images(*batch)]
        found = captured.images(*batch)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert captured.cuda_graphs and not eager.cuda_graphs


def test_no_replayed_batch_synchronizes_with_the_gpu():
    model = random_model("dmgan", GPU)
    generator = InferenceGenerator(model, SamplingOptions(), GPU, 12)
    for number, batch in enumerate(random_batches("dmgan", model, GPU)[:4]):
        torch.cuda.set_sync_debug_mode("error" if number > 1 else "default")  # the second batch is captured
        try:
            generator.images(*batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_no_batch_of_a_sampling_waits_for_the_gpu(run_folder, dataset):
    """A batch is encoded, generated and copied without waiting for the batch before."""
    trained = load_run(run_folder, GPU)
    model = InferenceGenerator(trained.model, SamplingOptions(batch_size=4), GPU, trained.max_words)
    choices = [choose_test_caption(dataset, number, 100, trained.max_words) for number in range(80)]
    batches = list(batches_by_length(choices, 4, set()))
    longest = [max(len(choices[number].tokens) for number in batch) for batch in batches]
    # A batch with another longest caption waits for the last replay, to release its graph; the next one is captured.
    watched = [n for n in range(2, 20) if longest[n - 2] == longest[n - 1] == longest[n]]
    generated = generate_batches(trained, model, choices, None, 100, batches)
    for number in range(20):
        torch.cuda.set_sync_debug_mode("error" if number in watched else "default")
        try:
            _, images = next(generated)
            pixels_by_suffix(images, all_stages=True)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len(watched) > 2 and model.cuda_graphs


def test_pixels_are_copied_before_the_next_batch_overwrites_them():
    static = torch.zeros(64, 128, 128, 3, dtype=torch.uint8, device=GPU)

    def batches():
        for number in range(20):
            yield [number], {"": static.add_(1).clone()}

    for number, (numbers, pixels) in enumerate(copied_to_host(batches(), GPU)):
        assert numbers == [number] and (pixels[""] == number + 1).all()


def test_sampling_writes_the_same_files_with_and_without_graphs(run_folder, data, tmp_path):
    for name, graphs, workers in (("graphs", True, -1), ("eager", False, 0)):
        options = SamplingOptions(cuda_graphs=graphs, batch_size=4, workers=workers, packed=True)
        sample_test_captions(run_folder, data, tmp_path / name, SampleRequest(41), GPU, options)
    names = [f"{number:06d}.png" for number in range(41)]
    for name in [*names, "images.npy"]:
        assert (tmp_path / "graphs" / name).read_bytes() == (tmp_path / "eager" / name).read_bytes()
    packed = np.load(tmp_path / "graphs" / "images.npy", mmap_mode="r")
    assert all(np.array_equal(packed[n], read_png(tmp_path / "graphs" / name)) for n, name in enumerate(names))
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("graphs", "eager")]
    assert [each["cuda_graphs"] for each in manifests] == [True, False] and manifests[0]["workers"] >= 1


def test_images_of_the_gpu_are_those_of_the_cpu_up_to_rounding(run_folder, data, tmp_path):
    for name, device in (("gpu", GPU), ("cpu", CPU)):
        options = SamplingOptions(batch_size=4, workers=0)
        sample_test_captions(run_folder, data, tmp_path / name, SampleRequest(23), device, options)
    images = [np.stack([read_png(path) for path in sorted((tmp_path / name).glob("*.png"))]) for name in ("gpu", "cpu")]
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1
