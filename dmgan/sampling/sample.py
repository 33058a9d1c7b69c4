"""Sampling of images from test captions; an image is a pure function of weights, tokens, seed and image number."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.models.registry import find
from dmgan.options import DEFAULT_METHOD, SamplingOptions, as_dict
from dmgan.runtime.cost import Cost
from dmgan.runtime.device import worker_count
from dmgan.runtime.progress import Progress, log
from dmgan.runtime.provenance import commit, provenance, versions
from dmgan.sampling.captions import (
    CaptionChoice,
    CaptionEncodings,
    batches_by_length,
    choose_soa_captions,
    choose_test_caption,
    unknown_words,
)
from dmgan.sampling.host_copies import copied_to_host
from dmgan.sampling.image_folder import SAMPLED, ImageFolder, pixels_by_suffix, sides_by_suffix
from dmgan.sampling.inference import InferenceGenerator
from dmgan.sampling.trained_model import TrainedModel, hyperparameters, load_run, retrieve
from dmgan.storage import files

IN_THIS_PROCESS = SamplingOptions(workers=0)
TEST_ORDER = "a random permutation of the test images in every pass"  # dmgan/sampling/captions.py
_DO_NOT_CHANGE_PIXELS = ("batch_size", "workers", "packed", "png_level", "cuda_graphs")  # of SamplingOptions


@dataclass(frozen=True)
class SampleRequest:
    """Options that choose the images to sample."""

    num_images: int = 30000  # as in the papers
    seed: int = 100  # of captions and noise; as in the released code
    all_stages: bool = False  # write the images of every stage, not only of the last stage
    soa: bool = False  # sample the images that semantic object accuracy needs; num_images is ignored
    retrieval: str = DEFAULT_METHOD  # retrieval method, for a model that retrieves
    max_words: int | None = None  # longest caption; None: as in training

    def __post_init__(self):
        if self.num_images < 1:
            raise UserError(f"--num-images {self.num_images}: must be 1 or more")
        if self.max_words is not None and self.max_words < 1:
            raise UserError(f"--max-words {self.max_words}: must be 1 or more")


def sample_test_captions(
    run: Path,
    data: Path,
    out: Path,
    request: SampleRequest,
    device: torch.device,
    options: SamplingOptions = IN_THIS_PROCESS,
    memory_cache: Path | None = None,
) -> None:
    """Write the requested PNG files and manifest.json into the folder `out`, atomically.

    Files are named NUMBER.png, or NUMBER_SIDE.png with all_stages. The manifest records the test image and caption of
    every image, the retrieved image if the model retrieves, and the COCO class if request.soa. An interrupted call is
    resumed by the same call. memory_cache: folder that caches the memory bank's keys and values.
    """
    cost = Cost(device)
    files.refuse_overwrite(out, SAMPLED)
    trained, dataset = load_run(run, device, memory_cache), PreparedDataset(data)
    if request.max_words is not None:
        trained = trained._replace(max_words=request.max_words)
    choices, soa_classes = _choose_captions(trained, dataset, request)
    unknown = unknown_words(trained.damsm, dataset, choices)
    if unknown:
        log(f"{run}: left out {len(unknown)} words that the run's encoders do not know ({', '.join(unknown[:12])})")
    retrieved = _retrieved_images(trained, choices, request, dataset)
    manifest = _manifest(trained, dataset, choices, request.seed, options) | soa_classes
    manifest |= _retrieval_record(trained, request.retrieval, retrieved)
    workers = worker_count(options.workers, device, on_cpu=1)
    manifest |= {"batch_size": options.batch_size, "workers": workers, "words_left_out": unknown}
    model = InferenceGenerator(trained.model, options, device, trained.max_words)
    sides = sides_by_suffix(trained.model.image_sizes, request.all_stages)
    inputs = _inputs(trained, dataset, request, options)
    with (
        ImageFolder(out, inputs, len(choices), sides, workers, options.packed, options.png_level) as folder,
        Progress(len(choices), "images", done=len(folder.done)) as progress,
    ):
        batches = batches_by_length(choices, options.batch_size, folder.done)
        generated = (
            (numbers, pixels_by_suffix(images, request.all_stages))
            for numbers, images in generate_batches(trained, model, choices, retrieved, request.seed, batches)
        )
        for numbers, pixels in copied_to_host(generated, device):
            progress.step(folder.write(numbers, pixels))
        made = {"cuda_graphs": model.cuda_graphs, "provenance": provenance(cost.measured())}
        last = folder.finish(manifest | made)
        if last:
            progress.step(last)


def generate_batches(
    trained: TrainedModel,
    model: InferenceGenerator,
    choices: Sequence[CaptionChoice],
    retrieved: np.ndarray | None,
    seed: int,
    batches: Iterable[list[int]],
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Yield batches of image numbers with their images of every stage; the next batch may overwrite the images."""
    encodings = CaptionEncodings(trained.damsm)
    for numbers in batches:
        noise = trained.noise(seed, numbers)
        captions = encodings.encode([choices[number].tokens for number in numbers])
        memory = None if retrieved is None else trained.memory_bank.values(retrieved[numbers])
        yield numbers, model.images(noise, captions, memory)


