"""Grids of images of the same captions and noise while a model trains, for MLflow."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from dmgan.data.batches import Batch, to_uint8
from dmgan.storage.png import contact_sheet
from dmgan.text.damsm import Damsm
from dmgan.training.mlflow_run import MlflowRun
from dmgan.training.step_noise import step_noise
from dmgan.training.trainer import Trainer

GENERATED, REAL, STAGES = "generated", "real", "stages"  # keys of the images in MLflow
_GRIDS = 10  # in a training, at equal distances
_SHOWN, _COLUMNS = 8, 4  # images of a grid


class SampleGrids:
    """Logs images of the averaged weights at the start and ten times more; the training's numbers stay the same."""

    def __init__(self, mlflow_run: MlflowRun, trainer: Trainer, damsm: Damsm, batch: Batch, steps: int):
        """batch: the captions and their real images; steps: of the whole training."""
        self._mlflow_run, self._trainer, self._damsm, self._batch, self._steps = (
            mlflow_run,
            trainer,
            damsm,
            batch,
            steps,
        )
        mlflow_run.log_image(_grid(batch.images[-1]), REAL)

    def before_step(self, step: int) -> None:
        """Log the grid of the initial weights before the first step: MLflow's comparison opens at step 0."""
        if step == 0:
            self._log(0)

    def after_step(self, done: int) -> None:
        """Log a grid if `done` of the steps complete another tenth of the training."""
        if done * _GRIDS // self._steps > (done - 1) * _GRIDS // self._steps:
            self._log(done)

    def _log(self, step: int) -> None:
        with averaged_weights(self._trainer):
            self._mlflow_run.log_image(_grid(self._generate()[-1]), GENERATED, step)

    def finish(self) -> None:
        """Log the images of every stage of the trained model: a row per stage, then the real images."""
        images = [*self._generate(), self._batch.images[-1]]
        self._mlflow_run.log_image(contact_sheet([list(to_uint8(each)) for each in images]), STAGES, self._steps)

    @torch.no_grad()
    def _generate(self) -> list[Tensor]:
        """Return the images of every stage (B, 3, s, s)."""
        trainer, batch = self._trainer, self._batch
        model = trainer.model.eval()
        captions = self._damsm.encode(batch.tokens, batch.lengths)
        noise = step_noise(0, 0, len(batch.tokens), model.noise_dim).to(trainer.device)
        memory = trainer.features_of([each.to(trainer.device) for each in batch.images])
        return model.generate(noise, captions.sentence, captions.words, captions.mask, memory).images


def _grid(images: Tensor):
    """Return the first images (B, 3, s, s) as a sheet (H, W, 3) uint8."""
    pixels = list(to_uint8(images[:_SHOWN]))
    return contact_sheet([pixels[start : start + _COLUMNS] for start in range(0, len(pixels), _COLUMNS)])


@contextmanager
@torch.no_grad()
def averaged_weights(trainer: Trainer) -> Iterator[None]:
    """Use the averaged weights in evaluation mode; restore every bit of the model at the end.

    The tensors stay where they are, because a CUDA graph reads them there.
    """
    modes = {module: module.training for module in trainer.model.modules()}
    kept = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.average.copy_to(trainer.model)
    trainer.model.eval()
    try:
        yield
    finally:
        for name, tensor in trainer.model.state_dict().items():
            tensor.copy_(kept[name])
        for module, mode in modes.items():
            module.training = mode
