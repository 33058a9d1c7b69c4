"""From a source of captioned images to a prepared data set."""

import collections
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import PIL

from dmgan.data.dataset import FORMAT, PREPARED, READ, oversize, pack, record, seal
from dmgan.data.sources.example import Example
from dmgan.data.sources.listing import Decision, Listed, Listing
from dmgan.data.sources.photographs import Photograph, read_photograph
from dmgan.data.sources.synthbirds import SynthBirds
from dmgan.data.vocabulary import Vocabulary
from dmgan.errors import UserError
from dmgan.runtime.parent import end_with_parent
from dmgan.runtime.progress import Progress, log
from dmgan.storage.files import json_sha256, locked, refuse_overwrite, replace_folder, write_json

_CHUNK = 32  # photographs per task of a worker, and the most that a killed preparation does again


def prepare_synthbirds(
    out: Path,
    image_size: int,
    num_species: int,
    images_per_species: int,
    captions_per_image: int,
    seed: int,
    workers: int,
) -> None:
    """Draw the embedded data set into the folder `out`; the number of workers changes nothing but speed."""
    birds = SynthBirds(
        num_species=num_species,
        images_per_species=images_per_species,
        captions_per_image=captions_per_image,
        image_size=oversize(image_size),
        seed=seed,
    )
    source = {"name": "synthbirds", **asdict(birds)}
    pack(_drawn(birds, workers), out, source=source, image_size=image_size)


def _drawn(birds: SynthBirds, workers: int) -> Iterator[Example]:
    """The set's examples in order, drawn by several processes."""
    _require_workers(workers)
    progress = Progress(len(birds), "images")
    with ProcessPoolExecutor(workers) as pool:
        for example in pool.map(partial(SynthBirds.__getitem__, birds), range(len(birds)), chunksize=64):
            progress.step()
            yield example
    progress.close()


def _require_workers(workers: int) -> None:
    if workers < 1:
        raise UserError(f"--workers {workers}: must be 1 or more")


def refuse_sources(out: Path, sources: Mapping[str, Path | None]) -> None:
    """UserError where `out`, whose place the prepared set takes, is or holds what it is made from, {flag: path}."""
    for flag, path in sources.items():
        if path is not None and Path(path).resolve().is_relative_to(Path(out).resolve()):
            raise UserError(f"--out {out}: would take the place of {flag} {path}; give another folder")


def prepare_photographs(
    listing: Listing,
    out: Path,
    image_size: int,
    workers: int,
    strict: bool = False,
    vocabulary: Vocabulary | None = None,
) -> None:
    """Prepare what a source lists into the folder `out`; the number of workers changes nothing but speed.

    A killed preparation goes on where it was. dataset.json names every photograph that is not as it should be, with
    the decision; `strict` makes them an error. vocabulary: released encoders' own, else all words of the captions.
    """
    _require_workers(workers)
    if image_size < 8:
        raise UserError(f"--image-size {image_size}: must be 8 or more")
    out = Path(out)
    refuse_overwrite(out, PREPARED)
    if not listing.images:
        raise UserError(f"the source {listing.source['name']} lists no image to prepare; {_summary(listing.decisions)}")
    images, decisions = _known_to(vocabulary, listing.images)
    decisions = [*listing.decisions, *decisions]
    if strict:
        _refuse(decisions, out, "no photograph was looked at yet")
    with locked(out), _going_on_later(out):
        photographs = _Photographs(out, images, oversize(image_size))
        photographs.read(workers)
        entries = photographs.entries
        for image, entry in zip(images, entries, strict=True):
            decisions += [Decision(image.name, *found) for found in entry.found]
        if strict:
            _refuse(decisions, out, "run it without --strict to accept the decisions")
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
        photographs.become()
    log(f"{out}: {len(kept)} images kept of {len(images)}; {_summary(decisions)}")


