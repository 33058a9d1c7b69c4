"""A configuration that cannot be run is refused in one line that names file, key and fix."""

import pytest

from dmgan.errors import UserError
from tests.data.made_sources import picture, save
from tests.project import copy_of_project, run
from tests.workflow.configurations import read_config, write_config
from workflow.configuration import complete_configuration, extractors_of, read_configuration


def _unknown_key(config):
    config["image_count"] = 3


def _name_with_a_line_end(config):
    config["datasets"]["synthbirds\n"] = {}


def _unknown_hyperparameter(config):
    config["hyperparameters"]["synthbirds"]["dmgan"]["epoch"] = 3


def _unknown_model(config):
    config["models"].append("dmgann")


def _missing_block(config):
    del config["hyperparameters"]["synthbirds"]["attngan"]


def _missing_key(config):
    del config["seeds"]


def _text_for_a_number(config):
    config["hyperparameters"]["synthbirds"]["dmgan"]["generator_lr"] = "2e-4"


def _held_out_damsm_of_the_same_seed(config):
    config["held_out_damsm"]["seed"] = config["damsm"]["seed"]


def _block_without_dataset(config):
    config["hyperparameters"]["bird"] = {}


def _source_without_root(config):
    config["datasets"]["synthbirds"] = {"source": "coco", "image_size": 64}


def _flag_of_another_source(config):
    config["datasets"]["synthbirds"]["year"] = "2014"


def _flag_out_of_bounds(config):
    config["datasets"]["synthbirds"]["num_species"] = 3


def _data_set_without_models(config):
    del config["models"]
    config["datasets"]["more"] = {}


def _unknown_model_of_a_data_set(config):
    config["datasets"]["synthbirds"]["models"] = ["dmgann"]


def _option_out_of_bounds(config):
    config["hyperparameters"]["synthbirds"]["dmgan"]["ema_decay"] = 1.0


def _perceptual_loss_without_weights(config):
    config["models"].append("controlgan")
    config["hyperparameters"]["synthbirds"]["controlgan"] = {}


def _statistics_of_another_extractor(config):
    config["datasets"]["synthbirds"]["reference_npz"] = {"clean": "real.npz"}


def _inception_without_weights(config):
    del config["damsm"]["image_encoder"]


@pytest.mark.parametrize(
    "spoil, named",
    [
        (_unknown_key, "top level: unknown key image_count; known are presets, datasets, "),
        (_name_with_a_line_end, r"datasets: 'synthbirds\n' does not match"),
        (_unknown_hyperparameter, "hyperparameters.synthbirds.dmgan: unknown key epoch; known are base_size, "),
        (_unknown_model, "models.2: 'dmgann' is not one of "),
        (_missing_block, "hyperparameters.synthbirds: has no block for attngan; add it"),
        (_missing_key, "top level: has no seeds; add it"),
        (_text_for_a_number, "hyperparameters.synthbirds.dmgan.generator_lr: YAML reads 2e-4 as text; "),
        (
            _held_out_damsm_of_the_same_seed,
            "held_out_damsm.seed: 0 equals damsm.seed; the held-out DAMSM needs another seed",
        ),
        (
            _statistics_of_another_extractor,
            "datasets.synthbirds.reference_npz.clean: is not an extractor of this data set; add it there",
        ),
        (_source_without_root, "datasets.synthbirds: has no root; add it"),
        (_inception_without_weights, "damsm.image_encoder: inception needs inception_weights, torchvision's "),
        (_flag_of_another_source, "datasets.synthbirds.year: is not an option of source synthbirds; leave it out"),
        (_flag_out_of_bounds, "datasets.synthbirds.num_species: 3 is less than the minimum of 4; "),
        (_data_set_without_models, "hyperparameters.more: has no block; add one for each model to run"),
        (_unknown_model_of_a_data_set, "datasets.synthbirds.models.0: 'dmgann' is not one of "),
        (_option_out_of_bounds, "hyperparameters.synthbirds.dmgan.ema_decay: 1.0 is greater than or equal to "),
        (_block_without_dataset, "hyperparameters.bird: is not a data set of this file; "),
        (
            _perceptual_loss_without_weights,
            "hyperparameters.synthbirds.controlgan.perceptual: vgg16 needs a vgg16_weights key ",
        ),
    ],
)
def test_bad_configuration_is_one_line(spoil, named, tmp_path):
    config = read_config("config.yaml")
    spoil(config)
    path = write_config(tmp_path / "spoilt.yaml", config)
    with pytest.raises(UserError) as refused:
        read_configuration(path)
    line = str(refused.value)
    assert "\n" not in line and line.startswith(f"{path}: {named}")


def test_snakemake_and_the_plan_refuse_alike(tmp_path):
    config = read_config("config.yaml")
    _missing_block(config)
    path = write_config(tmp_path / "spoilt.yaml", config)
    line = f"{path}: hyperparameters.synthbirds: has no block for attngan; add it, or take it off models"
    dry = run("snakemake", "--dry-run", "--configfile", path)
    assert (dry.returncode, dry.stderr.strip()) == (1, line)
    plan = run("python", "workflow/plan.py", "--configfile", path)
    assert (plan.returncode, plan.stderr.strip()) == (1, f"plan: {line}")


def test_a_model_without_a_block_is_refused_as_a_target(tmp_path):
    config = read_config("smoke.yaml")
    config["datasets"]["birds"] = config["datasets"]["smoke"] | {"models": ["dmgan"]}
    config["hyperparameters"]["birds"] = {"dmgan": config["hyperparameters"]["smoke"]["dmgan"]}
    path = write_config(tmp_path / "own.yaml", config)
    goal = "results/birds/mdsp/seed0/generator.safetensors"
    dry = run("snakemake", goal, "--dry-run", "--configfile", path)
    assert dry.returncode == 1
    assert dry.stderr.splitlines()[-1] == f"{path}: hyperparameters.birds: has no block for mdsp; add it"