def _choose_captions(
    trained: TrainedModel, dataset: PreparedDataset, request: SampleRequest
) -> tuple[list[CaptionChoice], dict[str, list[int]]]:
    """Return the caption of every image, and the manifest's entry of COCO classes if request.soa, else {}."""
    read = trained.damsm.caption_reader(
        dataset,
        f"{trained.folder}: was trained on captions of another data set than {dataset.folder}; give the data set of "
        "the training run",
    )
    if request.soa:
        choices, classes = choose_soa_captions(dataset, request.seed, trained.max_words, read)
        return choices, {"soa_classes": classes}
    numbers = range(request.num_images)
    return [choose_test_caption(dataset, number, request.seed, trained.max_words, read) for number in numbers], {}


def _retrieved_images(
    trained: TrainedModel, choices: Sequence[CaptionChoice], request: SampleRequest, dataset: PreparedDataset
) -> np.ndarray | None:
    """Return the image index (N,) retrieved for every sampled caption; None if the model does not retrieve."""
    method = request.retrieval
    if trained.memory_bank is None:
        if method != DEFAULT_METHOD:
            raise UserError(f"--retrieval {method}: {trained.name} does not retrieve images; leave the option out")
        return None
    if method == "random":
        return trained.memory_bank.random(range(len(choices)), request.seed)
    if method == "oracle":
        if dataset.sha256 != trained.memory_bank.dataset.sha256:
            raise UserError(f"--retrieval oracle: {trained.folder} was not trained on {dataset.folder}")
        return np.array([choice.image for choice in choices])
    return retrieve(trained, [choice.tokens for choice in choices], method)


def _retrieval_record(trained: TrainedModel, method: str, retrieved: np.ndarray | None) -> dict:
    """Return the manifest's entry on retrieval, with image indices in the training data set; {} without retrieval."""
    if retrieved is None:
        return {}
    bank = trained.memory_bank
    record = {"method": method, "entries": len(bank.images), "data_sha256": bank.dataset.sha256}
    record |= {"feature_network": bank.features.name, "feature_sha256": bank.features.sha256}
    return {"retrieval": record | {"images": retrieved.tolist()}}


def _inputs(
    trained: TrainedModel, dataset: PreparedDataset, request: SampleRequest, options: SamplingOptions
) -> dict[str, object]:
    """Return all inputs that affect the pixels or file names of the sampled images."""
    return {
        "generator": files.file_sha256(trained.folder / "generator.safetensors"),
        "run options": files.file_sha256(trained.folder / "options.json"),
        "damsm": trained.damsm.sha256,
        "data": dataset.sha256,
        "seed": request.seed,
        "all_stages": request.all_stages,
        "options": _pixel_options(options),
        "device": trained.device.type,
        "commit": commit(),
        "versions": versions(),
        "soa": request.soa,
        "test_order": TEST_ORDER,
        "retrieval": request.retrieval,
        "max_words": trained.max_words,
    }


def _pixel_options(options: SamplingOptions) -> dict[str, object]:
    """Return the sampling options that may change pixels."""
    return {name: value for name, value in as_dict(options).items() if name not in _DO_NOT_CHANGE_PIXELS}


def _manifest(
    trained: TrainedModel,
    dataset: PreparedDataset,
    choices: Sequence[CaptionChoice],
    seed: int,
    options: SamplingOptions,
) -> dict[str, object]:
    """Return the entries of manifest.json that do not depend on SOA or retrieval."""
    entry = find(trained.name)
    return {
        "model": trained.name,
        "training_seed": trained.options["seed"],
        "config_sha256": trained.options["config_sha256"],
        "hyperparameters": hyperparameters(trained)
        | {"max_words of sampling": trained.max_words, "precision of sampling": options.precision},
        "generator_sha256": files.file_sha256(trained.folder / "generator.safetensors"),
        "data_sha256": dataset.sha256,
        "vocabulary_sha256": trained.damsm.sha256["vocabulary.json"],
        "imported": trained.options.get("imported", False),
        "variant": trained.options.get("variant", {}),
        "selection": trained.options.get("selection"),
        "image_size": trained.model.architecture.image_size,
        "stages": list(trained.model.image_sizes),
        "seed": seed,
        "test_order": TEST_ORDER,
        "noise": {"bound": entry.noise_bound, "scale": entry.noise_scale},
        "max_words": trained.max_words,
        "computed": {**_pixel_options(options), "device": trained.device.type},
        "images": [{"test_image": choice.image, "caption": choice.caption} for choice in choices],
        "tokens": [choice.tokens.tolist() for choice in choices],
    }
