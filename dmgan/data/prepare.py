"""Preparation of a data set from a source of captioned images."""

import collections
import hashlib
import json
import operator
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import NamedTuple

import PIL

from dmgan.data.dataset import FORMAT, PREPARED, READ, SPLITS, About, name_of_set, oversize, pack, record, seal
from dmgan.data.letters import FOLDED, RELEASED, write_letters
from dmgan.data.sources.example import Drawn, Example
from dmgan.data.sources.listing import Decision, Listed, Listing, draw_split
from dmgan.data.sources.photographs import Photograph, read_photograph
from dmgan.data.sources.table import Source, check_flags, check_image_size, find_source
from dmgan.data.vocabulary import Vocabulary, read_vocabulary
from dmgan.errors import UserError
from dmgan.runtime.parent import end_with_parent
from dmgan.runtime.progress import Progress, log
from dmgan.storage.files import (
    json_sha256,
    locked,
    refuse_overwrite,
    replace_folder,
    user_error_for_disk_errors,
    write_json,
)
from dmgan.storage.reading import parse_json

_CHUNK = 32  # photographs per task of a worker; a killed preparation repeats at most one chunk
_RESUMES = "free space or fix the permissions, then run the same command again, which resumes"


def prepare(
    source: Source,
    out: Path,
    image_size: int,
    given: Mapping[str, object],
    workers: int,
    strict: bool = False,
    name: str | None = None,
) -> None:
    """Prepare a source into the folder `out`; the number of workers affects only the speed.

    name: of the data set in tables, figures and MLflow; None: the name of the folder.

    given: values of the source's flags; None or a missing key means the default. UserError if a required flag is
    missing, if the source does not read a flag, or if an input is inside `out`. strict: see `prepare_photographs`.
    """
    check_flags(source, given)
    check_image_size(source, image_size)
    options = source.options(given)
    if options.get("captions_pickle") is not None:  # a vocabulary of the released code
        if given.get("letters") not in (None, RELEASED):
            raise UserError(
                f"--letters {given['letters']}: the vocabulary of --captions-pickle was made by the rule of the "
                "released code; leave --letters out"
            )
        options["letters"] = RELEASED
    refuse_sources(out, {f"--{name}": options[name] for name, flag in source.flags.items() if flag.is_input})
    images = source.collect(options, oversize(image_size))
    if isinstance(images, Drawn):
        examples = _draw_in_parallel(images.examples, workers)
        pack(examples, out, source=images.source, image_size=image_size, name=name)
        return
    captions_pickle = options.get("captions_pickle")
    vocabulary = None if captions_pickle is None else read_vocabulary(captions_pickle)
    prepare_photographs(images, out, image_size, workers, strict, vocabulary, name)


def prepare_synthbirds(
    out: Path,
    image_size: int,
    num_species: int,
    images_per_species: int,
    captions_per_image: int,
    seed: int,
    workers: int,
) -> None:
    """Draw the embedded data set into the folder `out`; the number of workers affects only the speed."""
    options = {"num_species": num_species, "images_per_species": images_per_species}
    options |= {"captions_per_image": captions_per_image, "seed": seed}
    prepare(find_source("synthbirds"), out, image_size, options, workers)


def _draw_in_parallel(examples: Sequence[Example], workers: int) -> Iterator[Example]:
    """Yield the examples in order, computed by several processes."""
    _require_workers(workers)
    try:
        with (
            Progress(len(examples), "images") as progress,
            ProcessPoolExecutor(workers, initializer=end_with_parent) as pool,
        ):
            for example in pool.map(partial(operator.getitem, examples), range(len(examples)), chunksize=64):
                progress.step()
                yield example
    except BrokenProcessPool as error:
        raise UserError(
            "--workers: a drawing process was killed, perhaps because the RAM was full; use fewer --workers and run "
            "the same command again"
        ) from error


def _require_workers(workers: int) -> None:
    if workers < 1:
        raise UserError(f"--workers {workers}: must be 1 or more")


