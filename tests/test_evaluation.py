"""Metrics: against the reference library, against naive loops, and on caricatures whose answer is known."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import zlib

import numpy as np
import pytest
import torch

from dmgan.errors import UserError
from dmgan.evaluation import features, metrics, networks
from dmgan.evaluation.classifier import ImageClassifier
from dmgan.evaluation.comparison import read_per_image
from dmgan.evaluation.controls import NoiseImages, adversarial_images
from dmgan.evaluation.diversity import mean_pairwise_distance
from dmgan.evaluation.evaluate import Judges, evaluate
from dmgan.evaluation.features import Rows
from dmgan.evaluation.images import ImageFiles, sampled_images
from dmgan.evaluation.statistics import moments_to_reference, rows_to_moments, statistics_to_fid
from dmgan.options import RUNGS, EvaluationOptions
from dmgan.sampling.sample import sample_test_captions
from dmgan.text.damsm import Damsm
from tests.conftest import CPU
from tests.golden_recipe import load, uniform


@pytest.mark.parametrize(("name", "rows"), [("fid_50x16_60x16", (50, 60)), ("fid_rankdeficient_10x16_12x16", (10, 12))])
def test_fid_of_the_golden_features(name, rows):
    first = rows_to_moments(Rows(uniform("fid/act1", (50, 16))[: rows[0]]))
    second = rows_to_moments(Rows((1.2 * uniform("fid/act2", (60, 16)) + 0.1)[: rows[1]]))
    value = statistics_to_fid(first, moments_to_reference(second))
    assert value == pytest.approx(load("metrics.json")[name], rel=2e-5)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """95 % of t intervals over ten folds hold the true rate."""
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        folds = random.binomial(100, 0.3, size=10) / 100
        low, high = metrics.mean_over_folds(folds, folds).interval
        covered += low <= 0.3 <= high
    assert 0.91 < covered / 400 < 0.985


def test_the_jackknife_of_a_mean_is_the_t_interval_of_its_folds():
    values = np.random.default_rng(0).normal(size=1000)
    folds = metrics.fold_rows(np.arange(1000))
    alone = [values[rows].mean() for rows in folds]
    without = [np.delete(values, rows).mean() for rows in folds]
    jackknife = metrics.whole_with_jackknife(values.mean(), alone, without)
    assert jackknife.interval == pytest.approx(metrics.mean_over_folds(np.array(alone), np.array(alone)).interval)


def test_folds_hold_every_image_once_and_are_of_like_length():
    folds = metrics.fold_of_each(103, np.random.default_rng(0).permutation(103))
    assert sorted(np.bincount(folds)) == [10] * 7 + [11] * 3


def test_folds_for_intervals_are_of_whole_test_images():
    test_images = np.random.default_rng(0).permutation(np.repeat(np.arange(100, 123), 7))
    folds = metrics.clustered_folds(test_images, seed=3)
    assert sorted(np.concatenate(folds)) == list(range(161))
    held = [set(test_images[rows]) for rows in folds]
    assert sorted(map(len, held)) == [2] * 7 + [3] * 3 and sum(map(len, held)) == len(set().union(*held))
    assert len(metrics.clustered_folds(test_images % 4, seed=3)) == 4
    with pytest.raises(UserError, match="every image is of one test image"):
        metrics.clustered_folds(np.full(30, 5), seed=3)


def test_the_kernel_is_summed_in_float64(monkeypatch):
    """Large features that differ little: the sums cancel, and float32 would lose the distance in them."""
    random = np.random.default_rng(0)
    x, y = (random.normal(mean, 1, size=(60, 8)).astype(np.float32) for mean in (50, 50.01))
    monkeypatch.setattr(metrics, "_BLOCK", 17)
    (sums,) = metrics._fold_kernel_sums(Rows(x), Rows(y), [metrics.fold_rows(random.permutation(60))])
    x, y = x.astype(np.float64), y.astype(np.float64)
    kernel = lambda a, b: (a @ b.T / 8 + 1) ** 3  # noqa: E731
    within = sum((kernel(each, each).sum() - np.trace(kernel(each, each))) / (60 * 59) for each in (x, y))
    exact = within - 2 * kernel(x, y).mean()
    assert abs(exact) < 1e-5 * kernel(x, y).mean()
    assert sums.distance(sums.folds) == pytest.approx(exact, rel=1e-6)


def test_the_interval_of_kid_is_of_all_pairs_as_its_jackknife_is(monkeypatch):
    monkeypatch.setattr(metrics, "KID_SUBSETS", 2)
    monkeypatch.setattr(metrics, "KID_SUBSET_SIZE", 5)
    random = np.random.default_rng(0)
    x, y = (random.normal(mean, 1, size=(60, 4)).astype(np.float32) for mean in (0, 1))
    clustered = metrics.clustered_folds(np.arange(60) // 3, seed=0)
    score = metrics.kernel_distance(Rows(x), Rows(y), np.arange(60), clustered)
    assert score.value == metrics.subset_kernel_distance(Rows(x), Rows(y))
    kernel = lambda a, b: (a.astype(np.float64) @ b.T.astype(np.float64) / 4 + 1) ** 3  # noqa: E731

    def distance(x):
        pairs = (
            (kernel(each, each).sum() - np.trace(kernel(each, each))) / len(each) / (len(each) - 1) for each in (x, y)
        )
        return sum(pairs) - 2 * kernel(x, y).mean()

    assert score.centre == pytest.approx(distance(x), rel=1e-9) and abs(score.centre / score.value - 1) > 0.1
    assert np.mean(score.interval) == pytest.approx(score.centre)
    assert score.without == pytest.approx([distance(np.delete(x, rows, axis=0)) for rows in clustered], rel=1e-9)


@pytest.fixture(scope="module")
def images_folder(run_folder, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampled") / "images"
    sample_test_captions(run_folder, data, folder, 40, 100, 16, False, CPU)
    return folder


def measured(out, data, damsm_folder, classifier_folder, images, rungs=("species",), **options):
    judges = Judges(rungs, classifier_folder, out.parent, damsm_folder)
    options = EvaluationOptions(neighbours=2, **options)
    evaluate(images=images, data=data, judges=judges, reference=None, out=out, options=options, device=CPU)
    return json.loads(out.read_text())


def test_metrics_of_a_model_hold_their_whole_protocol(images_folder, data, damsm_folder, classifier_folder, tmp_path):
    content = measured(tmp_path / "metrics.json", data, damsm_folder, classifier_folder, images=images_folder)
    assert content["subject"] == {
        "kind": "model", "name": "dmgan", "seed": 0, "dataset": "synthbirds", "num_images": 40, "image_size": 32,
    }  # fmt: skip
    assert content["schema"] == 2 and content["device"] == "cpu"
    manifest = json.loads((tmp_path / "reference" / "species" / "manifest.json").read_text())
    (chunk,) = manifest["done"]
    sha256 = content["metrics"]["FID(species)"]["protocol"]["reference_images_sha256"]
    assert sha256 == hashlib.sha256(chunk["images"].encode()).hexdigest()
    names = ("IS", "FID", "KID", "precision", "recall", "density", "coverage", "diversity")
    assert set(content["metrics"]) == {f"{name}(species)" for name in names} | {"R-precision(training DAMSM)"}
    assert [name for name, metric in content["metrics"].items() if "interval_centre" in metric] == ["KID(species)"]
    for metric in content["metrics"].values():
        low, high = metric["interval"]
        assert low <= metric.get("interval_centre", metric["value"]) <= high
        assert metric["num_images"] == 40 and metric["protocol"]["feature_network_sha256"]
    before = (tmp_path / "per_image.npz").stat().st_mtime_ns
    again = measured(tmp_path / "again.json", data, damsm_folder, classifier_folder, images=images_folder)
    assert again["metrics"] == content["metrics"]
    assert (tmp_path / "per_image.npz").stat().st_mtime_ns == before  # another evaluation in one folder has its own
    assert (tmp_path / "again.features" / "species").is_dir()
    for name in ("metrics.json", "again.json"):
        assert len(read_per_image(tmp_path / name).arrays["test_images"]) == 40


def test_diversity_is_of_the_species_features_and_of_the_folds_of_the_other_metrics(
    images_folder, data, damsm_folder, classifier_folder, tmp_path
):
    content = measured(tmp_path / "metrics.json", data, damsm_folder, classifier_folder, images=images_folder)
    found = content["metrics"]["diversity(species)"]
    generated, real = (np.load(tmp_path / each / "species" / "features.npy") for each in ("features", "reference"))
    order = metrics.fold_order(40, EvaluationOptions().seed)
    unit = mean_pairwise_distance(real)
    assert found["value"] == pytest.approx(mean_pairwise_distance(generated) / unit, rel=1e-9)
    folds = [mean_pairwise_distance(generated[rows]) / unit for rows in metrics.fold_rows(order)]
    assert found["spread"] == pytest.approx(np.std(folds), rel=1e-9)
    assert found["protocol"]["reference_num_images"] == 8 and "mean pairwise distance" in found["protocol"]["library"]
    with np.load(tmp_path / "per_image.npz") as stored:
        folds = [stored["folds"] != fold for fold in range(8)]  # of eight test images
        values = [mean_pairwise_distance(generated[rows]) / unit for rows in folds]
        np.testing.assert_allclose(stored["without/diversity(species)"], values, rtol=1e-9)


def without_times(content: dict) -> dict:
    return {key: value for key, value in content.items() if key != "provenance"}


def test_metrics_depend_on_neither_batch_size_nor_workers(
    images_folder, data, damsm_folder, classifier_folder, tmp_path
):
    folders = (data, damsm_folder, classifier_folder)
    first = measured(tmp_path / "a" / "metrics.json", *folders, images=images_folder)
    other = measured(tmp_path / "b" / "metrics.json", *folders, images=images_folder, batch_size=7, workers=2)
    assert without_times(first) == without_times(other)


def test_a_killed_evaluation_goes_on_and_ends_with_the_same_metrics(
    images_folder, data, damsm_folder, classifier_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(features, "FORWARD", 4)
    monkeypatch.setattr(features, "CHUNK", 8)
    folders = (data, damsm_folder, classifier_folder)
    forward, seen = ImageClassifier.forward, []

    def counted(network, images):
        seen.append(len(images))
        return forward(network, images)

    monkeypatch.setattr(ImageClassifier, "forward", counted)
    whole = measured(tmp_path / "whole" / "metrics.json", *folders, images=images_folder)
    passes = len(seen)
    seen.clear()

    def dying(network, images):
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return counted(network, images)

    monkeypatch.setattr(ImageClassifier, "forward", dying)
    out = tmp_path / "killed" / "metrics.json"
    child = multiprocessing.get_context("fork").Process(
        target=measured, args=(out, *folders), kwargs={"images": images_folder}
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL and not out.exists()
    monkeypatch.setattr(ImageClassifier, "forward", counted)
    assert without_times(measured(out, *folders, images=images_folder)) == without_times(whole)
    assert len(seen) == passes - 4  # two chunks of two passes were on the disk


class StubInception(torch.nn.Module):
    """Means of the image's places."""

    sha256 = "stub"

    def forward(self, images):
        features = torch.nn.functional.adaptive_avg_pool2d(images, (4, 4)).flatten(1) / 100
        return {"features": features, "logits": features[:, :20]}


