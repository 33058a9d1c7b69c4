"""Citation of what was run: from metrics.json to BibTeX and CFF."""

import yaml

from dmgan import __version__
from dmgan.report.citations import BIBTEX, CFF, citation_keys, write_citations
from dmgan.report.evaluations import read_evaluation
from tests.report.made_metrics import MODEL, REAL, metrics

ALWAYS = {"dmgan_reproduction", "paszke2019pytorch"}
OF_THE_METRICS = {"salimans2016improved", "heusel2017gans", "binkowski2018demystifying", "xu2018attngan"}


def test_models_metrics_networks_and_data_sets_are_cited(write_metrics):
    by_inception = {key.replace("species", "inception-tf"): value for key, value in MODEL.items()}
    files = [
        write_metrics("dfgan", metrics=metrics(by_inception)),
        write_metrics("real", None, "control", metrics=metrics(REAL)),
    ]
    keys = citation_keys([read_evaluation(file) for file in files])
    assert keys == {*ALWAYS, *OF_THE_METRICS, "tao2022dfgan", "szegedy2016rethinking", "obukhov2020torchfidelity"}


def test_a_published_set_is_cited(write_metrics):
    subject = {"kind": "model", "name": "dmgan", "seed": 0, "dataset": "birds", "num_images": 2000, "image_size": 64}
    file = write_metrics("dmgan", subject=subject | {"published_set": "CUB", "differences": [], "imported": True})
    keys = citation_keys([read_evaluation(file)])
    assert keys == {*ALWAYS, *OF_THE_METRICS, "zhu2019dmgan", "wah2011caltech", "reed2016learning"}


def test_images_of_another_program_cite_no_model(write_metrics):
    inputs = {"data": {"captions.json": "ca"}, "sizes": "64x64 px", "captions": "captions of the test set"}
    keys = citation_keys(
        [read_evaluation(write_metrics("mine", None, "external", metrics=metrics(REAL), inputs=inputs))]
    )
    assert keys == {*ALWAYS, *OF_THE_METRICS}


def test_both_files_are_written(write_metrics, tmp_path):
    write_citations([write_metrics("dmgan"), write_metrics("attngan")], tmp_path)
    written = yaml.safe_load((tmp_path / CFF).read_text(encoding="utf-8"))
    assert written["version"] == __version__ and written["authors"] == [{"name": "The dmgan-reproduction developers"}]
    assert "Bińkowski" in (tmp_path / CFF).read_text(encoding="utf-8")
    assert [each["title"].partition(":")[0] for each in written["references"][:2]] == ["DM-GAN", "AttnGAN"]
    bibtex = (tmp_path / BIBTEX).read_text(encoding="utf-8")
    assert bibtex.count("@") == 1 + len(written["references"]) and "{zhu2019dmgan," in bibtex