def refuse_sources(out: Path, sources: Mapping[str, Path | None]) -> None:
    """Raise UserError if the output folder is, or contains, an input; sources: {flag: path}."""
    for flag, path in sources.items():
        if path is not None and Path(path).resolve().is_relative_to(Path(out).resolve()):
            raise UserError(f"--out {out}: would replace {flag} {path}; give another folder")


def prepare_photographs(
    listing: Listing,
    out: Path,
    image_size: int,
    workers: int,
    strict: bool = False,
    vocabulary: Vocabulary | None = None,
    name: str | None = None,
) -> None:
    """Prepare the images of a listing into the folder `out`; the number of workers affects only the speed.

    A killed preparation resumes. dataset.json records every irregular photograph with the decision taken; with
    `strict`, irregular photographs raise UserError. vocabulary: that of released encoders; None: all words of the
    captions.
    """
    _require_workers(workers)
    if image_size < 8:
        raise UserError(f"--image-size {image_size}: must be 8 or more")
    out, name = Path(out), name_of_set(name, out)
    refuse_overwrite(out, PREPARED)
    images, unknown = _drop_unknown_captions(vocabulary, listing.images)
    decisions = [*listing.decisions, *unknown]
    _require_both_splits(listing, images, decisions)
    if strict:
        _refuse_decisions(decisions, out, "no photograph has been read yet")
    with locked(out), user_error_for_disk_errors(out, _RESUMES):
        photographs = _Photographs(out, images, oversize(image_size))
        photographs.read(workers)
        entries = photographs.entries
        for image, entry in zip(images, entries, strict=True):
            decisions += [
                Decision(image.name, *found, accepted=found[0] in listing.known) for found in map(tuple, entry.found)
            ]
        kept = [(image, entry) for image, entry in zip(images, entries, strict=True) if entry.shape]
        if listing.test_share is not None:
            splits = draw_split([image.name for image, _ in kept], listing.test_share)
            kept = [(image._replace(split=splits[image.name]), entry) for image, entry in kept]
        decisions += _photographs_of_both_splits(kept)
        if strict:
            _refuse_decisions(decisions, out, "run it without --strict to accept the decisions")
        _require_both_splits(listing, [image for image, _ in kept], decisions)
        if vocabulary is None:
            vocabulary = Vocabulary.of((text for image, _ in kept for text in image.captions), listing.letters)
        said = _facts_of_captions([image for image, _ in kept], vocabulary.letters)
        enlarged = sum(entry.enlarged for entry in entries)
        origin = {
            "inputs": listing.inputs | {"images": _images_sha256(images, entries)},
            "enlarged": enlarged,
            "decisions": [each._asdict() for each in decisions],
        }
        seal(
            photographs.folder,
            [entry.shape for _, entry in kept],
            [record(image.name, image.split, image.class_id, image.captions, {}) for image, _ in kept],
            About(name, listing.source, image_size, listing.has_classes, origin),
            vocabulary,
        )
        photographs.publish()
    if enlarged:
        said.append(
            f"{enlarged:,} of {len(images):,} images or crops are smaller than {oversize(image_size)} px and were "
            "enlarged"
        )
    for each in said:
        log(f"{out}: {each}")
    log(f"{out}: {len(kept)} images kept of {len(images)}; {_summary(decisions)}")


def _require_both_splits(listing: Listing, images: Sequence[Listed], decisions: Iterable[Decision]) -> None:
    """Raise UserError with the summary of the decisions unless there are training and test images."""
    source = f"the source {listing.source['name']}"
    if not images:
        raise UserError(f"{source} has no image to prepare; {_summary(decisions)}")
    if len(images) == 1 and listing.test_share is not None:
        raise UserError(f"{source} has one image, too few for a training and a test split; {_summary(decisions)}")
    for split in SPLITS:
        if not any(image.split == split for image in images):
            raise UserError(f"{source} has no {split} image, and both splits are needed; {_summary(decisions)}")