def test_every_rung_gives_its_metrics_and_no_other(
    images_folder, data, damsm_folder, classifier_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(networks, "find_weights", lambda name, folder: networks.Weights({}, name, "stub"))
    monkeypatch.setattr(networks, "Inception2015", lambda weights, device: StubInception())
    pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())
    monkeypatch.setattr(networks, "POOL", 48)
    monkeypatch.setattr(networks, "CLASSES", 20)
    monkeypatch.setattr(networks, "build_torchvision_inception", lambda *_: pool)
    monkeypatch.setattr(networks.ReleasedTorchvisionInception, "batch", 3)
    content = measured(
        tmp_path / "metrics.json", data, damsm_folder, classifier_folder, images=images_folder, rungs=RUNGS
    )
    both, manifolds = ("FID", "KID"), ("precision", "recall", "density", "coverage")
    expected = {
        "species": ("IS", *both, *manifolds, "diversity"), "tf": ("IS", *both, *manifolds),
        "clean": (*both, *manifolds), "torchvision": ("FID", *manifolds),
        "torchvision-released": ("FID",), "openai-released": ("IS",), "training DAMSM": ("R-precision",),
    }  # fmt: skip
    assert set(content["metrics"]) == {f"{name}({judge})" for judge, names in expected.items() for name in names}
    released = content["metrics"]["FID(torchvision-released)"]
    assert (released["num_images"], released["protocol"]["reference_num_images"]) == (39, 6)  # of 40 and 8
    assert content["metrics"]["FID(tf)"]["value"] != content["metrics"]["FID(clean)"]["value"]
    protocols = [metric["protocol"] for metric in content["metrics"].values()]
    assert all({"feature_network", "feature_network_sha256", "codec"} <= set(each) for each in protocols)

    bare = measured(tmp_path / "tf" / "metrics.json", data, damsm_folder, None, images_folder, rungs=("tf",))
    assert bare["metrics"]["FID(tf)"] == content["metrics"]["FID(tf)"]  # and needs no species classifier