@contextmanager
def _going_on_later(out: Path):
    """A full disk, or a file that cannot be read, is one line: what was read of the photographs stays."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or out}: could not be read or written ({error.strerror or error}); free space or fix "
            "the permissions, then run the same command again, which goes on"
        ) from error


def _known_to(vocabulary: Vocabulary | None, images: list[Listed]) -> tuple[list[Listed], list[Decision]]:
    """The images with the captions that hold a word of a given vocabulary, and what was decided."""
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


def _refuse(decisions: list[Decision], out: Path, remark: str) -> None:
    """--strict: list every decision in a file and stop."""
    if decisions:
        path = out.with_name(f"{out.name}.decisions.json")
        write_json(path, [each._asdict() for each in decisions])
        raise UserError(f"--strict: {_summary(decisions)}; {path} names each; {remark}")


def _summary(decisions: Iterable[Decision]) -> str:
    """How often what was decided, on one line."""
    counts = collections.Counter((each.found, each.decision) for each in decisions)
    parts = [f"{count} x {found} ({decision})" for (found, decision), count in counts.most_common()]
    return "decisions: " + "; ".join(parts) if parts else "nothing had to be decided"


def _images_sha256(images: list[Listed], entries: list["_Entry"]) -> dict[str, object]:
    """One hash over name and bytes of every photograph as it was read, in their order."""
    hasher = hashlib.sha256()
    for image, entry in zip(images, entries, strict=True):
        hasher.update(f"{image.name} {entry.sha256}\n".encode())
    return {"count": len(images), "sha256": hasher.hexdigest()}


class _Entry(NamedTuple):
    """What is remembered of a photograph that was read."""

    shape: list[int] | None  # height, width; None: left out
    sha256: str
    found: list[list[str]]
    enlarged: bool
    end: int  # bytes of images.bin behind it


class _Photographs:
    """The pixels of a set under way, in .NAME.partial: images.bin grows in order, read.jsonl says how far it holds.

    A line of read.jsonl is written after its pixels are on the disk, so what a killed job leaves is always good up to
    the last whole line. Other images or another size than before (by path, size, time and box) begin anew.
    """

    def __init__(self, out: Path, images: list[Listed], shorter_side: int):
        self._out, self._images, self._shorter_side = out, images, shorter_side
        self.folder = out.with_name(f".{out.name}.partial")
        self._pixels, self._lines = self.folder / "images.bin", self.folder / READ
        self.entries: list[_Entry] = []
        wanted = {"format": FORMAT, "shorter_side": shorter_side, "pillow": PIL.__version__}
        self._header = json.dumps(wanted | {"images": json_sha256([_identity(image) for image in images])})
        self._take_up()

    def _take_up(self) -> None:
        """Go on from what is there, or begin."""
        if not self.folder.exists() and _lines_of(self._out / READ)[:1] == [self._header]:
            os.replace(self._out, self.folder)  # a kill in `become` left it there
        self.folder.mkdir(exist_ok=True)
        for name in set(os.listdir(self.folder)) - {self._pixels.name, self._lines.name}:
            (self.folder / name).unlink()  # what an earlier start wrote for another listing, or half
        lines = _lines_of(self._lines)
        if lines and lines[0] == self._header and self._pixels.exists():
            there = self._pixels.stat().st_size
            for line in lines[1:]:
                try:
                    entry = _Entry(*json.loads(line))
                except (ValueError, TypeError):  # a power cut lost it
                    break
                if entry.end > there:
                    break
                self.entries.append(entry)
            log(f"going on after {len(self.entries)} of {len(self._images)} photographs")
        with open(self._pixels, "ab") as pixels:
            pixels.truncate(self.entries[-1].end if self.entries else 0)
        kept = [self._header, *map(json.dumps, self.entries)]
        self._lines.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def read(self, workers: int) -> None:
        """Read what is still missing, by several processes."""
        progress = Progress(len(self._images), "photographs", done=len(self.entries))
        rest = self._images[len(self.entries) :]
        chunks = [rest[start : start + _CHUNK] for start in range(0, len(rest), _CHUNK)]
        try:
            with (
                open(self._pixels, "ab") as pixels,
                open(self._lines, "a", encoding="utf-8") as lines,
                ProcessPoolExecutor(workers, initializer=end_with_parent) as pool,
            ):
                for chunk in _in_order(
                    pool, partial(_read_chunk, shorter_side=self._shorter_side), chunks, 3 * workers
                ):
                    self._append(chunk, pixels, lines)
                    progress.step(len(chunk))
        except BrokenProcessPool as error:
            raise UserError(
                f"{self._out}: a reading process was killed, perhaps for its memory; take fewer --workers and run "
                "the same command again, which goes on"
            ) from error
        progress.close()

    def _append(self, chunk: list[Photograph], pixels, lines) -> None:
        """Pixels first, then the lines that say they are there."""
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

    def become(self) -> None:
        """Give the folder, which is a prepared data set now, its name."""
        replace_folder(self.folder, self._out, PREPARED)
        (self._out / READ).unlink()  # last: until then the same command takes the folder up again


def _lines_of(path: Path) -> list[str]:
    """The whole lines of a text file; none where it is not there."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []


def _identity(image: Listed) -> list[object]:
    """What pixels depend on; a file changed after a kill is read again."""
    status = image.path.stat()
    return [str(image.path), status.st_size, status.st_mtime_ns, image.box]


def _read_chunk(images: list[Listed], shorter_side: int) -> list[Photograph]:
    return [read_photograph(image.path, image.box, shorter_side) for image in images]


def _in_order(pool: ProcessPoolExecutor, function, items: list, ahead: int) -> Iterator:
    """Results in the order of their items, at most `ahead` of them waiting: a slow disk must not fill the memory."""
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
