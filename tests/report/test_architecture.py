"""Architecture figures: the boxes are the modules of the built networks, with their true inputs, shapes and sizes."""

import pytest
import torch

from dmgan.models.registry import build_model
from dmgan.options import ArchitectureOptions
from dmgan.report.figures.architecture import draw_architecture
from dmgan.report.figures.network_trace import layers_of, trace
from tests.conftest import ARCHITECTURE


def traced(name: str, architecture: ArchitectureOptions = ARCHITECTURE):
    with torch.device("meta"):
        model = build_model(name, architecture, 16)
    return trace(model, 12)


def texts_of(canvas) -> list[str]:
    return [text.get_text() for text in canvas.figure.texts]


def test_dmgans_blocks_read_what_its_generator_computes_them_from():
    found = traced("dmgan")
    assert {block.name: block.reads for block in found.blocks} == {
        "ca_net": ["sentence"],
        "h_net1": ["ca_net", "noise"],
        "img_net1": ["h_net1"],
        "h_net2": ["h_net1", "words"],
        "img_net2": ["h_net2"],
        "h_net3": ["h_net2", "words"],
        "img_net3": ["h_net3"],
    }
    assert found.inputs == {"noise": "11", "sentence": "16", "words": "16×12"}
    assert found.images == {1: "3×8×8", 2: "3×16×16", 3: "3×32×32"}
    refinement = next(block for block in found.blocks if block.name == "h_net2")
    assert [part.name for part in refinement.parts][:4] == ["A", "B", "M_w", "M_r"]
    assert refinement.shape == "4×16×16" and sum(part.parameters for part in refinement.parts) == refinement.parameters
    assert sum(block.parameters for block in found.blocks) == found.generator_parameters


def test_mdsps_stages_read_the_retrieved_features_and_its_discriminators_the_pooled_image():
    found = traced("mdsp")
    reads = {block.name: block.reads for block in found.blocks}
    assert reads["h_net1"] == ["ca_net", "noise", "retrieved features"] and reads["h_net2"] == ["h_net1", "v_net1"]
    assert reads["img_net3"] == ["h_net3", "v_net3"] and reads["v_net2"] == ["v_net1"]
    largest = found.discriminators[-1]
    assert largest.name == "D32" and [part.read for part in largest.parts[:2]] == ["3×32×32", "7×16×16"]  # 4 + 3


@pytest.mark.parametrize("name", ["dmgan", "mdsp", "kvmgan"])
def test_the_figure_prints_every_module_with_its_class(name):
    found = traced(name)
    texts = texts_of(
        draw_architecture(name, found, {"A": "Memory writing", "combine": "Affine combination"}, "A note.")
    )
    joined = " ".join(texts)
    assert {block.name for block in found.blocks} <= {*texts} and {"D8", "D16", "D32"} <= {*texts}
    assert f"{name}: generator {found.generator_parameters:,} trained parameters" in texts
    assert ("Affine combination" if name == "mdsp" else "Memory writing") in texts and "A note." in joined


def test_layers_of_a_sequence_are_its_classes():
    pair = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU())
    assert layers_of(pair) == "Linear, ReLU"
    assert layers_of(torch.nn.Sequential(pair, pair)) == "2 × (Linear, ReLU)"
    assert layers_of(torch.nn.Sequential(*pair, *pair, *pair)) == "3 × (Linear, ReLU)"
    assert layers_of(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.ReLU())) == "2 × ReLU"
    assert layers_of(torch.nn.Sequential()) == "no layer"
