"""Trained weights and captions to images, each a pure function of weights, tokens and the image's own seed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dmgan.data.batches import to_uint8
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.options import (
    DEFAULT_METHOD,
    SamplingOptions,
    as_dict,
)
from dmgan.runtime.progress import Progress, log
from dmgan.runtime.provenance import commit, provenance, versions
from dmgan.sampling.captions import (
    CaptionChoice,
    CaptionEncodings,
    _by_length,
    _unknown_words,
    choose_soa_captions,
    choose_test_caption,
)
from dmgan.sampling.image_folder import SAMPLED, ImageFolder
from dmgan.sampling.inference import InferenceGenerator
from dmgan.sampling.trained_model import TrainedModel, image_noise, load_run, retrieve
from dmgan.storage import files

IN_THIS_PROCESS = SamplingOptions(workers=0)


def sample_test_captions(
    run: Path,
    data: Path,
    out: Path,
    num_images: int,
    seed: int,
    batch_size: int,
    all_stages: bool,
    device: torch.device,
    options: SamplingOptions = IN_THIS_PROCESS,
    soa: bool = False,
    retrieval: str = DEFAULT_METHOD,
    memory_cache: Path | None = None,
    max_words: int | None = None,
) -> None:
    """Write `num_images` PNG files and manifest.json into the folder `out`, whole or not at all.

    Files are named NUMBER.png, with all_stages NUMBER_SIDE.png; the manifest gives each image's test
    image and caption, and where the model retrieves the image it retrieved, by the method `retrieval`. Batches hold
    captions of like length; that changes nothing but speed. With `soa` the images are those that semantic object
    accuracy asks for, however many, and the manifest gives the class of each. max_words: longest caption read, as the
    manifest says; None: as long as in training. Cut short, the same call goes on from the images that are complete.
    """
    if num_images < 1 or batch_size < 1:
        raise UserError(f"--num-images {num_images}, --batch-size {batch_size}: must both be 1 or more")
    if max_words is not None and max_words < 1:
        raise UserError(f"--max-words {max_words}: must be 1 or more")
    files.refuse_overwrite(out, SAMPLED)
    trained, dataset = load_run(run, device, memory_cache), PreparedDataset(data)
    if max_words is not None:
        trained = trained._replace(max_words=max_words)
    read = trained.damsm.caption_reader(
        dataset, f"{run}: was trained on captions of another data set than {data}; give the data set it was trained on"
    )
    choices = [choose_test_caption(dataset, number, seed, trained.max_words, read) for number in range(num_images)]
    made_for = {}
    if soa:
        choices, classes = choose_soa_captions(dataset, seed, trained.max_words, read)
        num_images, made_for = len(choices), {"soa_classes": classes}
    unknown = sorted({word for each in choices for word in _unknown_words(trained, dataset, each)})
    if unknown:
        log(f"{run}: left out {len(unknown)} words that its encoders do not know ({', '.join(unknown[:12])})")
    retrieved = _retrieved(trained, choices, retrieval, seed, dataset)
    manifest = _manifest(trained, dataset, choices, seed, options) | made_for
    manifest |= _memory_used(trained, retrieval, retrieved)
    model = InferenceGenerator(trained.model, options, device, batch_size, trained.max_words)
    encodings = CaptionEncodings(trained.damsm)
    subject = _subject(trained, dataset, seed, all_stages, options) | {"soa": soa, "retrieval": retrieval}
    subject["max_words"] = trained.max_words
    sides = _sides(trained.model.image_sizes, all_stages)
    with ImageFolder(out, subject, num_images, sides, options.workers, options.packed) as folder:
        progress = Progress(num_images, "images", done=len(folder.done))
        for numbers in _by_length(choices, batch_size, folder.done):
            noise = torch.stack([image_noise(seed, number, trained.model.noise_dim) for number in numbers])
            captions = encodings.encode([choices[number].tokens for number in numbers])
            memory = None if retrieved is None else trained.memory_bank.values(retrieved[numbers])
            images = model.images(noise, captions, memory)
            progress.step(folder.write(numbers, _pixels(images, all_stages)))
        last = folder.finish({**manifest, "batch_size": batch_size, "words_left_out": unknown})
        if last:
            progress.step(last)
        progress.close()


def _retrieved(
    trained: TrainedModel, choices: Sequence[CaptionChoice], method: str, seed: int, dataset: PreparedDataset
) -> np.ndarray | None:
    """The image (N,) that each sampled caption retrieves; None where the model does not retrieve."""
    if trained.memory_bank is None:
        if method != DEFAULT_METHOD:
            raise UserError(f"--retrieval {method}: {trained.name} retrieves nothing; leave the option out")
        return None
    if method == "random":
        return trained.memory_bank.random(range(len(choices)), seed)
    if method == "oracle":
        if dataset.sha256 != trained.memory_bank.dataset.sha256:
            raise UserError(f"--retrieval oracle: {dataset.folder} is not the data set that {trained.folder} read")
        return np.array([each.image for each in choices])
    return retrieve(trained, [each.tokens for each in choices], method)


def _memory_used(trained: TrainedModel, method: str, retrieved: np.ndarray | None) -> dict:
    """The manifest's entry of a model that retrieves; images are numbers in the data set it was trained on."""
    if retrieved is None:
        return {}
    memory = trained.memory_bank
    described = {"method": method, "entries": len(memory.images), "data_sha256": memory.dataset.sha256}
    described |= {"feature_network": memory.features.name, "feature_sha256": memory.features.sha256}
    return {"retrieval": described | {"images": retrieved.tolist()}}


