"""IS, FID, KID, clean-FID and R-precision of sampled images on a GPU, from files to metrics, stage by stage.

DM-GAN's bird configuration with random weights samples the images. The Inception of 2015 and the DAMSM's Inception have
random weights, and the features of real images are random: an evaluation reads them from the stored reference.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks import plot, record, sampling
from benchmarks.local_weights import inception_2015_state, torchvision_state, with_pool_of_trained_size
from benchmarks.record import Figure
from benchmarks.time_limit import time_limit
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation.feature_store import Rows, StoredFeatures, extract
from dmgan.evaluation.image_sets import sampled_images
from dmgan.evaluation.metrics.base import Measurement
from dmgan.evaluation.metrics.table import metrics
from dmgan.evaluation.networks.base import read_weights
from dmgan.evaluation.networks.damsm import read_damsm_encoders
from dmgan.evaluation.networks.inception_2015 import Inception2015
from dmgan.evaluation.networks.inception_clean import CleanInception
from dmgan.evaluation.networks.inception_tf import TfInception
from dmgan.evaluation.networks.loaded import EvaluationNetworks
from dmgan.options import EvaluationOptions, SamplingOptions
from dmgan.runtime.device import worker_count
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.text.damsm import Damsm

NAME, TITLE = "evaluation", "IS + FID + KID + clean-FID + R-precision"
METRICS = ("IS", "FID", "KID", "R-precision")  # FID and KID of both extractors
PAPERS, PAPERS_SECONDS = 30000, 120  # images of one evaluation; bound of its time on an H100 with 16 cores
REAL_IMAGES = 2933  # CUB's test images
SECONDS, IMAGES = 55, 2048  # defaults
_FEATURES, _AGAIN = "features of the images", "features of the images, stored before"
_OTHER = ("sampling", _AGAIN)  # stages that are no part of an evaluation


def _networks(folder: Path, dataset: PreparedDataset, device: torch.device) -> EvaluationNetworks:
    """Return the evaluation networks, with random weights and the encoders of `sampling.make_run`."""
    torch.save(with_pool_of_trained_size(inception_2015_state(torchvision_state())), folder / "inception.pth")
    inception = Inception2015(read_weights(folder / "inception.pth"), device)
    extractors = {each.name: each for each in (TfInception(inception), CleanInception(inception))}
    damsm = Damsm.read(folder / "damsm").to(device)
    encoders = read_damsm_encoders(damsm, folder / "damsm", None, dataset, device)
    return EvaluationNetworks(extractors, damsm, encoders, None, None)


def measure(folder: Path, images: int, workers: int, device: torch.device, seconds: dict[str, float]) -> None:
    """Evaluate `images` sampled images; add the seconds of each stage to `seconds` when the stage is done."""

    def timed(stage: str, compute: Callable[[], object]) -> object:
        started = time.perf_counter()
        result = compute()
        seconds[stage] = time.perf_counter() - started
        return result

    options = EvaluationOptions(workers=workers)
    processes = worker_count(workers, device, on_cpu=0)
    sampling.make_run(folder, image_encoder="inception")
    request, precision = SampleRequest(images), SamplingOptions(precision="bfloat16")
    run, data, out = folder / "run", folder / "data", folder / "images"
    timed("sampling", lambda: sample_test_captions(run, data, out, request, device, precision))
    dataset = PreparedDataset(data)
    subject, networks = sampled_images(out, dataset), _networks(folder, dataset, device)
    built = [each for kind in metrics().values() if kind.facts.name in METRICS for each in kind.build(networks)]
    extractors = list(dict.fromkeys(each.extractor for each in built))

    def features(store: str, count: int):
        return extract(subject.read, count, extractors, folder / store, device, options.batch_size, processes)

    features("warm-up", min(32, images))
    stored = timed(_FEATURES, lambda: features("features", images))
    timed(_AGAIN, lambda: features("features", images))
    measurement = Measurement(subject, dataset, options, stored, _real_features(networks), np.arange(REAL_IMAGES))
    for metric in built:
        timed(metric.key, lambda metric=metric: metric.compute(measurement))


def _real_features(networks: EvaluationNetworks) -> dict[str, StoredFeatures]:
    """Return random features of real images, which an evaluation reads from the stored reference."""
    random = np.random.default_rng(0)
    found = {}
    for name, extractor in networks.extractors.items():
        rows = random.random((REAL_IMAGES, extractor.widths["features"]), dtype=np.float32)
        found[name] = StoredFeatures({"features": Rows(rows)}, extractor.protocol, "random")
    return found


def figures_of(seconds: Mapping[str, float], images: int, complete: bool) -> list[Figure]:
    """Return the figures of the measured stages; also their sum if the measurement is complete."""
    found = [Figure(stage, each, "s") for stage, each in seconds.items()]
    for stage in (_FEATURES, _AGAIN):
        if stage in seconds:
            found.append(Figure(f"{stage}: rate", images / seconds[stage], "images/s"))
    if complete:
        bound, total = PAPERS_SECONDS if images == PAPERS else None, sum(seconds.values())
        total -= sum(seconds[stage] for stage in _OTHER)
        found.append(Figure(f"{images:,} stored images, all metrics", total, "s", at_most=bound))
    return found


def run(images: int, workers: int, threads: int, device: str, limit: float) -> None:
    """Measure an evaluation of sampled images and write the stages that ended before `limit` seconds."""
    described, seconds = record.machine(device), {}
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder, time_limit(limit) as limited:
        measure(Path(folder), images, workers, torch.device(device), seconds)
    if not seconds:
        raise UserError("nothing was measured before the time limit; raise --seconds")
    figures = figures_of(seconds, images, not limited.cut_short)
    title, name = f"{TITLE} of {images:,} images", f"{NAME}-{torch.device(device).type}"
    details = {"images": images, "threads": threads, "workers": workers, "seconds": seconds}
    record.write(NAME, title, figures, described, details, file=name)
    plot.bars(record.RESULTS / f"{name}.png", title, {"seconds": seconds}, [_FEATURES], described.get("gpu", ""))
