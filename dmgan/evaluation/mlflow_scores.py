"""MLflow mirror of an evaluation: the scores of a generator stand in the row of its training."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dmgan.data.dataset import PreparedDataset
from dmgan.evaluation.free_captions import FreeCaptions
from dmgan.evaluation.image_sets import ImageSet
from dmgan.evaluation.paired_comparison import beside
from dmgan.evaluation.run_of_images import run_of
from dmgan.models.colours import OTHER
from dmgan.storage import files
from dmgan.storage.png import contact_sheet
from dmgan.training.mlflow_database import CONTROLS
from dmgan.training.mlflow_run import COLOUR, MlflowPlace, MlflowRun, generator_place, identity
from dmgan.training.run_folder import OPTIONS

TEST_IMAGES = "test images"  # key of the images in MLflow
_SHOWN, _COLUMNS = 40, 10  # images of the sheet
_SIDE = 64  # px of an external image on the sheet


class _Row(NamedTuple):
    """The row of MLflow that shows an image set."""

    folder: Path  # whose mlflow.json names the row
    name: str
    tags: dict[str, str]
    parameters: dict[str, object]
    place: MlflowPlace


def log_to_mlflow(
    uri: str | None, out: Path, subject: ImageSet, dataset: PreparedDataset | FreeCaptions, content: Mapping
) -> None:
    """Log values, metrics.json and the first images into the MLflow run of the training, else into one of their own."""
    if uri is None:
        return
    row = _row_of(out, subject, dataset, content)
    mlflow_run = MlflowRun(uri, *row)
    mlflow_run.log_scores({key: each["value"] for key, each in content["metrics"].items() if each is not None})
    mlflow_run.log_file(out)
    mlflow_run.log_image(_first_images(subject), TEST_IMAGES)
    mlflow_run.close()


def _row_of(out: Path, subject: ImageSet, dataset: PreparedDataset | FreeCaptions, content: Mapping) -> _Row:
    """Return the row of a model's training, or a row of its own for every other image set."""
    inputs = content["inputs"]
    facts = {
        "kind": subject.kind,
        "images": f"{len(subject):,}",
        "reference": subject.reference_name,
        "evaluated by commit": str(content["provenance"]["commit"]),
        **({"sampling seed": str(inputs["sampling_seed"])} if "sampling_seed" in inputs else {}),
    }
    which = " released weights" if subject.imported else "" if subject.seed is None else f" seed{subject.seed}"
    name = f"{dataset.name_of_set} {subject.name}{which}"
    folder = run_of(out, inputs.get("generator_sha256"))
    if folder is not None and (config := _config_of(folder)) is not None:
        tags = identity(dataset, subject.name, subject.seed, config)
        parameters = {"model": subject.name, "seed": subject.seed, **inputs.get("hyperparameters", {})}
        return _Row(folder, name, tags, parameters, generator_place(subject.name, facts))
    tags = identity(dataset, subject.name, subject.seed, files.json_sha256(inputs))
    place = generator_place(subject.name, facts)
    if subject.kind == "control":
        place = MlflowPlace(CONTROLS, facts={COLOUR: OTHER, **facts})
    parameters = {"model": subject.name, "seed": subject.seed, **inputs.get("hyperparameters", {})}
    return _Row(beside(out, "evaluation"), name, tags, parameters, place)


def _config_of(folder: Path) -> str | None:
    """Return the hash of a run's options; None if options.json does not state it."""
    written = files.read_json(folder / OPTIONS, "train it again")
    return written.get("config_sha256") if isinstance(written, dict) else None


def _first_images(subject: ImageSet) -> np.ndarray:
    """Return a contact sheet of the first 40 images."""
    images = [subject.read(number) for number in range(min(_SHOWN, len(subject)))]
    if subject.kind == "external":  # of any sizes
        images = [np.asarray(Image.fromarray(each).resize((_SIDE, _SIDE), Image.BILINEAR)) for each in images]
    return contact_sheet([images[start : start + _COLUMNS] for start in range(0, len(images), _COLUMNS)])