def test_too_few_images_for_the_released_batches_are_refused():
    with pytest.raises(UserError, match="49 images do not fill a batch of 50"):
        metrics.whole_batches(Rows(np.zeros((49, 2), np.float32)), 50, "dmgan")


def test_real_images_that_all_look_the_same_are_an_error():
    """A dead network would otherwise give every set the same, perfect distance."""
    with pytest.raises(UserError, match="real images all have the same features"):
        moments_to_reference(rows_to_moments(Rows(np.ones((30, 4), np.float32))))
    with pytest.raises(UserError, match="1 image has no covariance"):
        moments_to_reference(rows_to_moments(Rows(np.ones((1, 4), np.float32))))
    with pytest.raises(UserError, match="5 real images do not have that many"):
        metrics.manifold_scores(*[Rows(np.eye(n, dtype=np.float32)) for n in (9, 5)], np.arange(9), [], np.arange(5), 5)


def test_features_of_real_images_are_shared(images_folder, data, damsm_folder, classifier_folder, tmp_path, capsys):
    from dmgan.__main__ import main

    flags = ["--data", str(data), "--classifier", str(classifier_folder), "--threads", "1", "--device", "cpu"]
    shared = tmp_path / "reference"
    assert main(["reference", *flags, "--out", str(shared)]) == 0
    written = {path: path.stat().st_mtime_ns for path in shared.glob("species/*")}
    assert len(written) == 3 and json.loads((shared / "reference.json").read_text())["images"] == 8
    out = tmp_path / "model" / "metrics.json"
    command = ["evaluate", *flags, "--damsm", str(damsm_folder), "--reference", str(shared), "--out", str(out)]
    assert main([*command, "--images", str(images_folder), "--neighbours", "2"]) == 0, capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in shared.glob("species/*")} == written
    assert not (out.parent / "reference").exists()
    alone = measured(tmp_path / "alone" / "metrics.json", data, damsm_folder, classifier_folder, images=images_folder)
    assert without_times(json.loads(out.read_text())) == without_times(alone)


