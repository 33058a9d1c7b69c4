"""The bibliography: complete entries, every key that code names, and the root's CITATION.cff."""

import pytest
import yaml

from dmgan import __version__
from dmgan.data.sources.table import every_source
from dmgan.evaluation.metrics.table import metrics
from dmgan.evaluation.networks.table import CITATIONS, EXTRACTORS, citations_of
from dmgan.models.registry import MODELS
from dmgan.runtime.bibliography import LIBRARIES, SOFTWARE, bibtex, cff, find, references
from tests.paths import ROOT


def test_every_entry_is_complete():
    assert (ROOT / "dmgan/runtime/bibliography.bib").read_text(encoding="utf-8").count("\n@") == len(references())
    for key, each in references().items():
        assert each.authors and each.fields["title"] and 1950 < int(each.fields["year"]) < 2100, key
        assert each.venue or each.kind == "software", key


def test_every_key_that_code_names_has_an_entry():
    keys = {SOFTWARE, *LIBRARIES}
    keys |= {entry.citation for entry in MODELS.values()} | {each.facts.citation for each in metrics().values()}
    keys |= {key for source in every_source() if source.published for key in source.published.citations}
    keys |= {key for network in CITATIONS.values() for key in network}
    find(keys - {""})
    assert set(references()) == keys - {""}  # and no entry is unused
    with pytest.raises(KeyError, match="nobody2020"):
        find(["nobody2020"])


def test_every_model_of_a_paper_cites_it():
    assert all(entry.citation for entry in MODELS.values())


def test_only_the_network_of_this_project_has_no_citation():
    assert [name for name in EXTRACTORS if not citations_of(name)] == ["species"]
    assert citations_of("CLIP ViT-B-32") == ("radford2021learning",)


def test_bibtex_holds_the_entries_asked_for():
    text = bibtex(["heusel2017gans", "zhu2019dmgan", "zhu2019dmgan"])
    assert text.count("@inproceedings") == 2 and text.index("zhu2019dmgan") < text.index("heusel2017gans")


def test_plain_text_names_authors_title_venue_and_year():
    assert [each.plain() for each in find(["tan2019efficientnet", "dmgan_reproduction"])] == [
        "The dmgan-reproduction developers: DM-GAN, reproduced: a reproduction and benchmarking suite for "
        "text-to-image GANs, 2026.",
        "Tan and Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, International "
        "Conference on Machine Learning (ICML), 2019.",
    ]


def test_the_citation_file_of_the_project_agrees_with_the_bibliography():
    written = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    made = cff(references(), __version__)
    of_models_and_metrics = {entry.citation for entry in MODELS.values()}
    of_models_and_metrics |= {each.facts.citation for each in metrics().values()} - {""}
    assert [written[key] for key in ("title", "authors", "version")] == [
        made[key] for key in ("title", "authors", "version")
    ]
    assert written["references"] == cff(of_models_and_metrics, __version__)["references"]
    assert written["references"][0] == made["references"][0]
