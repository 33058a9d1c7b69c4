"""Image sets of any program: a folder of image files, with or without a file of captions.

The images are read in the order of their paths, as torch-fidelity and clean-fid read a folder. Every file is decoded
once before anything is computed, so that one error names all faults.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dmgan.data.dataset import PreparedDataset
from dmgan.data.letters import RELEASED
from dmgan.data.names import is_table_name
from dmgan.data.sources.listing import SUFFIXES, files_under, is_image, is_unread_image
from dmgan.data.sources.photographs import Found, read_photograph
from dmgan.data.vocabulary import caption_to_words
from dmgan.errors import UserError
from dmgan.evaluation.captions_file import CAPTIONS, CaptionLine, Faults, read_captions_file
from dmgan.evaluation.free_captions import FreeCaptions
from dmgan.evaluation.image_sets import AnyImages, ImageSet, RealImageSet
from dmgan.runtime.progress import Progress, log
from dmgan.runtime.threads import available_threads
from dmgan.storage import files
from dmgan.storage.weights import shortened

MATCHED, FREE, NO_CAPTIONS = "captions of the test set", "captions of their own", "no captions"
NO_REFERENCE = "no reference images"


class OwnImages(NamedTuple):
    """A folder of images to measure."""

    folder: Path
    name: str  # of the method, in tables
    captions: Path | None = None  # JSON lines; None: captions.jsonl in the folder, if there is one
    free: bool = False  # captions that are not those of the test set are allowed beside captions that are


class _Surveyed(NamedTuple):
    """What is known of a folder's images after each was decoded once."""

    names: list[str]  # paths within the folder, ascending
    sha256: list[str]  # of the files
    shapes: list[tuple[int, int]]  # height and width, px
    decisions: dict[str, list[str]]  # conversion -> images


