"""The papers' claims on a run: tested by the comparisons of models, not run, or not comparable with a reason."""

import shutil
import subprocess

import pytest

from dmgan.__main__ import main
from dmgan.errors import UserError
from dmgan.report.literature.claims import FAILS, HOLDS, NOT_COMPARABLE
from dmgan.report.results import read_measured
from dmgan.report.tables.claims import claims, write_claims
from dmgan.report.tables.comparisons import NOT_SHOWN
from dmgan.report.tables.marks import DAGGER, MEANINGS
from dmgan.report.tables.own_claims import NOT_RUN, TOO_CLOSE, read_comparisons
from dmgan.storage.files import write_csv
from tests.reading import read_csv
from tests.report.made_metrics import MODEL, TRAINING, metrics

IS, FID = "IS(birds-released)", "FID(torchvision-released)"
AS_PUBLISHED = {"published_set": "CUB", "differences": []}


@pytest.fixture
def on_cub(write_metrics):
    """Return a function that writes metrics.json of a model on CUB as the papers measured it."""

    def write(name, inception, distance, precision, num_images=30_000, image_size=256, **subject):
        subject = {
            "kind": "model", "name": name, "seed": 0, "dataset": "cub", "num_images": num_images,
            "image_size": image_size, **AS_PUBLISHED, **subject,
        }  # fmt: skip
        measures = metrics({IS: inception, FID: distance, TRAINING: precision}, num_images)
        return write_metrics(name, dataset="cub", metrics=measures, subject=subject)

    return write


def compared(folder, **claims_by_key):
    """Write comparisons.csv of DM-GAN and AttnGAN, with a claim and a note for each metric."""
    keys = {"inception": IS, "distance": FID, "precision": TRAINING}
    rows = []
    for name, (claim, note) in claims_by_key.items():
        metric, _, scorer = keys[name].removesuffix(")").partition("(")
        pair = {"first": "DM-GAN", "second": "AttnGAN"}
        rows.append(pair | {"metric": metric, "scorer": scorer, "claim": claim, "note": note})
    write_csv(folder / "comparisons.csv", rows)
    return folder / "comparisons.csv"


def results(files, comparisons=None):
    return {each.claim.id: each.own for each in claims(read_measured(files), read_comparisons(comparisons))}


def test_comparisons_decide_where_data_and_protocol_are_the_paper_s(on_cub, tmp_path):
    files = [on_cub("attngan", 4.36, 23.98, 67.82), on_cub("dmgan", 4.5, 18.0, 66.0)]
    table = compared(
        tmp_path,
        inception=(NOT_SHOWN, ""),
        distance=("DM-GAN better than AttnGAN", ""),
        precision=("AttnGAN better than DM-GAN", ""),
    )
    own = results(files, table)
    assert [own[number].result for number in ("1", "5", "3")] == [TOO_CLOSE, HOLDS, FAILS]
    assert own["5"].numbers == (
        "FID(torchvision-released): AttnGAN 23.98 ± 0.48, DM-GAN 18 ± 0.36, gain +24.9 %: DM-GAN better than AttnGAN"
    )
    assert own["5"].reasons == () and own["5"].files == tuple(files)
    assert "gain −2.7 %" in own["3"].numbers
    assert own["2"].result == NOT_COMPARABLE and own["2"].reasons[0] == "data set cub, not COCO"
    assert own["10"] == (NOT_COMPARABLE, ("the claim compares no models",), "", ())


def test_without_a_comparison_intervals_decide(on_cub):
    own = results([on_cub("attngan", 4.36, 23.98, 67.82), on_cub("dmgan", 4.5, 12.0, 40.0)])
    assert [own[number].result for number in ("1", "5", "3")] == [TOO_CLOSE, HOLDS, FAILS]
    assert own["1"].numbers.endswith("not compared in pairs, intervals overlap")
    assert own["5"].numbers.endswith("DM-GAN better than AttnGAN by separate intervals")


def test_what_differs_from_the_paper_is_named(write_metrics, on_cub):
    own = results([write_metrics("dmgan"), write_metrics("attngan")])
    assert own["5"].result == NOT_COMPARABLE
    assert own["5"].reasons == (
        "data set synthbirds, not CUB",
        "images of 64 × 64 px, not 256 px",
        "2,000 images, not 30,000",
        "FID by species, published by torchvision-released",
    )
    small = {"num_images": 2000, "image_size": 64, "differences": ["50 of 200 species", "64 px"]}
    own = results([on_cub(name, 4.0, 20.0, 60.0, **small) for name in ("attngan", "dmgan")])
    assert own["5"].reasons == ("50 of 200 species", "64 px", "2,000 images, not 30,000")


