"""The images an evaluation reads: sampled ones, real ones, and how each is named when it is wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from dmgan.data.batches import centre_crop
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.sampling.image_folder import MANIFEST
from dmgan.storage import files


class Images(Protocol):
    """Images by number. An object that pickles, so that worker processes can be given it, however they start."""

    def __call__(self, number: int) -> np.ndarray:
        """Pixels (s, s, 3) uint8; UserError naming the image where it cannot be read."""

    def name(self, number: int) -> str:
        """What a message calls the image."""


class ImageFiles:
    """Images in files, in the order given; all of one side."""

    def __init__(self, paths: Sequence[Path], size: int, hint: str):
        self.paths, self.size, self.hint = list(paths), size, hint

    def __call__(self, number: int) -> np.ndarray:
        try:
            with Image.open(self.paths[number]) as image:
                pixels = np.asarray(image.convert("RGB"))
        # Pillow raises SyntaxError or ValueError for a broken PNG.
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
            raise UserError(f"{self.name(number)}: is not a readable image ({error}); {self.hint}") from error
        if pixels.shape[:2] != (self.size, self.size):
            raise UserError(
                f"{self.name(number)}: is {pixels.shape[1]}x{pixels.shape[0]} px, not {self.size}x{self.size}; "
                f"{self.hint}"
            )
        return pixels

    def name(self, number: int) -> str:
        return str(self.paths[number])


class RealImages:
    """Centre crops of a prepared data set; a worker opens the data set itself."""

    def __init__(self, dataset: PreparedDataset, indices: np.ndarray, size: int):
        self.dataset, self.indices, self.size = dataset, indices, size

    def __reduce__(self):
        return _open_real_images, (self.dataset.folder, self.indices, self.size)

    def __call__(self, number: int) -> np.ndarray:
        return centre_crop(self.dataset, self.indices[number], self.size)

    def name(self, number: int) -> str:
        return f"{self.dataset.folder}: {self.dataset.name(self.indices[number])}"


def _open_real_images(folder: Path, indices: np.ndarray, size: int) -> RealImages:
    return RealImages(PreparedDataset(folder), indices, size)


class ImageSet(NamedTuple):
    """Images to judge, each with the caption it should show."""

    kind: str  # "model" or "control"
    name: str
    seed: int | None  # of the training
    size: int  # side in px
    read: Images
    test_images: np.ndarray  # (N,) test image whose class the caption has
    captions: np.ndarray  # (N,) which of that image's captions
    tokens: Sequence[np.ndarray]  # the caption as the generator read it
    reference: np.ndarray  # numbers of the real test images it is compared with
    reference_name: str
    inputs: dict[str, object]
    imported: bool = False  # released weights, not trained here
    class_of: np.ndarray | None = None  # (N,) the one COCO class each image was made for, of images made for SOA

    def __len__(self) -> int:
        return len(self.test_images)


def sampled_images(folder: Path, dataset: PreparedDataset) -> ImageSet:
    """The images that `sample` wrote, against all real test images; a missing image is a UserError.

    The manifest says which images there are and in which order: nothing hangs on how the folder lists its files.
    """
    folder = Path(folder)
    hint = "sample the images again: python -m dmgan sample --run FOLDER --data FOLDER --out " + str(folder)
    manifest = files.read_json(folder / MANIFEST, hint)
    if manifest["data_sha256"] != dataset.sha256:
        raise UserError(f"{folder}: was sampled from captions of another data set than {dataset.folder}; {hint}")
    suffix = "" if (folder / "000000.png").exists() else f"_{manifest['image_size']}"
    paths = [folder / f"{number:06d}{suffix}.png" for number in range(len(manifest["images"]))]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(paths)} images are missing, the first is {missing[0]}; {hint}"
        )
    return ImageSet(
        kind="model",
        name=manifest["model"],
        seed=manifest["training_seed"],
        size=manifest["image_size"],
        read=ImageFiles(paths, manifest["image_size"], hint),
        test_images=np.array([each["test_image"] for each in manifest["images"]]),
        captions=np.array([each["caption"] for each in manifest["images"]]),
        tokens=[np.array(tokens, dtype=np.int32) for tokens in manifest["tokens"]],
        reference=dataset.indices("test"),
        reference_name="all real test images, centre crop",
        inputs={
            "generator_sha256": manifest["generator_sha256"],
            "sampling_seed": manifest["seed"],
            "vocabulary_sha256": manifest["vocabulary_sha256"],
            "variant": manifest["variant"],
            "longest_caption_read": max(len(tokens) for tokens in manifest["tokens"]),  # in words, by the generator
            **_memory_used(manifest),
        },
        imported=manifest["imported"],
        class_of=np.array(manifest["soa_classes"]) if "soa_classes" in manifest else None,
    )


def _memory_used(manifest: dict) -> dict[str, object]:
    """How a model that retrieves did so; nothing of others."""
    used = manifest.get("retrieval")
    return {} if used is None else {"retrieval": {key: value for key, value in used.items() if key != "images"}}