def list_images(folder: Path, named: Sequence[str], faults: Faults) -> _Surveyed:
    """Decode every image under `folder`; unreadable files and files of unread kinds are added to `faults`.

    named: files that are images whatever their suffix.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; give the folder that holds the images")
    every = files_under(folder)
    wanted = set(named)
    for name in every:
        if is_unread_image(name) and name not in wanted:
            faults.add("files of an unread kind (convert them to PNG)", name)
    names = [name for name in every if is_image(name) or name in wanted]
    if not names:
        kinds = ", ".join(each[1:] for each in SUFFIXES)
        hint = " (--reference-features names a folder of stored features)" if "reference.json" in every else ""
        raise UserError(f"{folder}: holds no readable image ({kinds}); give the folder of the images{hint}")
    seen = []
    with (
        ThreadPoolExecutor(min(8, available_threads())) as pool,  # Pillow decodes without Python's lock
        Progress(len(names), "files checked") as progress,
    ):
        for each in pool.map(_decoded, [folder / name for name in names]):
            seen.append(each)
            progress.step()
    decisions: dict[str, list[str]] = {}
    for name, (_, shape, found) in zip(names, seen, strict=True):
        if shape is None:
            faults.add("unreadable images", f"{name} ({found[-1].found})")
            continue
        for each in found:
            decisions.setdefault(f"{each.found}: {each.decision}", []).append(name)
    return _Surveyed(names, [sha256 for sha256, _, _ in seen], [shape for _, shape, _ in seen], decisions)


def _decoded(path: Path) -> tuple[str, tuple[int, int] | None, tuple[Found, ...]]:
    """Return the SHA-256 of a file, the shape of its image (None: unreadable) and the decisions on it."""
    read = read_photograph(path, None, None)
    return read.sha256, None if read.pixels is None else read.pixels.shape[:2], read.found


def reference_images(folder: Path, features: Path) -> RealImageSet:
    """Return all images of a folder as real images; raise UserError naming all files that cannot be read."""
    faults = Faults()
    surveyed = list_images(folder, (), faults)
    faults.refuse(Path(folder))
    _log_decisions(Path(folder), surveyed)
    paths = [Path(folder) / name for name in surveyed.names]
    return RealImageSet(AnyImages(paths), np.arange(len(paths)), features)


def read_external_images(
    own: OwnImages, dataset: PreparedDataset | None, real: RealImageSet | None, title: str
) -> tuple[ImageSet, "PreparedDataset | FreeCaptions"]:
    """Return the image set of a folder, and the captions that metrics read: those of `dataset`, or the folder's own.

    real: the images to compare with; title: what they are. Raise UserError naming every image without a caption, every
    caption without an image, repeated images and unreadable files.
    """
    if not is_table_name(own.name) or "|" in own.name:
        raise UserError(
            f"--name {own.name!r}: stands in tables; give a name of printable characters without | that does not begin "
            "with = + - @, which spreadsheets execute"
        )
    folder, faults = Path(own.folder), Faults()
    path = own.captions or (folder / CAPTIONS if (folder / CAPTIONS).is_file() else None)
    letters = RELEASED if dataset is None else dataset.vocabulary.letters
    lines = {} if path is None else read_captions_file(path, faults, letters)
    surveyed = list_images(folder, lines, faults)
    if path is not None:
        for name in surveyed.names:
            if name not in lines:
                faults.add(f"images without a line in {path.name}", name)
        for name in sorted(set(lines).difference(surveyed.names)):
            faults.add(f"lines of {path.name} without an image in the folder", name)
    faults.refuse(folder)
    _log_decisions(folder, surveyed)
    each = [lines[name] for name in surveyed.names] if path is not None else []
    test_set, test_images, captions, kind = _captions(own, path, each, dataset, title, len(surveyed.names))
    own_captions = test_set.captions_sha256 if kind == FREE else None
    sides = {side for shape in surveyed.shapes for side in shape}
    subject = ImageSet(
        kind="external",
        name=own.name,
        seed=None,
        size=sides.pop() if len(sides) == 1 else None,
        read=AnyImages([folder / name for name in surveyed.names]),
        test_images=test_images,
        captions=captions,
        tokens=[],
        reference=np.arange(0) if real is None else real.numbers,
        reference_name=title,
        inputs={"files_sha256": _files_sha256(surveyed), "sizes": _sizes(surveyed.shapes), "captions": kind}
        | ({} if own_captions is None else {"captions_sha256": own_captions}),
        free_captions=own_captions,
        folder=folder,
        captions_file=path,
    )
    return subject, test_set


def folder_sha256(folder: Path, captions_file: Path | None) -> str:
    """Return the hash of the names and bytes of a folder's images, as metrics.json records it in `files_sha256`.

    Raise UserError if a file is unreadable.
    """
    faults = Faults()
    surveyed = list_images(folder, {} if captions_file is None else read_captions_file(captions_file, faults), faults)
    faults.refuse(folder)
    return _files_sha256(surveyed)


def _files_sha256(surveyed: _Surveyed) -> str:
    return files.json_sha256(list(zip(surveyed.names, surveyed.sha256, strict=True)))


def _captions(
    own: OwnImages,
    path: Path | None,
    lines: Sequence[CaptionLine],
    dataset: PreparedDataset | None,
    title: str,
    count: int,
) -> "tuple[PreparedDataset | FreeCaptions, np.ndarray, np.ndarray, str]":
    """Return the set of captions, the test image and caption (N,) of every image in it, and the kind of captions."""
    if path is None:
        log(f"{own.folder}: no captions; metrics that read captions are left out")
        free = FreeCaptions(Path(own.folder), [], dataset, title)
        return free, np.arange(count), np.full(count, -1), NO_CAPTIONS
    if dataset is not None:
        found, unmatched = match_captions(lines, dataset, path)
        if not unmatched:
            return dataset, found[:, 0], found[:, 1], MATCHED
        if len(unmatched) < len(lines) and not own.free:
            raise UserError(
                f"{path}: {len(unmatched)} of {len(lines)} captions are not captions of the test images of "
                f"{dataset.folder}: {shortened([repr(each) for each in unmatched])}; correct them, or give "
                "--free-captions to measure all as captions of their own"
            )
    log(f"{path}: captions of their own; mismatched captions are drawn from this file")
    free = FreeCaptions(path, lines, dataset, title)
    return free, free.rows, np.zeros(count, dtype=int), FREE


def match_captions(
    lines: Sequence[CaptionLine], dataset: PreparedDataset, source: Path
) -> tuple[np.ndarray, list[str]]:
    """Return the test image and the caption number of every line (N, 2), and the captions that were not found.

    Captions agree if their words do, as models of this data set read them. A caption that several test images have is
    dealt to them in turn, unless the line names the test image.
    """
    letters = dataset.vocabulary.letters
    places: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for image in dataset.indices("test"):
        for number in range(dataset.caption_count(image)):
            words = tuple(caption_to_words(dataset.caption(image, number), letters))
            places.setdefault(words, []).append((int(image), number))
    dealt: Counter = Counter()
    found, unmatched, several = [], [], 0
    for line in lines:
        words = tuple(caption_to_words(line.text, letters))
        fitting = [each for each in places.get(words, []) if line.real_image in (None, dataset.name(each[0]))]
        if not fitting:
            unmatched.append(line.text)
            continue
        key = (words, line.real_image)
        found.append(fitting[dealt[key] % len(fitting)])
        dealt[key] += 1
        several += len({image for image, _ in fitting}) > 1
    if several and not unmatched:
        log(f"{source}: {several} captions are of several test images and were dealt to them in turn")
    return np.array(found, dtype=int).reshape(-1, 2), unmatched


def _log_decisions(folder: Path, surveyed: _Surveyed) -> None:
    for decision, names in surveyed.decisions.items():
        log(f"{folder}: {decision}: {shortened(names)}")
    first_of: dict[str, str] = {}
    equal = [
        f"{name} = {first_of[sha256]}"
        for name, sha256 in zip(surveyed.names, surveyed.sha256, strict=True)
        if first_of.setdefault(sha256, name) != name
    ]
    if equal:
        log(f"{folder}: equal files, all of which count: {shortened(equal)}")


def _sizes(shapes: Sequence[tuple[int, int]]) -> str:
    """Return the sizes of the images in words."""
    ascending = sorted(set(shapes), key=lambda shape: (shape[0] * shape[1], shape))
    told = [f"{width}x{height} px" for height, width in ascending]
    return told[0] if len(told) == 1 else f"{len(told)} sizes from {told[0]} to {told[-1]}"