def test_a_missing_or_corrupt_image_is_named(images_folder, dataset, tmp_path):
    copy = tmp_path / "images"
    shutil.copytree(images_folder, copy)
    (copy / "000007.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match="000007.png: is not a readable image"):
        sampled_images(copy, dataset).read(7)
    (copy / "000007.png").unlink()
    with pytest.raises(UserError, match="1 of 40 images are missing, the first is 000007.png"):
        sampled_images(copy, dataset)
    (copy / "manifest.json").unlink()
    with pytest.raises(UserError, match="manifest.json: cannot be read"):
        sampled_images(copy, dataset)


def test_a_png_whose_header_is_cut_is_named(tmp_path):
    path = tmp_path / "000000.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + (5).to_bytes(4, "big")
        + b"IHDR"
        + bytes(5)
        + zlib.crc32(b"IHDR" + bytes(5)).to_bytes(4, "big")
    )
    with pytest.raises(UserError, match="000000.png: is not a readable image .*Truncated IHDR.*; fix it"):
        ImageFiles([path], 8, "fix it")(0)


def test_a_score_that_is_no_number_is_refused_before_anything_is_written(
    images_folder, data, damsm_folder, classifier_folder, tmp_path, monkeypatch
):
    forward = ImageClassifier.forward

    def saturated(network, images):
        features, logits = forward(network, images)
        logits[:] = 0.0
        logits[:, 0] = 1e4  # every other class has a probability of 0 in float32
        return features, logits

    monkeypatch.setattr(ImageClassifier, "forward", saturated)
    with pytest.raises(UserError, match=r"dmgan: IS\(species\) is not finite, so nothing was written"):
        measured(tmp_path / "metrics.json", data, damsm_folder, classifier_folder, images=images_folder)
    assert not (tmp_path / "metrics.json").exists() and not (tmp_path / "per_image.npz").exists()


def test_control_images_replace_their_own_folder_and_no_other(data, dataset, damsm_folder, tmp_path):
    encoders, folder = Damsm.read(damsm_folder), tmp_path / "images"

    def made(seed: int) -> None:
        tokens = [dataset.tokens(0, 0), dataset.tokens(1, 0)]
        adversarial_images(folder, encoders, tokens, NoiseImages(seed, 32), dataset.sha256, CPU)

    made(0)
    first = (folder / "000001.png").read_bytes()
    made(1)
    assert (folder / "000001.png").read_bytes() != first
    (folder / "notes.md").write_text("mine")
    with pytest.raises(UserError, match="images: holds notes.md, which controls did not write"):
        made(0)
    assert (folder / "notes.md").exists()


def test_too_few_images_for_ten_folds_are_refused(run_folder, data, damsm_folder, classifier_folder, tmp_path):
    sample_test_captions(run_folder, data, tmp_path / "images", 19, 100, 16, False, CPU)
    with pytest.raises(UserError, match="19 images do not make ten folds"):
        measured(tmp_path / "metrics.json", data, damsm_folder, classifier_folder, images=tmp_path / "images")
    assert not (tmp_path / "metrics.json").exists()
