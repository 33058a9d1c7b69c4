"""The catalogue of figures: what every entry states, and what the workflow and the drawings make of it."""

import inspect

import pytest

from dmgan.errors import UserError
from dmgan.models.registry import MODELS
from dmgan.report.figures.catalogue import (
    FIGURES,
    GROUPS,
    NEEDS,
    Trained,
    drawing_function,
    figures_of,
    find_figure,
)
from dmgan.report.figures.charts import style_of
from tests.paths import ROOT

EVERY_MODEL = Trained(list(MODELS), list(MODELS))
OF_DOCUMENTS = {
    "DM-GAN": {1, 2, 3, 4, 5, 6},
    "KVM-GAN": {1, 2, 3, 4},
    "Memory-driven model": {1, 2, 3, 5},
    "Student reproduction": {1, 4},  # 2 and 3 are listings, results/parameters/
}


@pytest.mark.parametrize("name", FIGURES)
def test_an_entry_is_complete(name):
    figure = FIGURES[name]
    assert figure.group in GROUPS and figure.needs in NEEDS and set(figure.models) <= set(MODELS)
    assert not figure.title.endswith(".") and figure.heading.endswith(figure.title)
    alt, caption = figure.alt_text("cub", list(MODELS)), figure.caption_text("cub")
    assert alt.endswith(".") and caption.endswith(".") and len(alt) > 40 and "{" not in alt + caption
    assert len(inspect.signature(drawing_function(figure)).parameters) == 1
    assert figure.drawn_for(EVERY_MODEL) and set(filter(None, [figure.requires])) <= set(figure.models)
    caption_file = ROOT / "workflow" / "report" / f"{name}.rst"
    assert caption_file.read_text() == f'{{{{ snakemake.params.captions["{name}"] }}}}\n'


def test_every_figure_of_the_documents_is_in_the_catalogue():
    found = {document: set() for document in OF_DOCUMENTS}
    for figure in FIGURES.values():
        if figure.document:
            found[figure.document].add(int(figure.number.removeprefix("Figure ")))
    assert found == OF_DOCUMENTS


def test_models_decide_which_figures_are_drawn():
    alone = figures_of("scene", Trained(["dmgan"]))
    assert {"figure1", "figure2", "figure4", "words"} <= {*alone}
    assert not {"002-figure1", "kvmgan-figure3"} & {*figures_of("scene", Trained(["dmgan", "attngan"]))}
    assert "kvmgan-figure3" in figures_of("scene", Trained(["kvmgan"]))
    assert not {"002-figure1", "002-figure3", "kvmgan-figure4", "reproduction-figure4", "steps"} & {*alone}
    assert "steps" in figures_of("scene", Trained(["dmgan"], ["dmgan"]))
    assert {"002-figure3", "002-figure5"} <= {*figures_of("scene", Trained(["mdsp"]))}
    assert "002-figure3" not in figures_of("scene", Trained(["mdsp-a1"]))  # an ablation retrieves by one method only
    assert "figure6" not in figures_of("scene", Trained(["dfgan"]))  # it reads no words
    assert {*figures_of("curves", Trained(["dmgan"], measured=False))} == {"losses"}
    assert {*figures_of("curves", Trained(["dmgan"], ["dmgan"]))} == {"losses", "validation", "cost"}


def test_alt_text_names_the_models_that_are_shown():
    text = find_figure("002-figure1").alt_text("coco", ["dmgan", "attngan", "mdsp"])
    assert text.endswith("a row for each of AttnGAN, MDSP.") and "coco" in text


def test_an_unknown_figure_is_refused():
    with pytest.raises(UserError, match="figure 'figure7': unknown; known figures are figure1, "):
        find_figure("figure7")


def test_no_two_models_share_line_and_mark():
    styles = [style_of(model) for model in MODELS]
    assert len({(style.linestyle, style.marker) for style in styles}) == len(MODELS)
    assert len({style.color for style in styles}) == len(MODELS)
