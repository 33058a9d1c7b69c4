"""Verification of a results folder: every file against its recorded hash, every result against its inputs there."""

import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

from dmgan.data.checksums import altered_files
from dmgan.errors import UserError
from dmgan.evaluation.external_images import folder_sha256
from dmgan.evaluation.feature_store import rows_sha256
from dmgan.evaluation.image_blocks import pixels_sha256
from dmgan.evaluation.image_sets import AnyImages, sampled_files
from dmgan.evaluation.memorisation import read_memorisation
from dmgan.report.verify_tables import retrieval_findings, table_findings
from dmgan.report.verify_values import altered_values
from dmgan.storage.files import file_sha256, read_json
from dmgan.storage.json_hash import SEAL, seal_is_whole
from dmgan.storage.npy import open_array
from dmgan.storage.seals import FILES
from dmgan.storage.weights import check_weights
from dmgan.training.checkpoints import CHECKPOINT, PREVIOUS, has_its_hash
from dmgan.training.train import WEIGHTS

OK, STALE, ALTERED, ORPHANED, UNSEALED = "ok", "stale", "altered", "orphaned", "unsealed"
_SKIPPED = ("mlflow", "logs", "benchmarks")  # folders of RESULTS that hold no results
_MOST_ARRAYS = 5  # of one network; their order in the manifest's hashes is not recorded


class Finding(NamedTuple):
    """State of a file or folder, and the reason if it is not OK."""

    # OK; ALTERED: other bytes than were written; STALE: of other inputs; ORPHANED: its inputs are not there; UNSEALED:
    # it has no hash, so that an altered value cannot be found
    state: str
    path: Path
    what: str

    def __str__(self) -> str:
        return f"{self.state:<8} {self.path}: {self.what}"


class _Results:
    """The results below a folder, by kind, and the hashes of what they may have been made from."""

    def __init__(self, folder: Path, parts: Iterable[Path]):
        self.folder = folder
        self.datasets: dict[Path, dict] = {}
        self.runs: dict[Path, dict] = {}
        self.images: dict[Path, dict] = {}
        self.features: dict[Path, dict] = {}
        self.evaluations: dict[Path, dict] = {}  # by file; all others by folder
        self.references: dict[Path, dict] = {}
        self.control_images: dict[Path, dict] = {}
        self.figures: dict[Path, dict] = {}  # by file
        self.memorisation: dict[Path, dict] = {}  # by file
        self.weights: list[Path] = []
        self.checkpoints: list[Path] = []
        self.tables: list[Path] = []
        self.retrieval_tables: list[Path] = []
        self.unreadable: list[Finding] = []
        for part in parts:
            for place, folders, names in os.walk(part):
                folders[:] = sorted(each for each in folders if not each.startswith(".") and each not in _SKIPPED)
                for name in sorted(names):
                    if not name.startswith("."):
                        self._add(Path(place, name))

    def _add(self, path: Path) -> None:
        if path.suffix == ".safetensors":
            self.weights.append(path)
        elif path.name in (CHECKPOINT, PREVIOUS):
            self.checkpoints.append(path)
        elif path.name == "measures.csv":
            self.tables.append(path.parent)
        elif path.name == "retrieval.csv":
            self.retrieval_tables.append(path.parent)
        elif path.suffix == ".json":
            self._add_json(path)

    def _add_json(self, path: Path) -> None:
        try:
            content = read_json(path, "make it again", check=False)  # `_sealed` says what was altered
        except UserError as error:
            self.unreadable.append(Finding(ALTERED, path, str(error).removeprefix(f"{path}: ")))
            return
        if not isinstance(content, dict):  # captions.json, mlflow.json
            return
        if path.name == "dataset.json":
            self.datasets[path.parent] = content
        elif path.name == "options.json":
            self.runs[path.parent] = content
        elif path.name == "reference.json":
            self.references[path.parent] = content
        elif path.name == "manifest.json" and "generator_sha256" in content:
            self.images[path.parent] = content
        elif path.name == "manifest.json" and "done" in content:
            self.features[path.parent] = content
        elif path.name == "manifest.json" and "damsm_sha256" in content:
            self.control_images[path.parent] = content
        elif {"figure", "made_from"} <= content.keys():
            self.figures[path] = content
        elif {"retrieval", "distances", "diversity", "duplicates"} <= content.keys():
            self.memorisation[path] = content
        elif {"schema", "subject", "metrics"} <= content.keys():
            self.evaluations[path] = content

    @cached_property
    def weights_sha256(self) -> dict[Path, str]:
        """SHA-256 of every readable file of weights."""
        found = {}
        for path in self.weights:
            with suppress(OSError):  # the check of its run names the file
                found[path] = file_sha256(path)
        return found

    def data_state(self, sha256: object, user: Path, folder: Path | None = None) -> tuple[str, str] | None:
        """Return the state and reason of a result made from a data set with these hashes; None: it is there.

        folder: of the data set, if the result records it.
        """
        if sha256 is None or sha256 in [each.get("sha256") for each in self.datasets.values()]:
            return None
        if folder is not None and (folder / "dataset.json").exists():
            recorded = _recorded_hashes(folder)
            return None if recorded == sha256 else (STALE, f"{folder} changed after it was made from it")
        first = user.relative_to(self.folder).parts[0]
        if near := [each for each in self.datasets if each.name == first]:
            return STALE, f"{near[0]} is another data set than the one it was made from"
        return ORPHANED, "the data set that it was made from is not there"

    def weights_state(self, sha256: str | None, near: Iterable[Path]) -> tuple[str, str] | None:
        """Return the state and reason of a result made with weights of this hash; None: they are there."""
        if sha256 is None or sha256 in self.weights_sha256.values():
            return None
        if there := [path for path in near if path.exists()]:
            return STALE, f"{there[0]} changed after it was made with it"
        return ORPHANED, f"the weights that it was made with are not there (SHA-256 {sha256[:12]}...)"


