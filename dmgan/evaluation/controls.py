"""Control rows: image sets whose rank is known beforehand, so that a metric which ranks them otherwise is found out.

real: one half of the real test images against the other half. shuffled: the same with captions of other classes.
nearest: for each test caption the training image whose caption is closest to it, by the judge's own sentence features
(what copying the training set gets, no new image). noise: uniform noise with real captions.
adversarial: noise that was moved by gradient until the judge of R-precision finds the caption in it, for some captions.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dmgan.data.batches import to_tensor, to_uint8
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation.images import ImageFiles, ImageSet, RealImages
from dmgan.evaluation.networks import resized
from dmgan.evaluation.rprecision import mismatched_captions
from dmgan.runtime.progress import Progress
from dmgan.runtime.randomness import generator
from dmgan.sampling.image_folder import MANIFEST
from dmgan.storage import files
from dmgan.text.damsm import Damsm

CONTROLS = ("real", "shuffled", "nearest", "noise", "adversarial")
ADVERSARIAL_STEPS, ADVERSARIAL_LR = 40, 0.05
ADVERSARIAL_IMAGES = 1000  # at most: 40 steps through an Inception take their time
_ADVERSARIAL = files.OwnFiles("controls", (MANIFEST,), r"manifest\.json|\d+\.png")
_BATCH = 64
_ALL, _HALF = "all real test images, centre crop", "the other half of the real test images, centre crop"


class NoiseImages:
    """Uniform noise."""

    def __init__(self, seed: int, size: int):
        self.seed, self.size = seed, size

    def __call__(self, number: int) -> np.ndarray:
        shape = (self.size, self.size, 3)
        return generator(self.seed, "noise pixels", number).integers(256, size=shape, dtype=np.uint8)

    def name(self, number: int) -> str:
        return f"noise image {number}"


def control_images(
    control: str, dataset: PreparedDataset, encoders: Damsm, size: int, seed: int, folder: Path, device: torch.device
) -> ImageSet:
    """A control row; what must be made for it is kept in `folder`. `encoders` are the judge of R-precision."""
    if control not in CONTROLS:
        raise UserError(f"control {control!r}: is unknown; known are {', '.join(CONTROLS)}")
    tokens_of = encoders.caption_reader(
        dataset, f"{dataset.folder}: its vocabulary is not that of the encoders; give the encoders of this data set"
    )
    test = generator(seed, "halves of the test images").permutation(dataset.indices("test"))
    halved = control in ("real", "shuffled")
    shown = np.sort(test[: len(test) // 2]) if halved else np.sort(test)
    if control == "adversarial":
        shown = np.sort(test[:ADVERSARIAL_IMAGES])
    captions = np.array([generator(seed, "control caption", i).integers(dataset.caption_count(i)) for i in shown])
    described = shown
    if control == "shuffled":
        described = _of_other_classes(shown, dataset, seed)
        captions = np.array([c % dataset.caption_count(i) for c, i in zip(captions, described, strict=True)])
    tokens = [tokens_of(i, c) for i, c in zip(described, captions, strict=True)]

    inputs: dict[str, object] = {"control_seed": seed}
    if control == "nearest":
        read = RealImages(dataset, nearest_training_images(dataset, encoders, tokens_of, tokens), size)
        inputs["nearest_by"] = "greatest cosine of sentence features, caption to caption"
    elif control == "noise":
        read = NoiseImages(seed, size)
    elif control == "adversarial":
        read = adversarial_images(folder / "images", encoders, tokens, NoiseImages(seed, size), dataset.sha256, device)
        inputs |= {"steps": ADVERSARIAL_STEPS, "learning_rate": ADVERSARIAL_LR}
    else:
        read = RealImages(dataset, shown, size)
    return ImageSet(
        kind="control",
        name=control,
        seed=None,
        size=size,
        read=read,
        test_images=described,
        captions=captions,
        tokens=tokens,
        reference=np.sort(test[len(test) // 2 :] if halved else test),
        reference_name=_HALF if halved else _ALL,
        inputs=inputs,
    )


def _of_other_classes(shown: np.ndarray, dataset: PreparedDataset, seed: int) -> np.ndarray:
    """For each image another test image of another class."""
    position = mismatched_captions(dataset.class_ids[shown], dataset.class_ids[shown], seed)[:, 0]
    return shown[position]


def sentences(encoders: Damsm, captions: list[np.ndarray]) -> Tensor:
    """Sentence features (N, E) of captions given as token arrays, on the CPU."""
    starts = range(0, len(captions), 256)
    return torch.cat([encoders.encode_captions(captions[i : i + 256]).sentence.cpu() for i in starts])


def nearest_training_images(
    dataset: PreparedDataset,
    encoders: Damsm,
    tokens_of: Callable[[int, int], np.ndarray],
    captions: list[np.ndarray],
) -> np.ndarray:
    """For each caption the training image one of whose captions has the greatest cosine with it, (N,)."""
    train = dataset.indices("train")
    counts = [dataset.caption_count(image) for image in train]
    owners = np.repeat(train, counts)
    texts = [tokens_of(image, number) for image, n in zip(train, counts, strict=True) for number in range(n)]
    known = F.normalize(sentences(encoders, texts), dim=1)
    asked = F.normalize(sentences(encoders, captions), dim=1)
    best = torch.cat([(each @ known.t()).argmax(dim=1) for each in asked.split(1024)])
    return owners[best.numpy()]


def adversarial_images(
    folder: Path,
    encoders: Damsm,
    captions: list[np.ndarray],
    start: NoiseImages,
    data_sha256: dict[str, str],
    device: torch.device,
) -> ImageFiles:
    """Noise after some steps of Adam on the cosine of its DAMSM code with its caption, written as PNG files.

    Pixels stay in [-1, 1] and are rounded to 8 bits, as every judged image is. A folder that was made in the same way
    is kept.
    """
    made = {
        "damsm_sha256": encoders.sha256,
        "data_sha256": data_sha256,
        "seed": start.seed,
        "size": start.size,
        "count": len(captions),
        "steps": ADVERSARIAL_STEPS,
        "learning_rate": ADVERSARIAL_LR,
    }
    paths = [folder / f"{number:06d}.png" for number in range(len(captions))]
    images = ImageFiles(paths, start.size, f"delete {folder} and evaluate again")
    if (folder / MANIFEST).exists() and files.read_json(folder / MANIFEST, f"delete {folder}") == made:
        return images
    wanted = F.normalize(sentences(encoders, captions), dim=1)
    progress = Progress(len(captions), "adversarial images")
    with files.atomic_folder(folder, _ADVERSARIAL) as temporary:
        for first in range(0, len(captions), _BATCH):
            numbers = range(first, min(first + _BATCH, len(captions)))
            noise = to_tensor([start(number) for number in numbers]).to(device)
            moved = _towards_captions(noise, wanted[numbers.start : numbers.stop].to(device), encoders)
            for number, pixels in zip(numbers, to_uint8(moved), strict=True):
                Image.fromarray(pixels).save(temporary / paths[number].name)
            progress.step(len(numbers))
        files.write_json(temporary / MANIFEST, made)
    progress.close()
    return images


def _towards_captions(images: Tensor, wanted: Tensor, encoders: Damsm) -> Tensor:
    """Images (B, 3, s, s) moved until their codes point where sentences `wanted` (B, E), of length 1, do."""
    images = images.clone().requires_grad_(True)
    adam = torch.optim.Adam([images], lr=ADVERSARIAL_LR)
    for _ in range(ADVERSARIAL_STEPS):
        seen = images if encoders.options.image_encoder == "inception" else resized(images, encoders.options.image_size)
        _, codes = encoders.image_encoder(seen)
        adam.zero_grad(set_to_none=True)
        (-(F.normalize(codes, dim=1) * wanted).sum()).backward()
        adam.step()
        with torch.no_grad():
            images.clamp_(-1, 1)
    return images.detach()
