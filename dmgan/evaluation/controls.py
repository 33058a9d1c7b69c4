"""Control rows: image sets whose rank is known beforehand. A metric that ranks them differently is not evidence.

real: one half of the real test images against the other half. shuffled: the images of `real`, with captions of other
classes. nearest: for each test caption the training image with the closest caption, by the DAMSM's sentence features;
the score of copying the training set. noise: uniform noise with real captions. adversarial: noise optimised by gradient
until the DAMSM of R-precision retrieves its caption, for at most `adversarial_images` captions.
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
from dmgan.evaluation.image_sets import ALL_TEST_IMAGES, ImageFiles, ImageSet, RealImages
from dmgan.evaluation.networks.damsm import sentence_features
from dmgan.evaluation.statistics.retrieval import mismatched_captions
from dmgan.options import CONTROLS, EvaluationOptions
from dmgan.runtime.progress import Progress, log
from dmgan.runtime.randomness import generator
from dmgan.sampling.image_folder import MANIFEST
from dmgan.storage import files
from dmgan.storage.reading import read_object
from dmgan.storage.seals import is_unaltered, write_sealed_json
from dmgan.text.damsm import Damsm
from dmgan.training.optimizers import PlainAdam

ADVERSARIAL_STEPS, ADVERSARIAL_LR = 40, 0.05
_ADVERSARIAL = files.OwnFiles("controls", (MANIFEST,), r"manifest\.json|\d+\.png")
_BATCH = 64
_HALF = "the other half of the real test images, centre crop"


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
    control: str,
    dataset: PreparedDataset,
    encoders: Damsm,
    size: int,
    options: EvaluationOptions,
    folder: Path,
    device: torch.device,
) -> ImageSet:
    """Return the image set of a control row; adversarial images are stored in `folder`.

    encoders: the DAMSM of R-precision. Raise UserError for an unknown control, or if the vocabularies of encoders and
    data set differ.
    """
    if control not in CONTROLS:
        raise UserError(f"control {control!r}: unknown; known controls are {', '.join(CONTROLS)}")
    tokens_of = encoders.caption_reader(
        dataset, f"{dataset.folder}: its vocabulary is not that of the encoders; give the encoders of this data set"
    )
    seed = options.seed
    test = generator(seed, "halves of the test images").permutation(dataset.indices("test"))
    halved = control in ("real", "shuffled")
    shown = np.sort(test[: len(test) // 2]) if halved else np.sort(test)
    if control == "adversarial":
        shown = np.sort(test[: options.adversarial_images])
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
        reference_name=_HALF if halved else ALL_TEST_IMAGES,
        inputs=inputs,
    )


def _of_other_classes(shown: np.ndarray, dataset: PreparedDataset, seed: int) -> np.ndarray:
    """Return, for each image, a test image of another class."""
    position = mismatched_captions(dataset.class_ids[shown], dataset.class_ids[shown], seed)[:, 0]
    return shown[position]


def nearest_training_images(
    dataset: PreparedDataset,
    encoders: Damsm,
    tokens_of: Callable[[int, int], np.ndarray],
    captions: list[np.ndarray],
) -> np.ndarray:
    """Return, for each caption, the training image whose caption has the greatest cosine similarity, (N,)."""
    train = dataset.indices("train")
    counts = [dataset.caption_count(image) for image in train]
    owners = np.repeat(train, counts)
    texts = [tokens_of(image, number) for image, n in zip(train, counts, strict=True) for number in range(n)]
    training_sentences = F.normalize(sentence_features(encoders, texts), dim=1)
    test_sentences = F.normalize(sentence_features(encoders, captions), dim=1)
    best = torch.cat([(block @ training_sentences.t()).argmax(dim=1) for block in test_sentences.split(1024)])
    return owners[best.numpy()]


def adversarial_images(
    folder: Path,
    encoders: Damsm,
    captions: list[np.ndarray],
    start: NoiseImages,
    data_sha256: dict[str, str],
    device: torch.device,
) -> ImageFiles:
    """Return PNG files of noise, optimised by Adam to raise the cosine of image and caption embeddings of the DAMSM.

    Pixels stay in [-1, 1] and are rounded to 8 bits, as in all image sets. A folder of the same inputs is reused.
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
    if (folder / MANIFEST).exists():
        written = read_object(folder / MANIFEST, f"delete {folder}", {}, check=False)
        if {name: written.get(name) for name in made} == made:
            if is_unaltered(folder, written):
                return images
            log(f"{folder}: its images changed after they were made; making them again")
    wanted = F.normalize(sentence_features(encoders, captions), dim=1)
    with (
        Progress(len(captions), "adversarial images") as progress,
        files.atomic_folder(folder, _ADVERSARIAL) as temporary,
    ):
        for first in range(0, len(captions), _BATCH):
            numbers = range(first, min(first + _BATCH, len(captions)))
            noise = to_tensor([start(number) for number in numbers]).to(device)
            moved = _towards_captions(noise, wanted[numbers.start : numbers.stop].to(device), encoders)
            for number, pixels in zip(numbers, to_uint8(moved), strict=True):
                Image.fromarray(pixels).save(temporary / paths[number].name)
            progress.step(len(numbers))
        write_sealed_json(temporary / MANIFEST, made, [path.name for path in paths])
    return images


def _towards_captions(images: Tensor, wanted: Tensor, encoders: Damsm) -> Tensor:
    """Return images (B, 3, s, s) optimised to raise the cosine of their embeddings with sentences `wanted` (B, E)."""
    images = images.clone().requires_grad_(True)
    adam = PlainAdam([images], lr=ADVERSARIAL_LR)
    for _ in range(ADVERSARIAL_STEPS):
        _, embeddings = encoders.encode_images(images)
        adam.zero_grad(set_to_none=True)
        (-(F.normalize(embeddings, dim=1) * wanted).sum()).backward()
        adam.step()
        with torch.no_grad():
            images.clamp_(-1, 1)
    return images.detach()