def _facts_of_captions(images: Sequence[Listed], letters: str) -> list[str]:
    """Return what a user should know of the captions: letters that are lost, captions that images share."""
    said = []
    lost = collections.Counter(
        word
        for image in images
        for caption in image.captions
        if not caption.isascii()
        for word in re.findall(r"\w+", caption.lower())
        if not write_letters(word, letters) or (letters == RELEASED and not word.isascii())
    )
    if lost:
        word = min(lost, key=lambda word: (-lost[word], word))
        said.append(
            f"{lost.total():,} words of captions lose letters that are not ASCII, such as {word!r}, which becomes "
            f"{write_letters(word, letters)!r}, as in the released code; --letters {FOLDED} keeps them"
        )
    holders = collections.Counter(caption for image in images for caption in set(image.captions))
    shared = sum(holders[caption] > 1 for image in images for caption in image.captions)
    if shared:
        total = sum(len(image.captions) for image in images)
        said.append(
            f"{shared:,} of {total:,} captions are captions of several images; R-precision counts a caption that is "
            "equal to an image's own as found"
        )
    return said


def _photographs_of_both_splits(kept: Iterable[tuple[Listed, "_Entry"]]) -> list[Decision]:
    """Return a decision for every test image whose file has the bytes of a training image."""
    kept = list(kept)
    training = {entry.sha256: image.name for image, entry in kept if image.split == "train"}
    return [
        Decision(image.name, "test image that is also a training image", "kept in both", training[entry.sha256])
        for image, entry in kept
        if image.split == "test" and entry.sha256 in training
    ]


def _drop_unknown_captions(vocabulary: Vocabulary | None, images: list[Listed]) -> tuple[list[Listed], list[Decision]]:
    """Drop captions without a word of `vocabulary`; return the remaining images and the decisions."""
    if vocabulary is None:
        return images, []
    kept, decisions = [], []
    for image in images:
        captions = tuple(caption for caption in image.captions if len(vocabulary.encode(caption)))
        if len(captions) < len(image.captions):
            detail = f"{len(image.captions) - len(captions)} captions"
            decision = "captions left out" if captions else "image left out"
            decisions.append(Decision(image.name, "captions without a word of captions.pickle", decision, detail))
        if captions:
            kept.append(image._replace(captions=captions))
    return kept, decisions


def _refuse_decisions(decisions: list[Decision], out: Path, remark: str) -> None:
    """Write the decisions to a file and raise UserError unless all are accepted; used with --strict."""
    decisions = [each for each in decisions if not each.accepted]
    if decisions:
        path = out.with_name(f"{out.name}.decisions.json")
        write_json(path, [each._asdict() for each in decisions])
        raise UserError(f"--strict: {_summary(decisions)}; {path} lists them; {remark}")


def _summary(decisions: Iterable[Decision]) -> str:
    """Return the number of decisions by kind, on one line."""
    counts: collections.Counter = collections.Counter()
    for each in decisions:
        counts[each.found, each.decision] += each.count
    parts = [f"{count} x {found} ({decision})" for (found, decision), count in counts.most_common()]
    return "decisions: " + "; ".join(parts) if parts else "no decisions were necessary"


def _images_sha256(images: list[Listed], entries: list["_Entry"]) -> dict[str, object]:
    """Return the number of photographs and one hash over their names and file hashes, in order."""
    hasher = hashlib.sha256()
    for image, entry in zip(images, entries, strict=True):
        hasher.update(f"{image.name} {entry.sha256}\n".encode())
    return {"count": len(images), "sha256": hasher.hexdigest()}


class _Entry(NamedTuple):
    """Result of reading one photograph: one line of read.jsonl."""

    shape: list[int] | None  # height, width; None: the photograph is left out
    sha256: str
    found: list[list[str]]  # irregularities: found, decision, detail
    enlarged: bool
    end: int  # size of images.bin in bytes after the photograph


