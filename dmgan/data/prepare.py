"""Preparation of a data set from a source of captioned images."""

import collections
import hashlib
import json
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import PIL

from dmgan.data.dataset import FORMAT, PREPARED, READ, oversize, pack, record, seal
from dmgan.data.sources.example import Drawn, Example
from dmgan.data.sources.listing import Decision, Listed, Listing
from dmgan.data.sources.photographs import Photograph, read_photograph
from dmgan.data.sources.table import Source, check_flags, find_source
from dmgan.data.vocabulary import Vocabulary, read_vocabulary
from dmgan.errors import UserError
from dmgan.runtime.parent import end_with_parent
from dmgan.runtime.progress import Progress, log
from dmgan.storage.files import json_sha256, locked, refuse_overwrite, replace_folder, write_json

_CHUNK = 32  # photographs per task of a worker; a killed preparation repeats at most one chunk


def prepare(
    source: Source, out: Path, image_size: int, given: Mapping[str, object], workers: int, strict: bool = False
) -> None:
    """Prepare a source into the folder `out`; the number of workers affects only the speed.

    given: values of the source's flags; None or a missing key means the default. UserError if a required flag is
    missing, if the source does not read a flag, or if an input is inside `out`. strict: see `prepare_photographs`.
    """
    check_flags(source, given)
    options = source.options(given)
    refuse_sources(out, {f"--{name}": options[name] for name, flag in source.flags.items() if flag.is_input})
    images = source.collect(options, oversize(image_size))
    if isinstance(images, Drawn):
        pack(_draw_in_parallel(images.examples, workers), out, source=images.source, image_size=image_size)
        return
    captions_pickle = options.get("captions_pickle")
    vocabulary = None if captions_pickle is None else read_vocabulary(captions_pickle)
    prepare_photographs(images, out, image_size, workers, strict, vocabulary)


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
    with Progress(len(examples), "images") as progress, ProcessPoolExecutor(workers) as pool:
        for example in pool.map(partial(operator.getitem, examples), range(len(examples)), chunksize=64):
            progress.step()
            yield example


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
) -> None:
    """Prepare the images of a listing into the folder `out`; the number of workers affects only the speed.

    A killed preparation resumes. dataset.json records every irregular photograph with the decision taken; with
    `strict`, irregular photographs raise UserError. vocabulary: that of released encoders; None: all words of the
    captions.
    """
    _require_workers(workers)
    if image_size < 8:
        raise UserError(f"--image-size {image_size}: must be 8 or more")
    out = Path(out)
    refuse_overwrite(out, PREPARED)
    if not listing.images:
        raise UserError(f"the source {listing.source['name']} lists no image to prepare; {_summary(listing.decisions)}")
    images, decisions = _drop_unknown_captions(vocabulary, listing.images)
    decisions = [*listing.decisions, *decisions]
    if strict:
        _refuse_decisions(decisions, out, "no photograph has been read yet")
    with locked(out), _user_error_for_disk_errors(out):
        photographs = _Photographs(out, images, oversize(image_size))
        photographs.read(workers)
        entries = photographs.entries
        for image, entry in zip(images, entries, strict=True):
            decisions += [Decision(image.name, *found) for found in entry.found]
        if strict:
            _refuse_decisions(decisions, out, "run it without --strict to accept the decisions")
        kept = [(image, entry) for image, entry in zip(images, entries, strict=True) if entry.shape]
        origin = {
            "inputs": listing.inputs | {"images": _images_sha256(images, entries)},
            "enlarged": sum(entry.enlarged for entry in entries),
            "decisions": [each._asdict() for each in decisions],
        }
        seal(
            photographs.folder,
            [entry.shape for _, entry in kept],
            [record(image.name, image.split, image.class_id, image.captions, {}) for image, _ in kept],
            source=listing.source,
            image_size=image_size,
            vocabulary=vocabulary,
            origin=origin,
        )
        photographs.publish()
    log(f"{out}: {len(kept)} images kept of {len(images)}; {_summary(decisions)}")


@contextmanager
def _user_error_for_disk_errors(out: Path):
    """Raise UserError instead of OSError; photographs that were read stay on disk."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or out}: could not be read or written ({error.strerror or error}); free space or fix "
            "the permissions, then run the same command again, which resumes"
        ) from error


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
    """Write the decisions to a file and raise UserError if there are decisions; used with --strict."""
    if decisions:
        path = out.with_name(f"{out.name}.decisions.json")
        write_json(path, [each._asdict() for each in decisions])
        raise UserError(f"--strict: {_summary(decisions)}; {path} lists them; {remark}")


def _summary(decisions: Iterable[Decision]) -> str:
    """Return the number of decisions by kind, on one line."""
    counts = collections.Counter((each.found, each.decision) for each in decisions)
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
                    entry = _Entry(*json.loads(line))
                except (ValueError, TypeError):  # the line was lost in a power cut
                    break
                if entry.end > there:
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
