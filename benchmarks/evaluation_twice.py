"""Evaluate the same images twice, with different batch sizes and workers: metrics.json must be the same.

The images are those of a small network, trained briefly on the embedded data set: the test is of the evaluation.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks import fresh, plot, record
from benchmarks.record import Figure
from dmgan.data.prepare import prepare_synthbirds
from dmgan.evaluation.evaluate import evaluate
from dmgan.evaluation.networks.loaded import NetworkFiles
from dmgan.evaluation.train_classifiers import train_attributes, train_classifier
from dmgan.options import (
    ArchitectureOptions,
    ClassifierOptions,
    DamsmOptions,
    DamsmSettings,
    EvaluationOptions,
    TrainingOptions,
    TrainingSettings,
)
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.storage import files
from dmgan.training.pretrain_damsm import pretrain
from dmgan.training.train import TrainingInputs, train

NAME, TITLE = "evaluation_twice", "One image set evaluated twice"
CPU, SIDE = torch.device("cpu"), 32
METHODS = {"batches of 64, this process": (64, 0), "batches of 100, two workers": (100, 2)}  # batch size, workers
_MAY_DIFFER = ("provenance",)  # fields that may differ: time and commit of the evaluation


def network_files(folder: Path) -> NetworkFiles:
    """Return the files of the networks that `make_images` trained under `folder`."""
    return NetworkFiles(("species",), folder / "species", folder, folder / "damsm", attributes=folder / "attributes")


def make_images(folder: Path, counts: dict[str, int]) -> None:
    """Make data, networks, a trained model, and a folder of sampled images for each name and count, under `folder`."""
    data, damsm = folder / "data", folder / "damsm"
    prepare_synthbirds(
        data, image_size=SIDE, num_species=40, images_per_species=20, captions_per_image=4, seed=0, workers=2
    )
    encoders = DamsmOptions(
        image_encoder="small", image_size=SIDE, width=8, embedding_dim=16, epochs=1, batch_size=16, validation_images=0
    )
    pretrain(data, damsm, DamsmSettings(encoders), 0, CPU)
    classifier = ClassifierOptions(image_size=SIDE, width=8, features=64, epochs=1, batch_size=16)
    train_classifier(data, folder / "species", classifier, 0, CPU)
    train_attributes(data, folder / "attributes", classifier, 0, CPU)
    architecture = ArchitectureOptions(
        base_size=8, stages=3, generator_width=4, discriminator_width=4, noise_dim=8, condition_dim=8
    )
    training = TrainingOptions(epochs=1, batch_size=16)
    train("dmgan", TrainingInputs(data, damsm), folder / "run", TrainingSettings(architecture, training), 0, CPU)
    for name, count in counts.items():
        sample_test_captions(folder / "run", data, folder / name, SampleRequest(count), CPU)


def main() -> int:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}", description=__doc__)
    parser.add_argument("--images", type=int, default=30000, help="images that are evaluated (default 30000)")
    arguments = parser.parse_args()
    described, seconds, contents = record.machine(), {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_images(folder, {"images": arguments.images})
        for number, (method, (batch_size, workers)) in enumerate(METHODS.items()):
            options, out = EvaluationOptions(batch_size=batch_size, workers=workers), folder / str(number)
            start = fresh.cpu_seconds()
            evaluate(
                images=folder / "images", data=folder / "data", network_files=network_files(folder),
                reference=out / "reference", out=out / "metrics.json", options=options, device=CPU,
            )  # fmt: skip
            seconds[method] = fresh.cpu_seconds() - start
            written = files.read_json(out / "metrics.json", "evaluate again")
            contents[method] = {key: value for key, value in written.items() if key not in _MAY_DIFFER}
    first, second = contents.values()
    different = sorted(key for key in first["metrics"] if first["metrics"][key] != second["metrics"].get(key))
    others = [key for key in first if key != "metrics" and first[key] != second.get(key)]
    figures = [
        *(Figure(f"{method}, {arguments.images} images", value, "CPU s") for method, value in seconds.items()),
        Figure("metrics that differ", float(len(different)), f"of {len(first['metrics'])}", at_most=0),
        Figure("other entries that differ", float(len(others)), "", at_most=0),
    ]
    details = {"images": arguments.images, "different": different + others, "metrics": first["metrics"]}
    result = record.write(NAME, TITLE, figures, described, details)
    note = f"{described['cpu']}; {arguments.images} images; {result.date}"
    plot.bars(record.RESULTS / f"{NAME}.png", TITLE, {"CPU seconds": seconds}, list(METHODS), note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
