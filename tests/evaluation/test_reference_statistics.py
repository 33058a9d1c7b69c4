"""FID against stored statistics (mu, sigma), such as DM-GAN's bird_val.npz, by files of that layout."""

import json

import numpy as np
import pytest
from scipy import linalg

from dmgan.__main__ import main
from dmgan.errors import UserError
from dmgan.evaluation.networks.classifier import TrainedClassifier
from dmgan.evaluation.networks.reference_statistics import ReferenceStatistics
from dmgan.evaluation.networks.species import SpeciesFeatures
from dmgan.evaluation.statistics.frechet import moments_to_reference, rows_to_moments, statistics_to_reference
from dmgan.report.tables.render import write_tables
from tests.conftest import CPU
from tests.reading import read_csv

WIDTH = 16  # features of the tests' species classifier


@pytest.fixture(scope="module")
def statistics(tmp_path_factory):
    """A file of FID statistics."""
    rows = np.abs(np.random.default_rng(0).normal(size=(200, WIDTH)))
    path = tmp_path_factory.mktemp("statistics") / "bird_val.npz"
    np.savez(path, mu=rows.mean(axis=0), sigma=np.cov(rows, rowvar=False))
    return path


@pytest.mark.filterwarnings("ignore:Matrix is singular")
def test_fid_against_a_file_has_a_column_of_its_own(
    evaluated_folder, images_folder, data, damsm_folder, classifier_folder, statistics, tmp_path
):
    out = tmp_path / "metrics.json"
    words = ["evaluate", "--images", images_folder, "--data", data, "--damsm", damsm_folder, "--out", out]
    words += ["--classifier", classifier_folder, "--reference-npz", f"species={statistics}", "--neighbours", "2"]
    assert main([*map(str, words), "--device", "cpu", "--threads", "1"]) == 0
    found = json.loads(out.read_text())["metrics"]
    usual = json.loads((evaluated_folder / "metrics.json").read_text())["metrics"]
    assert found["FID(species)"] == usual["FID(species)"]
    metric = found["FID(species, bird_val.npz)"]
    assert metric["protocol"]["reference"] == "stored statistics, bird_val.npz"
    assert metric["num_images"] == 40 and metric["protocol"]["reference_sha256"]
    features = np.load(tmp_path / "features" / "species" / "features.npy").astype(np.float64)
    with np.load(statistics) as stored:
        step, product = features.mean(axis=0) - stored["mu"], np.cov(features, rowvar=False) @ stored["sigma"]
        traces = np.trace(np.cov(features, rowvar=False)) + np.trace(stored["sigma"])
    expected = step @ step + traces - 2 * np.trace(linalg.sqrtm(product).real)
    assert metric["value"] == pytest.approx(expected, rel=1e-6)
    write_tables([out], tmp_path / "tables")
    rows = {row["scorer"]: row for row in read_csv(tmp_path / "tables" / "table2.csv") if row["method"] == "DM-GAN"}
    assert float(rows["species, bird_val.npz"]["value"]) == metric["value"]


def test_statistics_of_rows_are_the_reference_of_the_rows(statistics):
    from dmgan.evaluation.feature_store import Rows

    rows = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)
    of_rows = moments_to_reference(rows_to_moments(Rows(rows)))
    stored = statistics_to_reference(rows.astype(np.float64).mean(axis=0), np.cov(rows, rowvar=False))
    np.testing.assert_allclose(stored.covariance, of_rows.covariance, rtol=1e-6)
    np.testing.assert_allclose(stored.moments.mean, of_rows.moments.mean, atol=1e-7)
    np.testing.assert_allclose(stored.moments.covariance(), stored.covariance)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(WIDTH)}, "has no array sigma; give FID statistics"),
        ({"mu": np.zeros(2048), "sigma": np.eye(2048)}, r"holds mu \(2048,\) .*, but species has 16 features"),
        ({"mu": np.full(WIDTH, np.nan), "sigma": np.eye(WIDTH)}, "is damaged"),
        ({"mu": np.zeros(WIDTH), "sigma": np.triu(np.ones((WIDTH, WIDTH)))}, "a sigma that is not symmetric"),
    ],
)
def test_files_that_are_no_statistics_of_the_extractor_are_refused(arrays, message, classifier_folder, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    extractor = SpeciesFeatures(TrainedClassifier.read(classifier_folder, CPU))
    with pytest.raises(UserError, match=message) as caught:
        ReferenceStatistics.read(tmp_path / "x.npz", extractor)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["bird_val.npz", "resnet=bird_val.npz", "species="])
def test_a_flag_without_extractor_and_file_is_an_error_of_usage(text, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--images", "x", "--reference-npz", text])
    assert "is not EXTRACTOR=FILE" in capsys.readouterr().err


def test_the_extractor_of_a_file_must_be_chosen(
    images_folder, data, damsm_folder, classifier_folder, statistics, capsys
):
    words = ["evaluate", "--images", images_folder, "--data", data, "--damsm", damsm_folder, "--device", "cpu"]
    words += ["--classifier", classifier_folder, "--reference-npz", f"clean={statistics}"]
    assert main([str(word) for word in words]) == 1
    assert "clean is not among --extractors; add it" in capsys.readouterr().err
