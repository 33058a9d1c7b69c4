"""Configuration of a reproduction: reading, validation, defaults, and queries about a data set or a model.

Facts about models come from dmgan/models/registry.py, facts about sources from dmgan/data/sources/. No torch is
imported.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from jsonschema import Draft202012Validator, ValidationError, validators

from dmgan.data.sources.listing import fingerprint
from dmgan.data.sources.table import Source, find_source
from dmgan.errors import UserError
from dmgan.models.registry import VGG16_OPTIONS, find, options_of
from dmgan.options import TrainingOptions
from dmgan.storage.reading import read_yaml
from workflow.config_schema import build_schema

# Keys of a data set's block that other stages than the preparation read.
_OF_OTHER_STAGES = ("damsm", "sampling", "extractors", "reference_npz", "caption_words", "models")


def read_configuration(path: Path) -> dict:
    """Return the content of a configuration file with defaults; raise UserError naming the first fault."""
    config = read_yaml(Path(path), "give a file such as those in workflow/config")
    try:
        complete_configuration(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return config


def complete_configuration(config: dict) -> None:
    """Validate a configuration, insert the schema's defaults and drop its presets, in place.

    Raise UserError naming the key of the first fault and the fix.
    """
    _check_keys(config, "top level")
    try:
        _ValidatorWithDefaults(build_schema()).validate(config)
    except ValidationError as error:
        raise UserError(_describe(error)) from error
    config.pop("presets", None)
    _check_datasets(config)
    _check_models(config)
    _check_encoders(config)
    _check_other_images(config)


def _check_keys(value: object, place: str) -> None:
    """Raise UserError naming a key that YAML reads as a number, date or null: names of folders are made of keys."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        if isinstance(value, dict) and not isinstance(key, str):
            raise UserError(f"{place}: the key {key!r} is not text; write it in quotes, or choose a name of letters")
        _check_keys(child, f"{place}.{key}".removeprefix("top level."))


def _insert_defaults(validator, properties: dict, instance, schema: dict):
    """Validate the JSON schema keyword `properties` after inserting defaults."""
    if isinstance(instance, dict):
        for name, each in properties.items():
            if "default" in each:
                instance.setdefault(name, each["default"])
    yield from Draft202012Validator.VALIDATORS["properties"](validator, properties, instance, schema)


# JSON schema takes 1000.0 for a whole number, and YAML's .nan and .inf for numbers.
_TYPES = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda checker, value: type(value) is int).redefine(
    "number", lambda checker, value: type(value) in (int, float) and math.isfinite(value)
)
_ValidatorWithDefaults = validators.extend(Draft202012Validator, {"properties": _insert_defaults}, type_checker=_TYPES)


def _describe(error: ValidationError) -> str:
    """Return one line for a fault: the key, the error, the fix."""
    place = ".".join(map(str, error.absolute_path)) or "top level"
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = ", ".join(sorted(set(error.instance) - set(known)))
        return f"{place}: unknown key {unknown}; known are {', '.join(known)}"
    if error.validator == "required":
        missing = ", ".join(key for key in error.validator_value if key not in error.instance)
        return f"{place}: has no {missing}; add it"
    if error.validator == "type" and isinstance(error.instance, str) and re.fullmatch(r"[\d.]+e-?\d+", error.instance):
        return f"{place}: YAML reads {error.instance} as text; write a point and a sign, such as 2.0e-4"
    return f"{place}: {error.message}; see workflow/schemas/config.schema.yaml"


def _check_datasets(config: dict) -> None:
    """Raise UserError for flags that a source does not read, and for hyperparameters of an unknown data set."""
    for dataset, block in config["datasets"].items():
        flags = source_of(config, dataset).flags
        beside = ("source", "image_size", "strict", *_OF_OTHER_STAGES)
        if unread := [name for name in block if name not in flags and name not in beside]:
            raise UserError(
                f"datasets.{dataset}.{unread[0]}: is not an option of source {block['source']}; leave it out"
            )
        if "species" in extractors_of(config, dataset) and not has_classes(config, dataset):
            raise UserError(
                f"datasets.{dataset}.extractors: species needs a data set with classes, and {dataset} has none; name "
                "others, such as extractors: [efficientnet-lite0]"
            )
        for extractor in reference_npz_of(config, dataset):
            if extractor not in extractors_of(config, dataset):
                raise UserError(
                    f"datasets.{dataset}.reference_npz.{extractor}: is not an extractor of this data set; add it there"
                )
    if unused := [name for name in config["hyperparameters"] if name not in config["datasets"]]:
        raise UserError(f"hyperparameters.{unused[0]}: is not a data set of this file; add it under datasets")


