"""The figures of trained runs and their data set."""

from collections.abc import Sequence
from pathlib import Path

import torch

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.report.figures.catalogue import Figure, Trained, drawing_function, figures_of, find_figure
from dmgan.report.figures.failure_gallery import read_failures
from dmgan.report.figures.records import read_records
from dmgan.report.figures.scene import Scene, one_of_each
from dmgan.runtime.progress import log
from dmgan.sampling.trained_model import load_run
from dmgan.training.snapshots import TABLE, snapshots_of


def write_figures(
    runs: Sequence[Path],
    data: Path,
    out: Path,
    seed: int,
    device: torch.device,
    memory_cache: Path | None = None,
    chosen: Sequence[str] = (),
) -> None:
    """Write the figures of group `scene` as .png and .pdf into the folder `out` from run folders and their data set.

    If several runs of a model are given, the first is shown. memory_cache: folder of stored keys and values. chosen:
    names of figures; default: all that the models have. Raise UserError if a run is of another data set, or if the
    models do not have a chosen figure.
    """
    scene = Scene(one_of_each([load_run(run, device) for run in runs]), PreparedDataset(data), seed)
    for run in scene.runs:
        if run.memory_bank is not None:
            run.memory_bank.cache = memory_cache
    if not scene.runs:
        raise UserError("no run given; give run folders of trained models, such as results/synthbirds/dmgan/seed0")
    for run in scene.runs:
        if run.damsm.vocabulary != scene.dataset.vocabulary:
            raise UserError(f"{run.folder}: was trained on captions of another data set than {data}; leave it out")
    validated = [run.name for run in scene.runs if snapshots_of(run.folder)]
    trained = Trained([run.name for run in scene.runs], validated)
    for name, figure in choose("scene", trained, chosen).items():
        log(f"{name}: {figure.title}")
        drawing_function(figure)(scene).write(Path(out) / name, scene.made_from())


def write_curves(runs: Sequence[Path], metrics: Sequence[Path], benchmarks: Sequence[Path], out: Path) -> None:
    """Write the figures of group `curves` as .png and .pdf into the folder `out`; arguments as in `read_records`.

    The validation metrics are drawn if a run was measured during training, FID against cost if metrics are given.
    """
    records = read_records(runs, metrics, benchmarks)
    validated = [run.model for run in records.runs if (run.folder / TABLE).exists()]
    for name, figure in figures_of("curves", Trained(records.models, validated, measured=bool(metrics))).items():
        drawing_function(figure)(records).write(Path(out) / name)


def write_failures(metrics: Sequence[Path], images: Sequence[Path], data: Path, out: Path) -> None:
    """Write the figures of group `failures` as .png and .pdf into the folder `out`; arguments as in `read_failures`."""
    failures = read_failures(metrics, images, data)
    trained = Trained([case.images.name for case in failures.cases])
    for name, figure in figures_of("failures", trained).items():
        drawing_function(figure)(failures).write(Path(out) / name)


def choose(group: str, trained: Trained, chosen: Sequence[str]) -> dict[str, Figure]:
    """Return the figures of a group that the models have, or the chosen ones; UserError if the models lack one."""
    available = figures_of(group, trained)
    for name in chosen:
        figure = find_figure(name)
        if name not in available:
            raise UserError(f"figure {name!r}: is drawn with {figure.drawn_with}; give such a run, or leave it out")
    return {name: each for name, each in available.items() if not chosen or name in chosen}