def test_a_lead_that_a_control_beats_is_no_evidence(on_cub, tmp_path):
    files = [on_cub("attngan", 4.36, 23.98, 67.82), on_cub("dmgan", 4.5, 18.0, 72.0)]
    own = results(files, compared(tmp_path, precision=("DM-GAN better than AttnGAN", MEANINGS[DAGGER])))
    assert own["3"].result == NOT_COMPARABLE
    assert own["3"].reasons == ("a control that should lose ranks before the better model",)


def test_models_that_were_not_run_are_named(on_cub):
    own = results([on_cub("dmgan", 4.5, 18.0, 72.0), on_cub("dmgan-baseline", 2.0, 80.0, 30.0)])
    assert own["1"] == (NOT_RUN, ("AttnGAN",), "", ())
    assert own["9"].result == NOT_RUN and own["9"].reasons == ("DM-GAN +M", "DM-GAN +M+WG")
    assert own["42"].reasons == ("CP-GAN (published numbers only)", "Memory-driven (Ours)")


def test_released_weights_stand_for_a_model_that_was_not_trained(on_cub):
    own = results([on_cub("attngan", 4.36, 23.98, 67.82), on_cub("dmgan", 4.5, 12.0, 72.0, imported=True, seed=None)])
    assert own["5"].result == HOLDS and "DM-GAN (released weights) 12" in own["5"].numbers


def test_a_claim_of_several_steps_holds_if_every_step_does(on_cub):
    steps = ("dmgan-baseline", "dmgan-m", "dmgan-m-wg", "dmgan")
    files = [on_cub(name, 2.0**place, 80 / 2.0**place, 8 * 2.0**place) for place, name in enumerate(steps)]
    assert results(files)["9"].result == HOLDS
    files[2] = on_cub("dmgan-m-wg", 4.0, 40.0, 32.0)
    assert results(files)["9"].result == TOO_CLOSE


def test_a_reproduction_that_is_worse_does_not_hold(on_cub):
    worse = [on_cub("dmgan", 4.75, 16.09, 72.0), on_cub("dmgan-004", 2.0, 50.0, 72.0)]
    assert results(worse)["33"].result == FAILS
    better = [worse[0], on_cub("dmgan-004", 9.0, 5.0, 72.0)]
    assert results(better)["33"].result == HOLDS


def test_claims_and_conflicts_are_written(write_metrics, tmp_path):
    files = [write_metrics("dmgan"), write_metrics("attngan", metrics=metrics(MODEL | {"FID(species)": 40.0}))]
    assert main(["claims", "--metrics", *map(str, files), "--out", str(tmp_path / "out")]) == 0
    rows = {row["id"]: row for row in read_csv(tmp_path / "out" / "claims.csv")}
    assert len(rows) == 49 and rows["5"]["in_this_run"] == NOT_COMPARABLE
    assert rows["5"]["metrics_files"] == f"{files[1]};{files[0]}" and rows["5"]["quote"] == "FID from 23.98 to 16.09"
    assert rows["1"]["arithmetic"] == "CUB IS: (4.75 − 4.36) / 4.36 = +8.945 %, printed 8.94 %"
    text = (tmp_path / "out" / "claims.md").read_text()
    assert "measured as in the papers: images of 64 × 64 px, not 256 px; 2,000 images, not 30,000." in text
    assert "not comparable (data set synthbirds, not CUB; FID by species, published by torchvision-released)." in text
    assert "(holds: 19, does not hold: 15, not comparable: 10, holds in part: 5)" in text
    assert len((tmp_path / "out" / "conflicts.md").read_text().splitlines()) == 4 + 13


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_the_tables_compile(write_metrics, tmp_path):
    write_claims([write_metrics("dmgan"), write_metrics("attngan")], None, tmp_path)
    (tmp_path / "page.tex").write_text(
        r"\documentclass{article}\usepackage{array,booktabs,longtable}\begin{document}"
        r"\input{claims}\input{conflicts}\end{document}"
    )
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, encoding="utf-8", errors="replace", timeout=60)
    assert done.returncode == 0 and "Unicode character" not in done.stdout, done.stdout[-2000:]


def test_a_file_that_is_no_table_of_comparisons_is_refused(tmp_path):
    path = tmp_path / "comparisons.csv"
    path.write_text("method,value\nDM-GAN,4\n")
    with pytest.raises(UserError, match="is not a table of comparisons .'first'.; make it again"):
        read_comparisons(path)