class _Photographs:
    """Unfinished preparation in the folder .NAME.partial: pixels in images.bin, one line per photograph in read.jsonl.

    A line of read.jsonl is written after the photograph's pixels are on the disk, so that a killed job leaves valid
    data up to the last complete line. If the images (by path, size, time and box) or the stored side changed, the
    preparation starts again.
    """

    def __init__(self, out: Path, images: list[Listed], shorter_side: int):
        self._out, self._images, self._shorter_side = out, images, shorter_side
        self.folder = out.with_name(f".{out.name}.partial")
        self._pixels, self._lines = self.folder / "images.bin", self.folder / READ
        self.entries: list[_Entry] = []
        wanted = {"format": FORMAT, "shorter_side": shorter_side, "pillow": PIL.__version__}
        self._header = json.dumps(wanted | {"images": json_sha256([_file_identity(image) for image in images])})
        self._resume_or_start()

    def _resume_or_start(self) -> None:
        """Load the photographs that an interrupted preparation stored, or start with an empty folder."""
        if not self.folder.exists() and _complete_lines(self._out / READ)[:1] == [self._header]:
            os.replace(self._out, self.folder)  # the process was killed in `publish`
        self.folder.mkdir(exist_ok=True)
        for name in set(os.listdir(self.folder)) - {self._pixels.name, self._lines.name}:
            (self.folder / name).unlink()  # files of another listing, or half-written files
        lines = _complete_lines(self._lines)
        if lines and lines[0] == self._header and self._pixels.exists():
            there = self._pixels.stat().st_size
            for line in lines[1:]:
                try:
                    entry = _Entry(*parse_json(line, READ, "prepare again"))
                except (UserError, TypeError):  # the line was lost in a power cut
                    break
                if type(entry.end) is not int or entry.end > there:
                    break
                self.entries.append(entry)
            log(f"resuming after {len(self.entries)} of {len(self._images)} photographs")
        with open(self._pixels, "ab") as pixels:
            pixels.truncate(self.entries[-1].end if self.entries else 0)
        kept = [self._header, *map(json.dumps, self.entries)]
        self._lines.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def read(self, workers: int) -> None:
        """Read the remaining photographs with several processes."""
        rest = self._images[len(self.entries) :]
        chunks = [rest[start : start + _CHUNK] for start in range(0, len(rest), _CHUNK)]
        try:
            with (
                open(self._pixels, "ab") as pixels,
                open(self._lines, "a", encoding="utf-8") as lines,
                ProcessPoolExecutor(workers, initializer=end_with_parent) as pool,
                Progress(len(self._images), "photographs", done=len(self.entries)) as progress,
            ):
                for chunk in _in_order(
                    pool, partial(_read_chunk, shorter_side=self._shorter_side), chunks, 3 * workers
                ):
                    self._append(chunk, pixels, lines)
                    progress.step(len(chunk))
        except BrokenProcessPool as error:
            raise UserError(
                f"{self._out}: a reading process was killed, perhaps because the RAM was full; use fewer --workers "
                "and run the same command again, which resumes"
            ) from error

    def _append(self, chunk: list[Photograph], pixels, lines) -> None:
        """Write the pixels of a chunk to the disk, then its lines of read.jsonl."""
        entries = []
        end = self.entries[-1].end if self.entries else 0
        for each in chunk:
            shape = None
            if each.pixels is not None:
                shape = list(each.pixels.shape[:2])
                pixels.write(each.pixels.tobytes())
                end += each.pixels.size
            entries.append(_Entry(shape, each.sha256, [list(found) for found in each.found], each.enlarged, end))
        pixels.flush()
        os.fdatasync(pixels.fileno())
        lines.write("".join(json.dumps(entry) + "\n" for entry in entries))
        lines.flush()
        self.entries += entries

    def publish(self) -> None:
        """Rename the complete folder to the output folder."""
        replace_folder(self.folder, self._out, PREPARED)
        (self._out / READ).unlink()  # last: as long as the file exists, the same command resumes


def _complete_lines(path: Path) -> list[str]:
    """Return the complete lines of a text file; an empty list if the file is missing."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []


def _file_identity(image: Listed) -> list[object]:
    """Return path, size, modification time and box of a photograph, by which changed files are detected."""
    status = image.path.stat()
    return [str(image.path), status.st_size, status.st_mtime_ns, image.box]


def _read_chunk(images: list[Listed], shorter_side: int) -> list[Photograph]:
    return [read_photograph(image.path, image.box, shorter_side) for image in images]


def _in_order(pool: ProcessPoolExecutor, function, items: list, ahead: int) -> Iterator:
    """Yield results in the order of `items`; at most `ahead` results are in RAM, even if the disk is slow."""
    waiting: collections.deque = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
