"""The papers' figures, drawn from trained runs."""

from collections.abc import Sequence
from pathlib import Path

import torch

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.models.registry import find
from dmgan.report.figures.image_grids import (
    draw_models,
    draw_noises,
    draw_retrieved,
    draw_retrieved_noises,
    draw_rivals,
    draw_stages,
)
from dmgan.report.figures.scene import Scene, one_of_each
from dmgan.report.figures.word_maps import draw_words
from dmgan.sampling.trained_model import load_run

_FIGURES = {"figure3": draw_models, "figure4": draw_stages, "figure5": draw_noises, "figure6": draw_words}
_FIGURES["002-figure1"] = draw_rivals  # of the memory-driven model's paper
_OF_MEMORY = {"002-figure3": draw_retrieved, "002-figure5": draw_retrieved_noises}  # MDSP's paper


def write_figures(
    runs: Sequence[Path], data: Path, out: Path, seed: int, device: torch.device, memory_cache: Path | None = None
) -> None:
    """Write figure{3,4,5,6} and 002-figure1 as .png and .pdf into the folder `out` from run folders and their data set.

    If several runs of a model are given, the first is shown. If a model retrieves, also write 002-figure{3,5} of MDSP's
    paper. `memory_cache`: folder of stored keys and values. Raise UserError if a run is of another data set.
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
    wanted = _FIGURES | (_OF_MEMORY if any(find(run.name).retrieves for run in scene.runs) else {})
    for name, draw in wanted.items():
        draw(scene).write(Path(out) / name)
