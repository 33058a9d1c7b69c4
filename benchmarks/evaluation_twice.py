"""The same images evaluated twice, with other batch sizes and other workers: metrics.json must say the same.

The images are those of a small network, trained for a moment on the embedded data set: what is tested is the engine.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks import fresh, plot, record
from benchmarks.record import Figure
from dmgan.data.prepare import prepare_synthbirds
from dmgan.evaluation.attributes import train_attributes
from dmgan.evaluation.classifier import train_classifier
from dmgan.evaluation.evaluate import Judges, evaluate
from dmgan.options import (
    ArchitectureOptions,
    ClassifierOptions,
    DamsmOptions,
    EvaluationOptions,
    MatchingOptions,
    TrainingOptions,
    TrainingSettings,
)
from dmgan.sampling.sample import sample_test_captions
from dmgan.storage import files
from dmgan.training.pretrain_damsm import pretrain
from dmgan.training.train import TrainingInputs, train

NAME, TITLE = "evaluation_twice", "One image set evaluated twice"
CPU, SIDE = torch.device("cpu"), 32
WAYS = {"batches of 64, this process": (64, 0), "batches of 100, two workers": (100, 2)}  # batch size, workers
_OF_THE_MOMENT = ("provenance",)  # what may differ: when, and by which commit


def judges_of(folder: Path) -> Judges:
    """The judges that `make_images` left under `folder`."""
    return Judges(("species",), folder / "species", folder, folder / "damsm", attributes=folder / "attributes")


def make_images(folder: Path, counts: dict[str, int]) -> None:
    """Data, judges, a trained model and so many sampled images of it in each folder, by name, under `folder`."""
    data, damsm = folder / "data", folder / "damsm"
    prepare_synthbirds(
        data, image_size=SIDE, num_species=40, images_per_species=20, captions_per_image=4, seed=0, workers=2
    )
    encoders = DamsmOptions(image_encoder="small", image_size=SIDE, width=8, embedding_dim=16, epochs=1, batch_size=16)
    pretrain(data, damsm, encoders, MatchingOptions(), 0, CPU)
    judge = ClassifierOptions(image_size=SIDE, width=8, features=64, epochs=1, batch_size=16)
    train_classifier(data, folder / "species", judge, 0, CPU)
    train_attributes(data, folder / "attributes", judge, 0, CPU)
    architecture = ArchitectureOptions(
        base_size=8, stages=3, generator_width=4, discriminator_width=4, noise_dim=8, condition_dim=8
    )
    training = TrainingOptions(epochs=1, batch_size=16)
    train("dmgan", TrainingInputs(data, damsm), folder / "run", TrainingSettings(architecture, training), 0, CPU)
    for name, count in counts.items():
        sample_test_captions(folder / "run", data, folder / name, count, 100, 64, False, CPU)


def main() -> int:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}", description=__doc__)
    parser.add_argument("--images", type=int, default=30000, help="images that are evaluated (default 30000)")
    arguments = parser.parse_args()
    described, seconds, said = record.machine(), {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_images(folder, {"images": arguments.images})
        for number, (way, (batch_size, workers)) in enumerate(WAYS.items()):
            options, out = EvaluationOptions(batch_size=batch_size, workers=workers), folder / str(number)
            start = fresh.cpu_seconds()
            evaluate(
                images=folder / "images", data=folder / "data", judges=judges_of(folder), reference=out / "reference",
                out=out / "metrics.json", options=options, device=CPU,
            )  # fmt: skip
            seconds[way] = fresh.cpu_seconds() - start
            written = files.read_json(out / "metrics.json", "evaluate again")
            said[way] = {key: value for key, value in written.items() if key not in _OF_THE_MOMENT}
    first, second = said.values()
    different = sorted(key for key in first["metrics"] if first["metrics"][key] != second["metrics"].get(key))
    others = [key for key in first if key != "metrics" and first[key] != second.get(key)]
    figures = [
        *(Figure(f"{way}, {arguments.images} images", value, "CPU s") for way, value in seconds.items()),
        Figure("metrics that differ", float(len(different)), f"of {len(first['metrics'])}", at_most=0),
        Figure("other entries that differ", float(len(others)), "", at_most=0),
    ]
    details = {"images": arguments.images, "different": different + others, "metrics": first["metrics"]}
    result = record.write(NAME, TITLE, figures, described, details)
    note = f"{described['cpu']}; {arguments.images} images; {result.date}"
    plot.bars(record.RESULTS / f"{NAME}.png", TITLE, {"CPU seconds": seconds}, list(WAYS), note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