def _check_models(config: dict) -> None:
    """Raise UserError if a model lacks hyperparameters or VGG-16's weights, or if its training options conflict."""
    for dataset in config["datasets"]:
        blocks = config["hyperparameters"].get(dataset, {})
        if not models_of(config, dataset):
            raise UserError(f"hyperparameters.{dataset}: has no block; add one for each model to run")
        if missing := [model for model in models_of(config, dataset) if model not in blocks]:
            raise UserError(
                f"hyperparameters.{dataset}: has no block for {', '.join(missing)}; add it, or take it off models"
            )
    for dataset, model in trainings_of(config):
        block = config["hyperparameters"][dataset][model]
        try:
            options_of(TrainingOptions, model, block)
        except UserError as error:
            raise UserError(f"hyperparameters.{dataset}.{model}.{error}") from error
        if reads_vgg16(model, block) and "vgg16_weights" not in config:
            option, stand_in = vgg16_option(model)
            raise UserError(
                f"hyperparameters.{dataset}.{model}.{option}: vgg16 needs a vgg16_weights key with torchvision's "
                f"vgg16 file; add it, or write {option}: {stand_in} for the stand-in"
            )


def _check_encoders(config: dict) -> None:
    """Raise UserError if Inception's weights are missing, or if the held-out DAMSM has the seed of the first DAMSM."""
    for dataset in config["datasets"]:
        damsm = damsm_block(config, dataset)
        if damsm.get("image_encoder", "inception") == "inception" and "inception_weights" not in damsm:
            raise UserError(
                "damsm.image_encoder: inception needs inception_weights, torchvision's inception_v3 file; add it, or "
                "write image_encoder: efficientnet-lite0 (photographs) or small (drawn birds)"
            )
        of_trunk = [name for name in ("trunk_size", "trunk_crops") if name in damsm]
        if of_trunk and damsm.get("image_encoder") != "efficientnet-lite0":
            raise UserError(f"damsm.{of_trunk[0]}: needs image_encoder: efficientnet-lite0; leave it out")
    seed = config["damsm"]["seed"]
    if config.get("held_out_damsm", {}).get("seed") == seed:
        raise UserError(f"held_out_damsm.seed: {seed} equals damsm.seed; the held-out DAMSM needs another seed")


def _check_other_images(config: dict) -> None:
    """Raise UserError for released weights or external methods of a data set that the configuration does not have."""
    for key in ("imported", "external"):
        for name, block in config[key].items():
            if block["dataset"] not in config["datasets"]:
                raise UserError(
                    f"{key}.{name}.dataset: {block['dataset']} is not a data set of this file; add it under datasets"
                )
    of_title: dict[tuple[str, str], str] = {}
    for name, block in config["external"].items():
        key = (block["dataset"], external_title(config, name))
        if key in of_title:
            raise UserError(f"external.{name}.title: is also that of {of_title[key]}; give each its own")
        of_title[key] = name


# Data sets.


def source_of(config: Mapping, dataset: str) -> Source:
    """Return the source of a data set."""
    return find_source(config["datasets"][dataset]["source"])


def preparation_block(config: Mapping, dataset: str) -> dict[str, object]:
    """Return the flags by which a data set is prepared, in the order of its block."""
    return {name: value for name, value in config["datasets"][dataset].items() if name not in _OF_OTHER_STAGES}


def input_files(config: Mapping, dataset: str) -> list[Path]:
    """Return the existing source files whose change makes the data set out of date."""
    source = source_of(config, dataset)
    options = source.options(config["datasets"][dataset])
    candidates = [*source.input_files(options), options.get("captions_pickle")]
    return [path for path in candidates if path is not None and path.is_file()]


def input_fingerprint(config: Mapping, dataset: str) -> str:
    """Return a hash of the paths, sizes and times of the texts and images that a data set is prepared from."""
    source = source_of(config, dataset)
    return fingerprint(source.input_folders(source.options(config["datasets"][dataset])))


def damsm_block(config: Mapping, dataset: str) -> dict[str, object]:
    """Return the DAMSM options of a data set: the top-level block, updated with the keys of the data set."""
    return config["damsm"] | config["datasets"][dataset].get("damsm", {})


def sampling_block(config: Mapping, dataset: str) -> dict[str, object]:
    """Return the sampling options of a data set: the top-level block, updated with the keys of the data set."""
    return config["sampling"] | config["datasets"][dataset].get("sampling", {})


