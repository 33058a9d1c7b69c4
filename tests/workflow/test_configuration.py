"""The configuration: its schema, its defaults, and what it says of data sets and models."""

import dataclasses
import subprocess
import sys

import pytest
from jsonschema import Draft202012Validator

from dmgan.data.sources.table import every_source
from dmgan.errors import UserError
from dmgan.evaluation.networks.table import EXTRACTORS
from dmgan.models.registry import MODELS
from dmgan.options import (
    ArchitectureOptions,
    CaptionerOptions,
    ClassifierOptions,
    DamsmEngineOptions,
    DamsmOptions,
    EngineOptions,
    MatchingOptions,
    SamplingOptions,
    TrainingOptions,
)
from tests.paths import CONFIGS, ROOT
from tests.workflow.configurations import read_config, write_config
from workflow import configuration
from workflow.config_schema import build_schema
from workflow.configuration import read_configuration

TYPES = {int: "integer", float: "number", bool: "boolean", bool | None: "boolean", str: "string"}
OPTIONS = {
    "hyperparameters": [ArchitectureOptions, TrainingOptions, EngineOptions],
    "damsm": [DamsmOptions, DamsmEngineOptions],
    "classifier": [ClassifierOptions],
    "captioner": [CaptionerOptions],
    "matching": [MatchingOptions],
    "sampling": [SamplingOptions],
}
OUT_OF_BOUNDS = [-1, 0, 1, 3, 1.0, 2.5]


def test_the_schema_is_a_schema_that_refuses_unknown_keys():
    schema = build_schema()
    Draft202012Validator.check_schema(schema)
    objects = [schema, *(each for each in schema["$defs"].values() if "properties" in each)]
    assert len(objects) == 11 and not any(each["additionalProperties"] for each in objects)


@pytest.mark.parametrize("block", OPTIONS)
def test_a_block_has_every_option_with_its_type(block):
    properties = build_schema()["$defs"][block]["properties"]
    for kind in OPTIONS[block]:
        for field in dataclasses.fields(kind):
            assert properties[field.name]["type"] == TYPES[field.type]


@pytest.mark.parametrize("block", OPTIONS)
@pytest.mark.parametrize("value", OUT_OF_BOUNDS)
def test_the_schema_and_the_options_have_the_same_bounds(block, value):
    """A number is accepted by both or by none; powers of two above 512 px alone are left to the options."""
    properties = build_schema()["$defs"][block]["properties"]
    for kind in OPTIONS[block]:
        for field in dataclasses.fields(kind):
            if type(field.default) in (int, float) and (type(value) is int or type(field.default) is float):
                assert accepted(kind, field.name, value) == Draft202012Validator(properties[field.name]).is_valid(value)


def accepted(kind: type, name: str, value) -> bool:
    try:
        kind(**{name: value})
    except UserError:
        return False
    return True


def test_the_defaults_of_the_options_are_within_their_bounds():
    for block, kinds in OPTIONS.items():
        properties = build_schema()["$defs"][block]["properties"]
        for kind in kinds:
            for field in dataclasses.fields(kind):
                chosen_later = field.default is None  # from the device; the key is then left out
                assert chosen_later or Draft202012Validator(properties[field.name]).is_valid(field.default), field.name


def test_a_data_set_may_give_the_flags_of_its_source(tmp_path):
    known = build_schema()["$defs"]["dataset"]["properties"]
    assert {name for source in every_source() for name in source.flags} < set(known)
    config = read_config("smoke.yaml")
    config["datasets"]["smoke"] = {"source": "folder", "root": "photos", "test_share": 0.2, "captions_per_image": 0}
    config["extractors"] = ["inception-tf"]
    complete = read_configuration(write_config(tmp_path / "folder.yaml", config))
    assert not configuration.has_attributes(complete, "smoke")
    assert configuration.preparation_block(complete, "smoke") == config["datasets"]["smoke"]


@pytest.mark.parametrize("source", every_source(), ids=lambda source: source.name)
def test_the_default_extractor_of_photographs_is_pretrained(source):
    assert set(source.extractors) <= set(EXTRACTORS)
    assert source.extractors == (("species",) if source.name == "synthbirds" else ("efficientnet-lite0",))


def test_what_is_left_out_takes_the_defaults(tmp_path):
    config = read_config("smoke.yaml")
    complete = read_configuration(CONFIGS / "smoke.yaml")
    assert complete["datasets"]["smoke"] == config["datasets"]["smoke"] | {"source": "synthbirds"}
    assert (
        complete["fold_rule"] == "corrected"
        and complete["caption_words"] == 0
        and configuration.extractors_of(complete, "smoke") == ["species"]
    )
    assert complete["imported"] == {} and complete["damsm"]["seed"] == 0


def test_paper_yaml_reads_the_released_numbers_of_words():
    """25 words of a caption on CUB and 20 on COCO, in sampling and in R-precision."""
    complete = read_configuration(CONFIGS / "paper.yaml")
    for dataset, words in (("cub", 25), ("coco", 20)):
        assert configuration.caption_words_of(complete, dataset) == words
        assert configuration.sampling_block(complete, dataset)["max_words"] == words
        assert "caption_words" not in configuration.preparation_block(complete, dataset)
    assert complete["fold_rule"] == "released" and complete["caption_words"] == 0


def test_presets_are_read_by_nothing(tmp_path):
    config = read_config("smoke.yaml")
    without = read_configuration(write_config(tmp_path / "without.yaml", config))
    presets = {"presets": {"small": {"width": 8}}}
    assert read_configuration(write_config(tmp_path / "with.yaml", presets | config)) == without


def test_input_files_are_those_that_are_there(tmp_path):
    config = {"datasets": {"cub": {"source": "cub", "root": str(tmp_path), "metadata": str(tmp_path / "birds")}}}
    assert configuration.input_files(config, "cub") == []
    for path in (tmp_path / "images.txt", tmp_path / "birds" / "test" / "filenames.pickle"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert configuration.input_files(config, "cub") == [
        tmp_path / "images.txt", tmp_path / "birds" / "test" / "filenames.pickle"
    ]  # fmt: skip


def test_facts_of_models_come_from_the_registry():
    def names(fact) -> set[str]:
        return {name for name in MODELS if fact(name)}

    assert names(configuration.needs_captioner) == {"mirrorgan"}
    assert names(configuration.has_own_caption_length) == {"dmgan-004-two-words"}
    assert names(configuration.compares_retrieval) == {"mdsp"}
    assert names(configuration.vgg16_option) == {"controlgan"} | names(configuration.retrieves)
    assert configuration.vgg16_option("controlgan") == ("perceptual", "damsm")
    assert configuration.vgg16_option("mdsp-a1") == ("feature_network", "small")


def test_vgg16_is_read_unless_the_block_says_otherwise():
    blocks = {"mdsp": {}, "controlgan": {"perceptual": "damsm"}, "dmgan": {}, "mdsp-a0": {}}
    assert [model for model, block in blocks.items() if configuration.reads_vgg16(model, block)] == ["mdsp"]


def test_reading_a_configuration_loads_no_torch():
    code = (
        "import sys; from workflow.configuration import read_configuration; "
        "read_configuration('workflow/config/full-demo.yaml'); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
