"""Finished runs of generators below a results folder."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.models.registry import MODELS, find
from dmgan.runtime.progress import log
from dmgan.storage import files

_SKIPPED = ("mlflow", "logs", "benchmarks", "images", "features", "snapshots")  # folders that hold no run
_HINT = "give a results folder such as results, or run folders such as results/synthbirds/dmgan/seed0"


class FoundRun(NamedTuple):
    """A run folder with the name under which the page lists it."""

    label: str
    folder: Path


def find_runs(paths: Sequence[Path]) -> list[FoundRun]:
    """Return the finished runs of the folders, each a run or a folder of results, in alphabetical order.

    UserError if a folder is missing or holds no finished run.
    """
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise UserError(f"{path}: is not a folder; {_HINT}")
        runs = list(_runs_below(path))
        if not runs:
            raise UserError(f"{path}: holds no finished run of a model; {_HINT}")
        for folder, title in runs:
            place = folder.relative_to(path) if folder != path else Path(*folder.absolute().parts[-3:])
            label = f"{title} · {place.as_posix()}"
            if found.setdefault(label, folder) != folder:  # another results folder has a run of this label
                found[f"{title} · {folder.as_posix()}"] = folder
    return [FoundRun(*each) for each in found.items()]


def _runs_below(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield every finished run below a folder, with the title of its model; runs of unknown models are logged."""
    for place, folders, names in os.walk(path):
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each not in _SKIPPED)
        if {"options.json", "generator.safetensors"} <= set(names):
            if (model := _model(Path(place))) in MODELS:
                yield Path(place), find(model).title
            else:
                log(f"{place}: left out, because its model {model!r} is not in the registry")


def _model(folder: Path) -> object:
    """Return the model that a run's options.json names; None if it names none."""
    written = files.read_json(folder / "options.json", "train it again")
    model = written.get("model") if isinstance(written, dict) else None
    return model if isinstance(model, str) else None
