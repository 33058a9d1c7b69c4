"""JSON schema of configurations: the file in workflow/schemas/, completed with names and options from the code."""

import dataclasses
from pathlib import Path

import yaml

from dmgan.data.sources.table import DEFAULT_SOURCE, SOURCES, Flag, every_source
from dmgan.evaluation.networks.table import EXTRACTORS
from dmgan.models.registry import MODELS
from dmgan.options import (
    DEFAULT_METHOD,
    RETRIEVALS,
    ArchitectureOptions,
    CaptionerOptions,
    ClassifierOptions,
    DamsmEngineOptions,
    DamsmOptions,
    EngineOptions,
    EvaluationOptions,
    MatchingOptions,
    SamplingOptions,
    TrainingOptions,
)

WRITTEN = Path(__file__).parent / "schemas" / "config.schema.yaml"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first, of libyaml, is ten times as fast
_TYPES = {
    int: "integer", float: "number", bool: "boolean", bool | None: "boolean", str: "string", Path: "string"
}  # fmt: skip
# Block of the configuration -> options classes whose fields are keys of the block.
_BLOCKS = {
    "hyperparameters": (ArchitectureOptions, TrainingOptions, EngineOptions),
    "damsm": (DamsmOptions, DamsmEngineOptions),
    "classifier": (ClassifierOptions,),
    "species_classifier": (ClassifierOptions,),
    "captioner": (CaptionerOptions,),
    "matching": (MatchingOptions,),
    "sampling": (SamplingOptions,),
}


def build_schema() -> dict:
    """Return the schema of configurations, with defaults of optional keys."""
    schema = yaml.load(WRITTEN.read_text(encoding="utf-8"), _LOADER)
    definitions = schema["$defs"]
    definitions["model"]["enum"] = list(MODELS)
    definitions["imported"]["properties"]["model"]["enum"] = [name for name, each in MODELS.items() if each.released]
    definitions["extractors"]["items"]["enum"] = list(EXTRACTORS)
    schema["properties"]["retrieval"]["items"]["enum"] = [each for each in RETRIEVALS if each != DEFAULT_METHOD]
    for block, kinds in _BLOCKS.items():
        options = {field.name: _of_option(field) for kind in kinds for field in dataclasses.fields(kind)}
        definitions[block]["properties"] = options | definitions[block]["properties"]
    for name in ("fold_rule", "caption_words", "adversarial_images"):
        field = EvaluationOptions.__dataclass_fields__[name]
        schema["properties"][name] |= _of_option(field) | {"default": field.default}
    definitions["dataset"]["properties"]["caption_words"] |= _of_option(
        EvaluationOptions.__dataclass_fields__["caption_words"]
    )
    _add_sources(definitions["dataset"])
    return schema


def _of_option(field: dataclasses.Field) -> dict[str, object]:
    """Return type, choices and bounds of a field of an options class, as JSON schema."""
    choices = field.metadata["choices"]
    enum = {"enum": list(choices)} if choices else {}
    return {"type": _TYPES[field.type], **enum, **field.metadata["bounds"]}


def _of_flag(flag: Flag) -> dict[str, object]:
    """Return type and bounds of a flag of a source, as JSON schema."""
    return {"type": _TYPES[flag.type], **flag.bounds}


def _add_sources(dataset: dict) -> None:
    """Add the names of the sources and their flags; bounds and required flags apply only to the source itself."""
    dataset["properties"]["source"] |= {"enum": list(SOURCES), "default": DEFAULT_SOURCE}
    dataset["allOf"] = []
    for source in every_source():
        dataset["properties"] |= {name: {} for name in source.flags}
        then = {"properties": {name: _of_flag(flag) for name, flag in source.flags.items()}}
        low, high = source.image_sizes
        then["properties"]["image_size"] = {"minimum": low, "maximum": high}
        then["required"] = [name for name, flag in source.flags.items() if flag.required]
        chosen = {"properties": {"source": {"const": source.name}}, "required": ["source"]}
        dataset["allOf"].append({"if": chosen, "then": then})