def _sides(image_sizes: Sequence[int], all_stages: bool) -> dict[str, int]:
    """What is written of an image: what its files' names end in, and their sides in pixels."""
    return {f"_{side}": side for side in image_sizes} if all_stages else {"": image_sizes[-1]}


def _pixels(stages: Sequence[Tensor], all_stages: bool) -> dict[str, np.ndarray]:
    """What is written of each stage (B, 3, s, s): what its files' names end in, and (B, s, s, 3) uint8."""
    if not all_stages:
        return {"": to_uint8(stages[-1])}
    return {f"_{images.shape[-1]}": to_uint8(images) for images in stages}


def _subject(
    trained: TrainedModel, dataset: PreparedDataset, seed: int, all_stages: bool, options: SamplingOptions
) -> dict:
    """All that the pixels of sampled images depend on, and the names of their files."""
    return {
        "generator": files.file_sha256(trained.folder / "generator.safetensors"),
        "run options": files.file_sha256(trained.folder / "options.json"),
        "damsm": trained.damsm.sha256,
        "data": dataset.sha256,
        "seed": seed,
        "all_stages": all_stages,
        "options": _computed(options),
        "device": trained.device.type,
        "commit": commit(),
        "versions": versions(),
    }


def _computed(options: SamplingOptions) -> dict[str, object]:
    """The options that shape the pixels."""
    return {name: value for name, value in as_dict(options).items() if name not in ("workers", "packed")}


def _manifest(
    trained: TrainedModel,
    dataset: PreparedDataset,
    choices: Sequence[CaptionChoice],
    seed: int,
    options: SamplingOptions,
) -> dict:
    return {
        "model": trained.name,
        "training_seed": trained.options["seed"],
        "config_sha256": trained.options["config_sha256"],
        "generator_sha256": files.file_sha256(trained.folder / "generator.safetensors"),
        "data_sha256": dataset.sha256,
        "vocabulary_sha256": trained.damsm.sha256["vocabulary.json"],
        "imported": trained.options.get("imported", False),
        "variant": trained.options.get("variant", {}),
        "image_size": trained.model.architecture.image_size,
        "stages": list(trained.model.image_sizes),
        "seed": seed,
        "max_words": trained.max_words,
        "computed": {**_computed(options), "device": trained.device.type},
        "images": [{"test_image": each.image, "caption": each.caption} for each in choices],
        "tokens": [each.tokens.tolist() for each in choices],
        "provenance": provenance(),
    }