def test_overridden_key_of_the_command_line_is_checked():
    dry = run("snakemake", "--dry-run", "--config", "num_images=few")
    assert dry.returncode == 1
    assert "num_images: 'few' is not of type 'integer'" in dry.stderr


@pytest.mark.slow
@pytest.mark.parametrize("offered", [["--resources", "gpu=1"], ["--workflow-profile", "workflow/profiles/gpu"]])
def test_fewer_gpus_than_a_training_wants_are_refused_before_any_job(offered, tmp_path):
    config = read_config("smoke.yaml")
    config["hyperparameters"]["smoke"]["attngan"]["gpus"] = 4
    written, project = write_config(tmp_path / "gpus.yaml", config), copy_of_project(tmp_path / "project")

    def dry_run(model, *words):
        goal = f"results/smoke/{model}/seed0/generator.safetensors"
        words = ["--dry-run", "--cores", 2, "--configfile", written, *words]
        return run("snakemake", goal, *words, folder=project)

    refused = dry_run("attngan", *offered)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        f"{written}: hyperparameters.smoke.attngan.gpus: 4, but Snakemake is offered 1; "
        "give --resources gpu=4 (in a profile: gpu: 4), or lower gpus"
    )
    assert dry_run("dmgan", *offered).returncode == 0
    assert dry_run("attngan", "--resources", "gpu=4").returncode == 0
    there = project / "results" / "smoke" / "attngan" / "seed0" / "generator.safetensors"
    there.parent.mkdir(parents=True)
    there.touch()  # a training that is there already wants none
    assert dry_run("attngan", *offered).returncode == 0


@pytest.mark.parametrize("flags", [{"source": "folder"}, {"source": "coco"}])
def test_species_need_classes(flags, tmp_path):
    """A set without classes has none: a classifier of as many classes as images would learn nothing."""
    save(tmp_path / "photos" / "a.jpg", picture())
    (tmp_path / "photos" / "captions.jsonl").write_text('{"image": "a.jpg", "captions": ["a bird"]}')
    config = read_config("config.yaml")
    config["datasets"]["synthbirds"] = {**flags, "root": str(tmp_path / "photos"), "extractors": ["species"]}
    path = write_config(tmp_path / "photos.yaml", config)
    refusal = "datasets.synthbirds.extractors: species needs a data set with classes, and synthbirds has none; name "
    refusal += r"others, such as extractors: \[efficientnet-lite0\]"
    with pytest.raises(UserError, match=f"photos.yaml: {refusal}"):
        read_configuration(path)
    del config["datasets"]["synthbirds"]["extractors"]
    complete = read_configuration(write_config(path, config))
    assert extractors_of(complete, "synthbirds") == ["efficientnet-lite0"]  # the default of photographs needs no class
    if flags["source"] == "folder":
        config["datasets"]["synthbirds"]["extractors"] = ["species"]
        text = '{"image": "a.jpg", "captions": ["a bird"], "class": "wren"}'
        (tmp_path / "photos" / "captions.jsonl").write_text(text)
        assert read_configuration(write_config(path, config))


def test_training_options_that_contradict_each_other_are_refused():
    config = read_config("smoke.yaml")
    config["hyperparameters"]["smoke"]["dmgan"]["select"] = "best"
    with pytest.raises(UserError, match="^hyperparameters.smoke.dmgan.select best: needs evaluate_every above 0$"):
        complete_configuration(config)


def _seed_with_a_point(config):
    config["seeds"] = [1000.0]
    return "seeds.0: 1000.0 is not of type 'integer'"


def _seed_beyond_the_generators(config):
    config["seeds"] = [2**31]
    return "seeds.0: 2147483648 is greater than the maximum of 2147483647"


def _rate_that_is_infinite(config):
    config["hyperparameters"]["smoke"]["dmgan"]["generator_lr"] = float("inf")
    return "hyperparameters.smoke.dmgan.generator_lr: inf is not of type 'number'"


def _width_of_no_machine(config):
    config["hyperparameters"]["smoke"]["dmgan"]["generator_width"] = 10**9
    return "hyperparameters.smoke.dmgan.generator_width: 1000000000 is greater than the maximum of 16384"


def _key_that_is_a_number(config):
    config["datasets"][2014] = config["datasets"]["smoke"]
    return "datasets: the key 2014 is not text; write it in quotes"


def _imported_name_with_a_line_end(config):
    config["imported"] = {"dmgan\n": {}}
    return r"imported: 'dmgan\n' does not match"


@pytest.mark.parametrize("change", [
    _seed_with_a_point, _seed_beyond_the_generators, _rate_that_is_infinite, _width_of_no_machine,
    _key_that_is_a_number, _imported_name_with_a_line_end,
])  # fmt: skip
def test_values_that_yaml_reads_otherwise_than_they_look_are_refused(change):
    config = read_config("smoke.yaml")
    reason = change(config)
    with pytest.raises(UserError) as raised:
        complete_configuration(config)
    assert str(raised.value).startswith(reason), raised.value


@pytest.mark.parametrize(
    ("key", "value", "bound"), [("image_size", 16, "minimum of 32"), ("num_species", 20_000, "maxi")]
)
def test_a_number_that_the_source_cannot_make_is_refused_before_any_job(key, value, bound):
    config = read_config("smoke.yaml")
    config["datasets"]["smoke"][key] = value
    with pytest.raises(UserError, match=f"^datasets.smoke.{key}: {value} is .* than the {bound}"):
        complete_configuration(config)