def _recorded_hashes(folder: Path) -> object:
    """Return the hashes that a prepared data set records of its files; None if dataset.json is damaged."""
    try:
        return read_json(folder / "dataset.json", "prepare it again", check=False).get("sha256")
    except (UserError, AttributeError):
        return None


def verify(folder: Path, parts: Sequence[Path] = ()) -> Iterator[Finding]:
    """Yield the findings on every prepared data set, run, image set, evaluation, table and figure below `folder`.

    parts: the only folders below `folder` to read; default: all. UserError if the folder is missing or holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; give a folder of results, such as results")
    results = _Results(folder, parts or (folder,))
    kinds = [
        (results.datasets, _dataset), (results.runs, _run), (results.images, _images), (results.features, _features),
        (results.references, _reference), (results.control_images, _control_images),
        (results.evaluations, _evaluation), (results.figures, _figure), (results.memorisation, _memorisation),
    ]  # fmt: skip
    if not any(found for found, _ in kinds) and not results.unreadable and not results.tables:
        raise UserError(f"{folder}: holds no results; give a folder of results, such as results")
    yield from results.unreadable
    for found, check in kinds:
        for path, content in found.items():
            bad = []
            try:
                for finding in check(results, path, content):
                    bad.append(finding)
            except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
                bad.append(Finding(ALTERED, path, f"an entry is missing or of another type ({error!r})"))
            except OSError as error:
                what = f"{error.filename or 'a file'} cannot be read ({error.strerror or error})"
                bad.append(Finding(ALTERED, path, what))
            yield from bad or [Finding(OK, path, _WHAT[check])]
    yield from _checkpoints(results)
    for tables in results.tables:
        yield from (Finding(*each) for each in table_findings(tables))
    for tables in results.retrieval_tables:
        yield from (Finding(*each) for each in retrieval_findings(tables))


def _sealed(path: Path, content: dict) -> Iterator[Finding]:
    """Yield findings on the seal of a result in `path`, and on the files whose hashes it states."""
    if SEAL not in content:
        yield Finding(UNSEALED, path, "it has no hash of its content, so that an altered value cannot be found")
    elif not seal_is_whole(content):
        yield Finding(ALTERED, path, "its content is not the one that was written")
    for name in altered_files(path.parent, content.get(FILES, {})):
        yield Finding(ALTERED, path.parent / name, f"its bytes are not those that {path.name} records")


def _dataset(results: _Results, folder: Path, content: dict) -> Iterator[Finding]:
    yield from _sealed(folder / "dataset.json", content)
    for name in altered_files(folder, content["sha256"]):
        yield Finding(ALTERED, folder / name, "its bytes are not those that were prepared")


def _run(results: _Results, folder: Path, content: dict) -> Iterator[Finding]:
    yield from _sealed(folder / "options.json", content)
    for path in sorted({*folder.glob("*.safetensors"), *folder.glob("snapshots/*.safetensors")}):
        try:
            check_weights(path, "train it again")
        except UserError as error:
            yield Finding(ALTERED, path, str(error).removeprefix(f"{path}: "))
    inputs = content["inputs"]
    data = folder / content["data_folder"] if "data_folder" in content else None
    if state := results.data_state(inputs.get("data"), folder, data):
        yield Finding(state[0], folder, state[1])
    encoders = folder / content["damsm_folder"] if "damsm_folder" in content else None
    for name, sha256 in (inputs.get("damsm") or {}).items():
        there = encoders / name if encoders is not None else None
        if there is not None and there.exists():
            if file_sha256(there) != sha256:
                yield Finding(STALE, folder, f"{there} changed after it was trained with it")
        elif encoders is not None or (name.endswith(".safetensors") and sha256 not in results.weights_sha256.values()):
            yield Finding(ORPHANED, folder, f"{name}, of the encoders that it was trained with, is not there")
    if isinstance(inputs.get("captioner"), str) and (state := results.weights_state(inputs["captioner"], ())):
        yield Finding(state[0], folder, state[1])


def _images(results: _Results, folder: Path, content: dict) -> Iterator[Finding]:
    yield from _sealed(folder / "manifest.json", content)
    near = [folder.parent / WEIGHTS, folder.parent / "run" / WEIGHTS]
    if state := results.weights_state(content["generator_sha256"], near):
        yield Finding(state[0], folder, state[1])
    if state := results.data_state(content["data_sha256"], folder):
        yield Finding(state[0], folder, state[1])


def _features(results: _Results, folder: Path, content: dict) -> Iterator[Finding]:
    try:
        arrays = [open_array(path) for path in sorted(folder.glob("*.npy"))]
    except (OSError, ValueError) as error:
        yield Finding(ALTERED, folder, f"stored features are cut or unreadable ({error})")
        return
    if len(arrays) > _MOST_ARRAYS:
        yield Finding(ALTERED, folder, f"holds {len(arrays)} arrays, more than a network has")
        return
    for chunk, done in enumerate(content["done"]):
        rows = [each[chunk * content["chunk"] : (chunk + 1) * content["chunk"]] for each in arrays]
        if done is not None and done["rows"] not in map(rows_sha256, permutations(rows)):
            yield Finding(ALTERED, folder, f"features from image {chunk * content['chunk']} on are not those computed")


def _reference(results: _Results, folder: Path, content: dict) -> Iterator[Finding]:
    yield from _sealed(folder / "reference.json", content)
    if state := results.data_state(content["data"], folder):
        yield Finding(state[0], folder, state[1])


def _evaluation(results: _Results, path: Path, content: dict) -> Iterator[Finding]:
    yield from _sealed(path, content)
    yield from (Finding(ALTERED, path, each) for each in altered_values(path, content))
    inputs, kind = content["inputs"], content["subject"]["kind"]
    if state := results.data_state(inputs["data"], path):
        yield Finding(state[0], path, state[1])
    if kind == "external":
        yield from _external(path, content)
    if kind == "control" and path.parent / "images" in results.control_images:
        yield from _measured_control(path, inputs["images_sha256"])
    if kind != "model":
        return
    generator = inputs["generator_sha256"]
    if state := results.weights_state(generator, [path.parent / WEIGHTS, path.parent / "run" / WEIGHTS]):
        yield Finding(state[0], path, state[1])
    wanted = (generator, inputs["sampling_seed"], "made_for" in content["subject"], content["subject"]["num_images"])
    measured = [folder for folder, manifest in results.images.items() if _identity(manifest) == wanted]
    if not measured:
        yield Finding(ORPHANED, path, "the images that it measured are not there")
        return
    try:
        sums = {pixels_sha256(sampled_files(folder, results.images[folder])) for folder in measured}
    except UserError as error:
        yield Finding(ALTERED, measured[0], str(error))
        return
    if inputs["images_sha256"] not in sums:
        yield Finding(STALE, path, f"the images in {measured[0]} are not those that it measured")


def _external(path: Path, content: dict) -> Iterator[Finding]:
    """Yield the finding on the images of another program, in the folder that metrics.json names."""
    if "images_folder" not in content:
        return
    folder = Path(os.path.normpath(path.parent / content["images_folder"]))
    captions = content.get("captions_file")
    captions = None if captions is None else Path(os.path.normpath(path.parent / captions))
    missing = [each for each in (folder, captions) if each is not None and not each.exists()]
    if missing:
        yield Finding(ORPHANED, path, f"{missing[0]}, which it measured, is not there")
        return
    try:
        changed = folder_sha256(folder, captions) != content["inputs"]["files_sha256"]
    except UserError as error:
        yield Finding(STALE, path, str(error))
        return
    if changed:
        yield Finding(STALE, path, f"the images in {folder} are not those that it measured")


def _control_images(results: _Results, folder: Path, content: dict) -> Iterator[Finding]:
    yield from _sealed(folder / "manifest.json", content)
    if state := results.data_state(content["data_sha256"], folder):
        yield Finding(state[0], folder, state[1])


def _measured_control(path: Path, images_sha256: str) -> Iterator[Finding]:
    """Yield the finding on control images that are stored as files."""
    folder = path.parent / "images"
    paths = sorted(folder.glob("*.png"))
    try:
        changed = pixels_sha256(AnyImages(paths)) != images_sha256
    except UserError as error:
        yield Finding(ALTERED, folder, str(error))
        return
    if changed:
        yield Finding(STALE, path, f"the images in {folder} are not those that it measured")


def _figure(results: _Results, path: Path, content: dict) -> Iterator[Finding]:
    yield from _sealed(path, content)
    made_from = content["made_from"]
    if state := results.data_state(made_from.get("data"), path):
        yield Finding(state[0], path, state[1])
    for sha256 in made_from.get("generators", ()):
        if state := results.weights_state(sha256, path.parent.parent.glob(f"*/*/{WEIGHTS}")):
            yield Finding(state[0], path, state[1])


def _identity(manifest: dict) -> tuple[object, ...]:
    """Return what tells the image sets of a generator apart."""
    return manifest["generator_sha256"], manifest["seed"], "soa_classes" in manifest, len(manifest["images"])


def _memorisation(results: _Results, path: Path, content: dict) -> Iterator[Finding]:
    yield from _sealed(path, content)
    try:
        read_memorisation(path, check=False)
    except UserError as error:
        yield Finding(ALTERED, path, str(error).removeprefix(f"{path}: "))
    inputs = content["inputs"]
    if state := results.data_state(inputs["data"], path):
        yield Finding(state[0], path, state[1])
    if state := results.weights_state(inputs["generator_sha256"], [path.parent / WEIGHTS]):
        yield Finding(state[0], path, state[1])


def _checkpoints(results: _Results) -> Iterator[Finding]:
    for path in results.checkpoints:
        try:
            whole, what = has_its_hash(path), "its bytes changed after it was written"
            if whole and not zipfile.is_zipfile(path):  # a cut file has no hash, as one of an earlier version
                whole, what = False, "is empty, was cut, or is another file"
        except OSError as error:
            whole, what = False, f"cannot be read ({error.strerror or error})"
        yield Finding(OK, path, "checkpoint") if whole else Finding(ALTERED, path, what)


_WHAT = {
    _dataset: "prepared data set",
    _run: "training run",
    _images: "sampled images",
    _features: "stored features",
    _reference: "reference of the real test images",
    _control_images: "control images",
    _evaluation: "metrics",
    _figure: "figure",
    _memorisation: "memorisation",
}
