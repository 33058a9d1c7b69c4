"""Image sets that evaluations read: sampled images, images of any folder, and real images."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import UnidentifiedImageError

from dmgan.data.batches import centre_crop
from dmgan.data.dataset import PreparedDataset
from dmgan.data.sources.photographs import read_photograph
from dmgan.errors import UserError
from dmgan.sampling.image_folder import MANIFEST
from dmgan.storage.png import read_png
from dmgan.storage.reading import read_object

ALL_TEST_IMAGES = "all real test images, centre crop"


class Images(Protocol):
    """Images by number; can be pickled for worker processes."""

    def __call__(self, number: int) -> np.ndarray:
        """Return pixels (h, w, 3) uint8; raise UserError naming the image if it cannot be read."""

    def name(self, number: int) -> str:
        """Return the image's name for error messages."""


class ImageFiles:
    """Square images of `size` px in PNG files, in the order of `paths`."""

    def __init__(self, paths: Sequence[Path], size: int, hint: str):
        self.paths, self.size, self.hint = list(paths), size, hint

    def __call__(self, number: int) -> np.ndarray:
        try:
            pixels = read_png(self.paths[number])
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


class AnyImages:
    """Images of any size and kind in files, upright and RGB by the rules of dmgan/data/sources/photographs.py."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = list(paths)

    def __call__(self, number: int) -> np.ndarray:
        photograph = read_photograph(self.paths[number], None, None)
        if photograph.pixels is None:
            reason = photograph.found[-1]
            raise UserError(f"{self.name(number)}: {reason.found}; replace the file, or remove it from the folder")
        return photograph.pixels

    def name(self, number: int) -> str:
        return str(self.paths[number])


class RealImages:
    """Centre crops of a prepared data set; every worker process opens the data set."""

    def __init__(self, dataset: PreparedDataset, indices: np.ndarray, size: int):
        self.dataset, self.indices, self.size = dataset, indices, size

    def __reduce__(self):
        return _open_real_images, (self.dataset.folder, self.indices, self.size)

    def __call__(self, number: int) -> np.ndarray:
        return centre_crop(self.dataset, self.indices[number], self.size)

    def name(self, number: int) -> str:
        return f"{self.dataset.folder}: {self.dataset.name(self.indices[number])}"


def _open_real_images(folder: Path, indices: np.ndarray, size: int) -> RealImages:
    return RealImages(PreparedDataset(folder, check=False), indices, size)


class RealImageSet(NamedTuple):
    """Real images that image sets are compared with."""

    read: Images
    numbers: np.ndarray  # of the images, ascending: in a prepared data set, or 0 ... N - 1
    features: Path  # folder that stores their features


def real_test_images(dataset: PreparedDataset, features: Path) -> RealImageSet:
    """Return all real test images of a prepared data set: centre crops at training size."""
    test = dataset.indices("test")
    return RealImageSet(RealImages(dataset, test, dataset.image_size), test, features)


class ImageSet(NamedTuple):
    """Images under evaluation, with the caption of each image."""

    kind: str  # "model", "control", or "external": images of any program
    name: str
    seed: int | None  # training seed
    size: int | None  # side in px; None: not all images are squares of one side
    read: Images
    test_images: np.ndarray  # (N,) test image that the caption belongs to
    captions: np.ndarray  # (N,) number of the caption among those of that test image; -1: images without captions
    tokens: Sequence[np.ndarray]  # caption tokens as the generator read them
    reference: np.ndarray  # numbers of the real test images that the set is compared with
    reference_name: str
    inputs: dict[str, object]
    imported: bool = False  # released weights, not trained here
    selection: dict[str, object] | None = None  # rule and step by which training chose the weights; None: not known
    class_of: np.ndarray | None = None  # (N,) COCO class that each image was made for (`sample --soa`)
    free_captions: str | None = None  # SHA-256 of captions that are not those of the prepared test set
    folder: Path | None = None  # of images of another program
    captions_file: Path | None = None  # of images of another program

    def __len__(self) -> int:
        return len(self.test_images)


def sampled_images(folder: Path, dataset: PreparedDataset) -> ImageSet:
    """Return the images that `sample` wrote, to compare with all real test images; raise UserError if one is missing.
    The manifest lists the images and their order, so that the order of the directory listing has no influence.
    """
    folder = Path(folder)
    hint = "sample the images again: python -m dmgan sample --run FOLDER --data FOLDER --out " + str(folder)
    manifest = read_manifest(folder, hint)
    if manifest["data_sha256"] != dataset.sha256:
        raise UserError(f"{folder}: was sampled from captions of another data set than {dataset.folder}; {hint}")
    _check_captions(manifest, dataset, folder / MANIFEST, hint)
    read = sampled_files(folder, manifest, hint)
    paths = read.paths
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
        read=read,
        test_images=np.array([each["test_image"] for each in manifest["images"]]),
        captions=np.array([each["caption"] for each in manifest["images"]]),
        tokens=[np.array(tokens, dtype=np.int32) for tokens in manifest["tokens"]],
        reference=dataset.indices("test"),
        reference_name=ALL_TEST_IMAGES,
        inputs={
            "generator_sha256": manifest["generator_sha256"],
            "sampling_seed": manifest["seed"],
            "vocabulary_sha256": manifest["vocabulary_sha256"],
            "variant": manifest["variant"],
            **{name: manifest[name] for name in ("hyperparameters", "test_order") if name in manifest},
            "longest_caption_read": max(len(tokens) for tokens in manifest["tokens"]),  # in words, by the generator
            **_retrieval_settings(manifest),
        },
        imported=manifest["imported"],
        selection=manifest.get("selection"),
        class_of=np.array(manifest["soa_classes"]) if "soa_classes" in manifest else None,
    )


def _check_captions(manifest: dict, dataset: PreparedDataset, path: Path, hint: str) -> None:
    """Raise UserError if a manifest names an image that is not of the test set, or a caption that the image lacks."""
    test = set(dataset.indices("test").tolist())
    for each in manifest["images"]:
        if each["test_image"] not in test or not 0 <= each["caption"] < dataset.caption_count(each["test_image"]):
            what = f"caption {each['caption']} of image {each['test_image']} is not in the test set"
            raise UserError(f"{path}: is damaged ({what}); {hint}")


_MANIFEST = {  # entries that evaluations read, as in dmgan.storage.reading.read_object
    "model": str, "training_seed": (int, None), "image_size": int, "images": [{"test_image": int, "caption": int}],
    "tokens": [[int]], "data_sha256": dict, "generator_sha256": str, "seed": int, "vocabulary_sha256": str,
    "variant": dict, "imported": bool, "selection?": (None, dict), "soa_classes?": [int],
    "retrieval?": {"images": [int], "method": str, "data_sha256": dict},
}  # fmt: skip


def read_manifest(folder: Path, hint: str) -> dict:
    """Return the manifest.json that `sample` wrote; UserError that ends with `hint` if it is missing or damaged."""
    path = Path(folder) / MANIFEST
    manifest = read_object(path, hint, _MANIFEST)
    images, tokens = manifest["images"], manifest["tokens"]
    lengths = {len(images), len(tokens), len(manifest.get("soa_classes", images))}
    if lengths == {0} or len(lengths) > 1 or not all(tokens):
        raise UserError(f"{path}: is damaged (its images, tokens and classes are not of the same images); {hint}")
    if not all(0 <= token < 1 << 31 for each in tokens for token in each):
        raise UserError(f"{path}: is damaged (a token is no word of a vocabulary); {hint}")
    return manifest


def sampled_files(folder: Path, manifest: dict, hint: str = "sample the images again") -> ImageFiles:
    """Return the images of the last stage that `sample` wrote, in the order of its manifest."""
    suffix = "" if (folder / "000000.png").exists() else f"_{manifest['image_size']}"
    paths = [folder / f"{number:06d}{suffix}.png" for number in range(len(manifest["images"]))]
    return ImageFiles(paths, manifest["image_size"], hint)


def _retrieval_settings(manifest: dict) -> dict[str, object]:
    """Return the retrieval settings of a model that retrieves images; an empty dict for other models."""
    used = manifest.get("retrieval")
    return {} if used is None else {"retrieval": {key: value for key, value in used.items() if key != "images"}}
