"""Memorisation of a model that retrieves images: duplicates, distances and diversity, as one JSON file.

Three checks: the number of test images in the memory bank (perceptual hash); the distance of outputs from the image
that they retrieved, compared with that of the real test image of the same caption; and the distance between images of
the same caption and retrieved image with different noise (MDSP, Fig. 5).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dmgan.data.batches import centre_crop, to_tensor
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation.image_sets import read_manifest, sampled_images
from dmgan.runtime.cost import Cost
from dmgan.runtime.progress import log
from dmgan.runtime.provenance import provenance
from dmgan.sampling.trained_model import TrainedModel, generate_images, load_run
from dmgan.storage import files
from dmgan.storage.reading import check_entries, read_object
from dmgan.storage.seals import write_sealed_json

_BATCH = 64
_HASH_SIDE = 8
_NOISES = 8  # images of one caption and one retrieved image
_CAPTIONS = 25  # captions that the diversity is measured on
_KINDS = ("pixels", "features")


_NAMED = {"name": str, "dataset": str, "seed": (int, None)}
_ENTRIES = {  # of the JSON file that tables read, as in dmgan.storage.reading.read_object
    "subject": _NAMED,
    "retrieval": {"method": str},
    "distances": {"images": int, "mean": dict.fromkeys(_KINDS, dict)},
    "diversity": {"captions": int, "mean": dict.fromkeys(_KINDS, dict)},
    "duplicates": {
        "hash": str,
        **dict.fromkeys(("test_images", "equal_hash", "equal_pixels"), int),
        **dict.fromkeys(("share_equal_hash", "share_equal_pixels"), float),
    },
}


def difference_hash(image: np.ndarray) -> int:
    """Return the dHash of an image (H, W, 3) uint8: 64 bits, set where grey levels rise from left to right, 8 x 8."""
    small = Image.fromarray(image).convert("L").resize((_HASH_SIDE + 1, _HASH_SIDE), Image.BILINEAR)
    levels = np.asarray(small).astype(int)
    bits = (levels[:, 1:] > levels[:, :-1]).flatten()
    return int("".join("01"[bit] for bit in bits.astype(int)), 2)


def duplicates(dataset: PreparedDataset) -> dict[str, object]:
    """Count the test images that have a training image with equal hash, and with equal pixels."""
    size = dataset.image_size
    by_hash: dict[int, list[int]] = {}
    for index in dataset.indices("train"):
        by_hash.setdefault(difference_hash(centre_crop(dataset, index, size)), []).append(index)
    test, hashed, equal = dataset.indices("test"), 0, 0
    for index in test:
        crop = centre_crop(dataset, index, size)
        others = by_hash.get(difference_hash(crop), [])
        hashed += bool(others)
        equal += any(np.array_equal(crop, centre_crop(dataset, other, size)) for other in others)
    return {
        "hash": f"dHash, {_HASH_SIDE**2} bits, of the centre crop",
        "test_images": len(test),
        "equal_hash": hashed,
        "equal_pixels": equal,
        "share_equal_hash": hashed / len(test),
        "share_equal_pixels": equal / len(test),
    }


def pixel_distance(first: Tensor, other: Tensor) -> Tensor:
    """Return the root mean squared difference (B,) of images (B, 3, s, s) in [-1, 1]; black to white is 1."""
    return (first - other).div(2).flatten(1).square().mean(dim=1).sqrt()


def feature_distance(first: Tensor, other: Tensor) -> Tensor:
    """Return 1 minus the cosine (B,) of feature maps (B, C, h, w)."""
    return 1 - F.cosine_similarity(first.flatten(1), other.flatten(1), dim=1)


def memorisation(run: Path, images: Path, data: Path, out: Path, num_images: int, device: torch.device) -> None:
    """Compare the first `num_images` sampled images of a run with its memory bank, and write JSON to `out`."""
    cost = Cost(device)
    trained, dataset = load_run(run, device), PreparedDataset(data)
    subject = sampled_images(images, dataset)
    manifest = read_manifest(images, "sample the images again")
    used = manifest.get("retrieval")
    if trained.memory_bank is None or used is None:
        raise UserError(
            f"{run if trained.memory_bank is None else images}: its model does not retrieve images; give one that does"
        )
    if manifest["generator_sha256"] != files.file_sha256(Path(run) / "generator.safetensors"):
        raise UserError(f"{images}: was sampled with other weights than those of {run}; sample the images again")
    if used["data_sha256"] != dataset.sha256:
        raise UserError(f"{data}: is not the data set whose images were retrieved; give the one used for sampling")
    refuse_test_images(np.array(used["images"]), used["method"], dataset, images)

    count = min(num_images, len(subject))
    if count < 2:
        raise UserError(f"{images}: distances of images need two images, not {count}; measure or sample more")
    content = {
        "schema": 1,
        "subject": {"name": subject.name, "seed": subject.seed, "dataset": dataset.name_of_set},
        "retrieval": {key: value for key, value in used.items() if key != "images"},
        "duplicates": duplicates(dataset),
        "distances": _distances(trained, dataset, subject.read, subject.test_images[:count], used["images"][:count]),
        "diversity": _diversity(trained, dataset, manifest, used["images"]),
        "inputs": {**subject.inputs, "data": dataset.sha256},
        "provenance": provenance(cost.measured()),
    }
    write_sealed_json(out, content)
    for kind, rows in content["distances"]["mean"].items():
        log(f"{subject.name}, distance in {kind}: " + ", ".join(f"{name} {value:.3f}" for name, value in rows.items()))


def read_memorisation(path: Path, check: bool = True) -> dict:
    """Return the content of a file that `memorisation` wrote; UserError if it is missing or damaged.

    UserError also if it was altered after it was written, unless check=False.
    """
    hint = "measure it again: python -m dmgan memorisation"
    content = read_object(path, hint, _ENTRIES, check)
    for part in ("distances", "diversity"):
        means = content[part]["mean"]
        names = dict.fromkeys(means["pixels"], float)  # of the rows of a table, with a column for each kind
        for kind in _KINDS:
            check_entries(means[kind], names, path, hint)
    return content


def refuse_test_images(retrieved: np.ndarray, method: str, dataset: PreparedDataset, source: Path) -> None:
    """Raise UserError if images of the test set were retrieved by a method other than the oracle."""
    wrong = int((~np.isin(retrieved, dataset.indices("train"))).sum())
    if wrong and method != "oracle":
        raise UserError(f"{source}: {wrong} of {len(retrieved)} retrieved images are of the test set; sample again")


def _distances(
    trained: TrainedModel,
    dataset: PreparedDataset,
    read: Callable[[int], np.ndarray],
    described: Sequence[int],
    retrieved: Sequence[int],
) -> dict[str, object]:
    """Return mean distances of outputs and real test images to retrieved images: their own, and another caption's."""
    numbers = np.arange(len(retrieved))
    others = np.roll(retrieved, len(retrieved) // 2)
    parts = []
    for start in range(0, len(numbers), _BATCH):
        some = slice(start, start + _BATCH)
        output = _with_features(trained, [read(number) for number in numbers[some]])
        found, real, other = (
            _with_features(trained, [centre_crop(dataset, int(index), dataset.image_size) for index in indices[some]])
            for indices in (retrieved, described, others)
        )
        pairs = ((output, found), (real, found), (output, real), (output, other))
        parts.append(torch.stack([_distance_pair(*pair) for pair in pairs]))
    names = ("output to retrieved", "real to retrieved", "output to real", "output to another's")
    distances = torch.cat(parts, dim=2)  # (pairs, kinds, images)
    statistics = {"mean": distances.mean(dim=2), "standard_deviation": distances.std(dim=2)}
    return {"images": len(numbers)} | {
        name: {kind: dict(zip(names, values[:, place].tolist(), strict=True)) for place, kind in enumerate(_KINDS)}
        for name, values in statistics.items()
    }


def _distance_pair(first: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """Return distances (2, B) of images and their features: in pixels, in features."""
    return torch.stack([pixel_distance(first[0], other[0]), feature_distance(first[1], other[1])]).cpu()


@torch.inference_mode()
def _with_features(trained: TrainedModel, images: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return uint8 images as tensors (B, 3, s, s), and their features."""
    batch = to_tensor(images).to(trained.device)
    return batch, trained.memory_bank.features(batch)


def _diversity(
    trained: TrainedModel, dataset: PreparedDataset, manifest: dict, retrieved: Sequence[int]
) -> dict[str, object]:
    """Return mean pairwise distances: of outputs with one caption and retrieved image, of other captions, of reals."""
    numbers = np.unique(np.linspace(0, len(retrieved) - 1, _CAPTIONS).astype(int))
    noise = trained.noise(manifest["seed"], range(_NOISES))
    same, firsts = [], []
    for number in numbers:
        tokens = np.array(manifest["tokens"][number], dtype=np.int32)
        images = generate_images(trained, [tokens] * _NOISES, noise, [retrieved[number]] * _NOISES).images[-1]
        same.append(_pairwise(trained, images))
        firsts.append(images[0])
    described = [manifest["images"][number]["test_image"] for number in numbers]
    reals = [centre_crop(dataset, index, dataset.image_size) for index in described]
    rows = {
        "one caption and retrieved image, other noises": np.mean(same, axis=0),
        "other captions, one noise": _pairwise(trained, torch.stack(firsts)),
        "real test images": _pairwise(trained, to_tensor(reals).to(trained.device)),
    }
    kinds = {kind: {name: float(pair[place]) for name, pair in rows.items()} for place, kind in enumerate(_KINDS)}
    return {"captions": len(numbers), "noises": _NOISES, "mean": kinds}


@torch.inference_mode()
def _pairwise(trained: TrainedModel, images: Tensor) -> np.ndarray:
    """Return the mean distance (2,) of all pairs of images (B, 3, s, s): in pixels, in features."""
    first, second = torch.triu_indices(len(images), len(images), offset=1)
    features = trained.memory_bank.features(images)
    return _distance_pair((images[first], features[first]), (images[second], features[second])).mean(dim=1).numpy()