def extractors_of(config: Mapping, dataset: str) -> list[str]:
    """Return the feature extractors of a data set: its own list, else the top-level list, else its source's."""
    own = config["datasets"][dataset].get("extractors") or config.get("extractors")
    return own or list(source_of(config, dataset).extractors)


def caption_words_of(config: Mapping, dataset: str) -> int:
    """Return the largest number of words of a caption that R-precision reads on a data set; 0 for whole captions."""
    return config["datasets"][dataset].get("caption_words", config["caption_words"])


def has_classes(config: Mapping, dataset: str) -> bool:
    """Return whether images have classes; true if the source cannot be read yet."""
    source = source_of(config, dataset)
    return source.has_classes(source.options(config["datasets"][dataset]))


def has_probe(config: Mapping, dataset: str) -> bool:
    """Return whether the extractor efficientnet-lite0 has a linear probe: of data sets with classes."""
    return "efficientnet-lite0" in extractors_of(config, dataset) and has_classes(config, dataset)


def reference_npz_of(config: Mapping, dataset: str) -> dict[str, str]:
    """Return {extractor: file of FID statistics} of a data set."""
    return config["datasets"][dataset].get("reference_npz", {})


def has_attributes(config: Mapping, dataset: str) -> bool:
    """Return whether captions name attributes whose true values are stored."""
    return source_of(config, dataset).has_attributes


def has_detector(config: Mapping, dataset: str) -> bool:
    """Return whether SOA uses a detector: one is configured, and the data set stores no attributes."""
    return "detector" in config and not has_attributes(config, dataset)


# Models.


def models_of(config: Mapping, dataset: str) -> list[str]:
    """Return the models of a data set: its own list, else the top-level list, else all with hyperparameters."""
    own = config["datasets"][dataset].get("models") or config.get("models")
    return own or list(config["hyperparameters"].get(dataset, {}))


def trainings_of(config: Mapping) -> list[tuple[str, str]]:
    """Return (data set, model) of all trainings, without seeds."""
    return [(dataset, model) for dataset in config["datasets"] for model in models_of(config, dataset)]


def model_block(config: Mapping, dataset: str, model: str) -> dict[str, object]:
    """Return the hyperparameters of a model on a data set: the defaults of its entry, updated with its block."""
    return find(model).defaults | config["hyperparameters"][dataset][model]


def validates(config: Mapping, dataset: str, model: str) -> bool:
    """Return whether snapshots of a model are measured on validation images during training."""
    return bool(config["hyperparameters"].get(dataset, {}).get(model, {}).get("evaluate_every"))


def validated_models(config: Mapping, dataset: str) -> list[str]:
    """Return the models of a data set whose snapshots are measured on validation images during training."""
    return [model for model in models_of(config, dataset) if validates(config, dataset, model)]


def needs_captioner(model: str) -> bool:
    """Return whether the losses of a model read a pretrained captioner."""
    return "captioner" in find(model).needs


def retrieves(model: str) -> bool:
    """Return whether a model generates from retrieved features."""
    return find(model).retrieves


def compares_retrieval(model: str) -> bool:
    """Return whether a model is also sampled with other retrieval methods: it retrieves and is not an ablation."""
    return retrieves(model) and find(model).ablation_of is None


def has_own_caption_length(model: str) -> bool:
    """Return whether `max_words` belongs to the definition of a model, so that sampling keeps the training value."""
    return "max_words" in find(model).training


def external_of(config: Mapping, dataset: str) -> list[str]:
    """Return the names of the external methods of a data set."""
    return [name for name, block in config["external"].items() if block["dataset"] == dataset]


def external_title(config: Mapping, name: str) -> str:
    """Return the name of an external method in tables."""
    return config["external"][name].get("title", name)


def folder_fingerprint(folder: Path) -> str:
    """Return a hash of the names, sizes and times of all files under a folder: it changes when an image does."""
    return fingerprint([Path(folder)], every_file=True)


def vgg16_option(model: str) -> tuple[str, str] | None:
    """Return the hyperparameter that selects VGG-16 and its value for the stand-in; None if there is none."""
    return next((VGG16_OPTIONS[need] for need in sorted(find(model).needs) if need in VGG16_OPTIONS), None)


def reads_vgg16(model: str, hyperparameters: Mapping) -> bool:
    """Return whether the training of a model reads VGG-16's weights, by default or by its hyperparameters."""
    choice = vgg16_option(model)
    return choice is not None and hyperparameters.get(choice[0], "vgg16") == "vgg16"
