"""Reading of a trained generator from its run folder, generation and retrieval."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmgan.data.dataset import PreparedDataset
from dmgan.data.validation import cut_validation_split
from dmgan.errors import UserError
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.models.registry import build_model, find
from dmgan.models.retrieval import MemoryBank
from dmgan.models.vgg import feature_network
from dmgan.options import (
    DEFAULT_METHOD,
    ArchitectureOptions,
    MatchingOptions,
    TrainingOptions,
    from_dict,
)
from dmgan.runtime.randomness import generator
from dmgan.sampling.hub import local_folder
from dmgan.storage.reading import check_entries, read_json
from dmgan.storage.weights import build_network
from dmgan.text.damsm import Damsm

_OF_ENGINE = ("precision", "batch_norm")  # engine settings that change values by more than rounding
_WRITTEN = {  # entries of options.json that are read, as in dmgan.storage.reading.read_object
    "model": str, "damsm_folder": str, "architecture": dict, "training": dict, "seed": (int, None),
    "inputs": {"damsm": dict, "features?": {"sha256": str}, "data?": object}, "variant?": dict, "gammas?": dict,
    "selection?": (None, dict), "vgg16_weights?": (str, None), "data_folder?": str, "not_known?": [str],
    "engine?": [dict], "imported?": bool,
}  # fmt: skip
_SEARCHED_AT_ONCE = 256  # captions


class TrainedModel(NamedTuple):
    """A generator with averaged weights, in evaluation mode, and the encoders of its training run."""

    name: str  # in the registry
    model: TextToImageGAN
    damsm: Damsm
    max_words: int  # longest caption that the generator reads
    options: dict  # the run's options.json
    folder: Path
    device: torch.device
    memory_bank: MemoryBank | None = None  # None: the model does not retrieve

    def noise(self, seed: int, images: Iterable[int]) -> Tensor:
        """Return the noise (B, noise_dim) of sampled images, given by their numbers."""
        entry, size = find(self.name), self.model.noise_dim
        return torch.stack([image_noise(seed, image, size, entry.noise_bound, entry.noise_scale) for image in images])


def load_run(folder: Path, device: torch.device, memory_cache: Path | None = None) -> TrainedModel:
    """Read the run folder that training wrote; UserError if it is missing, unfinished or inconsistent.

    folder: a path, or hub:OWNER/NAME, a published model.

    The memory bank of a model that retrieves holds the model's training images. memory_cache: folder that caches the
    bank's keys and values.
    """
    folder = local_folder(folder)
    hint = "give the folder of a finished training, such as results/synthbirds/dmgan/seed0"
    path = folder / "options.json"
    if isinstance(found := read_json(path, hint), dict) and "switches" in found:
        raise UserError(f"{path}: was written by an earlier version; import or train it again")
    written = check_entries(found, _WRITTEN, path, hint)
    name, damsm_folder = written["model"], folder / written["damsm_folder"]
    architecture = from_dict(ArchitectureOptions, written["architecture"], str(path))
    training = from_dict(TrainingOptions, written["training"], str(path))
    recorded, variant = written["inputs"]["damsm"], written.get("variant", {})
    damsm = Damsm.read(damsm_folder).to(device)
    if damsm.sha256 != recorded:
        raise UserError(f"{damsm_folder}: the encoders changed after {folder} was trained with them; train it again")
    dim = damsm.options.embedding_dim
    weights = folder / "generator.safetensors"
    model = build_network(lambda: build_model(name, architecture, dim, **variant), weights, hint)
    model.to(device).eval().requires_grad_(False)
    if not find(name).retrieves and memory_cache is not None:
        raise UserError(f"--memory-cache {memory_cache}: {name} does not retrieve images; leave the option out")
    bank = _read_memory_bank(architecture, damsm, training, written, folder) if find(name).retrieves else None
    if bank is not None:
        bank.cache = memory_cache
    return TrainedModel(name, model, damsm, training.max_words, written, folder, device, bank)


def hyperparameters(trained: TrainedModel) -> dict[str, object]:
    """Return the options by which a run was trained, by name; without those that imported weights do not tell."""
    written = trained.options
    not_known = set(written.get("not_known", ()))
    blocks = {name: written.get(name, {}) for name in ("architecture", "training", "gammas")}
    found = {
        option: value
        for name, block in blocks.items()
        for option, value in block.items()
        if f"{name}.{option}" not in not_known
    }
    segments = written.get("engine", [])
    for option in _OF_ENGINE if segments else ():
        found[option] = ", then ".join(dict.fromkeys(str(segment[option]) for segment in segments))
    return found


def _read_memory_bank(
    architecture: ArchitectureOptions, damsm: Damsm, training: TrainingOptions, written: dict, folder: Path
) -> MemoryBank:
    """Return the memory bank of a model that retrieves; UserError if its data set or feature network changed.

    Images that were held out of the training are not in the bank.
    """
    weights = written.get("vgg16_weights")
    features = feature_network(architecture.feature_network, None if weights is None else folder / weights)
    if features.sha256 != written["inputs"]["features"]["sha256"]:
        raise UserError(f"{folder / weights}: changed after {folder} was trained with it; restore the old file")
    dataset = read_training_set(folder, written)
    gammas = from_dict(MatchingOptions, written["gammas"], str(folder / "options.json"))
    return MemoryBank(dataset, damsm, features, gammas, training.max_words)


def read_training_set(folder: Path, written: dict) -> PreparedDataset:
    """Return the data set of the run in `folder`; its training split lacks the images that training held out.

    written: the run's options.json, of a training. UserError if the data set is missing, or changed since.
    """
    training = from_dict(TrainingOptions, written["training"], str(folder / "options.json"))
    dataset = PreparedDataset(folder / written["data_folder"])
    if dataset.sha256 != written["inputs"]["data"]:
        raise UserError(f"{dataset.folder}: changed after {folder} was trained on it; train again")
    if not training.evaluate_every:
        return dataset
    return cut_validation_split(dataset, training.held_out(len(dataset.indices("train")))).training


def image_noise(seed: int, image: int, noise_dim: int, bound: float | None = None, scale: float = 1.0) -> Tensor:
    """Return the noise (noise_dim,) of image number `image`, a pure function of the arguments.

    Standard-normal values, drawn again while they are beyond +-bound, times scale.
    """
    random = generator(seed, "image noise", image)
    values = random.standard_normal(noise_dim, dtype=np.float32)
    while bound is not None and (beyond := np.abs(values) > bound).any():
        values[beyond] = random.standard_normal(int(beyond.sum()), dtype=np.float32)
    return torch.from_numpy(values * np.float32(scale))


@torch.inference_mode()
def generate_images(
    trained: TrainedModel, captions: Sequence[np.ndarray], noise: Tensor, retrieved: Sequence[int] | None = None
) -> Generated:
    """Return the images of every stage for B captions (token arrays) and noise (B, noise_dim).

    A model that retrieves reads the features of the training images `retrieved` (B,); None: call `retrieve`.
    """
    encoded = trained.damsm.encode_captions(list(captions))
    memory = None
    if trained.memory_bank is not None:
        memory = trained.memory_bank.values(retrieve(trained, captions) if retrieved is None else retrieved)
    return trained.model.generate(noise.to(trained.device), encoded.sentence, encoded.words, encoded.mask, memory)


@torch.inference_mode()
def retrieve(trained: TrainedModel, captions: Sequence[np.ndarray], method: str = DEFAULT_METHOD) -> np.ndarray:
    """Return the index (B,) of the training image that is retrieved for every caption (token array)."""
    starts = range(0, len(captions), _SEARCHED_AT_ONCE)
    encoded = (trained.damsm.encode_captions(list(captions[start : start + _SEARCHED_AT_ONCE])) for start in starts)
    return np.concatenate([trained.memory_bank.search(method, batch) for batch in encoded])
