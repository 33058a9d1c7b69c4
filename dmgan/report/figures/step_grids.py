"""Images of the same captions and noises at several steps of training, from the snapshots of the run."""

import copy

import numpy as np

from dmgan.data.batches import to_uint8
from dmgan.report.figures.canvas import Canvas
from dmgan.report.figures.panels import Panel, draw_panels
from dmgan.report.figures.scene import Scene, named
from dmgan.sampling.trained_model import TrainedModel
from dmgan.storage.weights import load_weights
from dmgan.training.snapshots import snapshots_of

_STEPS = 6  # columns
_CAPTIONS = 2  # rows for each model


def draw_steps(scene: Scene) -> Canvas:
    """Draw a panel for each model with snapshots: one step a column, one caption a row."""
    numbers = scene.caption_numbers(_CAPTIONS)
    with_snapshots = [run for run in scene.runs if snapshots_of(run.folder)]
    panels = [_panel(scene, run, numbers) for run in with_snapshots]
    without = [named(run) for run in scene.runs if run not in with_snapshots]
    foot = " ".join(f"Row {row}: {scene.caption(number).rstrip('.')}." for row, number in enumerate(numbers, 1))
    if without:
        foot += f" Without snapshots, and therefore not shown: {'; '.join(without)}."
    return draw_panels("Images over the steps of training, same captions and noises", panels, foot)


def _panel(scene: Scene, run: TrainedModel, numbers: list[int]) -> Panel:
    """Return the images of a run's snapshots, at most _STEPS of them in equal distances, the last among them."""
    snapshots = snapshots_of(run.folder)
    steps = sorted(snapshots)
    chosen = [steps[place] for place in np.unique(np.linspace(0, len(steps) - 1, _STEPS).round().astype(int))]
    at_steps = run._replace(model=copy.deepcopy(run.model))
    columns = []
    for step in chosen:
        load_weights(at_steps.model, snapshots[step], "train the model again")
        columns.append(to_uint8(scene.generate(at_steps, numbers).images[-1]))
    rows = [(f"Row {row + 1}", [column[row] for column in columns]) for row in range(len(numbers))]
    return Panel(named(run), [f"step {step:,}" for step in chosen], rows)
