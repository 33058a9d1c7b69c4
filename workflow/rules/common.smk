import re
import shlex
import sys
from pathlib import Path

from snakemake.utils import min_version

sys.path.insert(0, workflow.basedir)  # the project's root

from dmgan.errors import UserError
from dmgan.storage.reading import read_yaml
from workflow.configuration import (
    caption_words_of,
    complete_configuration,
    damsm_block,
    external_title,
    extractors_of,
    folder_fingerprint,
    has_attributes,
    has_detector,
    has_own_caption_length,
    has_probe,
    input_files,
    input_fingerprint,
    models_of,
    needs_captioner,
    preparation_block,
    reads_vgg16,
    reference_npz_of,
    retrieves,
    sampling_block,
    trainings_of,
    validates,
)

min_version("9.0")


def config_source():
    """Return the names of the configuration files, for error messages."""
    return ", ".join(map(str, workflow.overwrite_configfiles or workflow.configfiles))


def refuse(message):
    """Exit with a one-line message that names the configuration file; a WorkflowError would print a traceback."""
    sys.exit(f"{config_source()}: {message}")


# Snakemake has read these files; of a repeated key it silently takes the last value.
for file in workflow.overwrite_configfiles or workflow.configfiles:
    try:
        read_yaml(Path(file), "fix it")
    except UserError as error:
        sys.exit(str(error))

try:
    complete_configuration(config)
except UserError as error:
    refuse(error)


wildcard_constraints:
    dataset="|".join(map(re.escape, config["datasets"])),
    model="|".join({re.escape(model): None for _, model in trainings_of(config)}),
    imported="|".join(map(re.escape, config["imported"])) or "(?!)",
    external="|".join(map(re.escape, config["external"])) or "(?!)",
    seed=r"\d+",
    method="[A-Za-z-]+",


def flags(options):
    """Return options as command-line flags, such as '--epochs 600 --no-new-adam-each-epoch'."""
    words = []
    for name, value in options.items():
        name = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            joint = "=" if str(value).startswith("-") else " "  # argparse takes -rf for a flag
            words.append(f"--{name}{joint}{shlex.quote(str(value))}")
    return " ".join(words)


def dataset_flags(wildcards):
    """Return the flags by which a data set is prepared."""
    return flags(preparation_block(config, wildcards.dataset))


def source_files(wildcards):
    """Return the source files whose change makes a data set out of date; `prepare` reports missing files."""
    return [str(path) for path in input_files(config, wildcards.dataset)]


def source_fingerprint(wildcards):
    """Return a hash of the texts and images of a source: a changed parameter makes the data set out of date."""
    return input_fingerprint(config, wildcards.dataset)


MLFLOW = "--mlflow sqlite:///results/mlflow.db"


def damsm_folder(wildcards):
    """Return the folder of the encoders of a generator: those of the data set, or of an imported model."""
    if hasattr(wildcards, "imported"):
        return f"{run_folder(wildcards)}/damsm"
    return f"results/{wildcards.dataset}/damsm/seed{config['damsm']['seed']}"


def run_folder(wildcards):
    """Return the run folder of a trained or an imported model."""
    if hasattr(wildcards, "imported"):
        return f"results/{wildcards.dataset}/{wildcards.imported}/imported/run"
    return f"results/{wildcards.dataset}/{wildcards.model}/seed{wildcards.seed}"


def damsm_flags(wildcards):
    """Return the flags by which the encoders are pretrained, except the seed, which is in the path."""
    block = damsm_block(config, wildcards.dataset)
    block = {name: value for name, value in block.items() if name != "seed"}
    if block.get("trunk_crops"):
        block["trunk_cache"] = f"results/{wildcards.dataset}/trunk"
    return flags(block | config["matching"])


def inception_weights(wildcards):
    """Return the ImageNet weights that the image encoder starts from, if any."""
    block = damsm_block(config, wildcards.dataset)
    return [block["inception_weights"]] if "inception_weights" in block else []


def classifier_flags(wildcards):
    """Return the flags by which the species classifier is trained."""
    return flags(config["classifier"])


def hyperparameters(wildcards):
    """Return the hyperparameter block of a model on a data set."""
    blocks = config["hyperparameters"].get(wildcards.dataset, {})
    if wildcards.model not in blocks:
        refuse(f"hyperparameters.{wildcards.dataset}: has no block for {wildcards.model}; add it")
    return blocks[wildcards.model]


def attributes_flags(wildcards):
    """Return the flags by which the attribute classifier is trained."""
    return flags(config["attributes"])


def scorer_files(wildcards):
    """Return the files of all scorers except the training DAMSM and the species classifier, and FID statistics."""
    scorers = [*reference_npz_of(config, wildcards.dataset).values()]
    if "held_out_damsm" in config:
        seed = config["held_out_damsm"]["seed"]
        scorers += expand(rules.pretrain.output, dataset=wildcards.dataset, seed=seed)
    if has_attributes(config, wildcards.dataset):
        scorers += expand(rules.attributes.output, dataset=wildcards.dataset)
    if "clip" in config:
        scorers.append(config["clip"]["weights"])
    if has_detector(config, wildcards.dataset):
        scorers.append(config["detector"])
    return scorers


def scorer_flags(wildcards):
    """Return the flags of all scorers except the training DAMSM and the species classifier."""
    words = ["--fold-rule", config["fold_rule"], "--caption-words", str(caption_words_of(config, wildcards.dataset))]
    if "held_out_damsm" in config:
        words += ["--held-out-damsm", f"results/{wildcards.dataset}/damsm/seed{config['held_out_damsm']['seed']}"]
    if has_attributes(config, wildcards.dataset):
        words += ["--attributes", f"results/{wildcards.dataset}/attributes"]
    if "clip" in config:
        words += ["--clip", config["clip"]["model"], "--clip-weights", config["clip"]["weights"]]
    if has_detector(config, wildcards.dataset):
        words += ["--detector-weights", config["detector"]]
    return shlex.join(words)


def species_files(wildcards):
    """Return the files of the species classifier; an empty list if the extractor `species` is not configured."""
    return (
        expand(rules.classifier.output, dataset=wildcards.dataset)
        if "species" in extractors_of(config, wildcards.dataset)
        else []
    )


def probe_files(wildcards):
    """Return the files of the linear probe of efficientnet-lite0, if the data set has one."""
    return expand(rules.probe.output, dataset=wildcards.dataset) if has_probe(config, wildcards.dataset) else []


def probe_flags(wildcards):
    """Return the flag of the linear probe, if the data set has one."""
    return f"--probe results/{wildcards.dataset}/probe" if has_probe(config, wildcards.dataset) else ""


def reference_flags(wildcards):
    """Return the flags of the real images' features and statistics, and of the feature extractors."""
    words = ["--reference-features", f"results/{wildcards.dataset}/reference"]
    statistics = reference_npz_of(config, wildcards.dataset).items()
    words += ["--reference-npz", *(f"{extractor}={path}" for extractor, path in statistics)] if statistics else []
    return f"{shlex.join(words)} {extractor_flags(wildcards)} {probe_flags(wildcards)}".strip()


def extractor_flags(wildcards):
    """Return the flags of the feature extractors and their weights."""
    words = ["--extractors", *extractors_of(config, wildcards.dataset), "--weights", config["weights"]]
    if "species" in extractors_of(config, wildcards.dataset):
        words += ["--classifier", f"results/{wildcards.dataset}/species"]
    return shlex.join(words)


def captioner_flags(wildcards):
    """Return the flags by which the captioner is pretrained."""
    return flags(config["captioner"])


def loss_network_files(wildcards):
    """Return the weights of the frozen networks that a model's losses read: captioner or VGG-16."""
    if needs_captioner(wildcards.model):
        return expand(rules.captioner.output, dataset=wildcards.dataset)
    return [config["vgg16_weights"]] if reads_vgg16(wildcards.model, hyperparameters(wildcards)) else []


def training_flags(wildcards):
    """Return the flags of a training: hyperparameters of the model on the data set, and files of loss networks."""
    block = {name: value for name, value in hyperparameters(wildcards).items() if name != "gpus"}
    if needs_captioner(wildcards.model):
        block["captioner"] = f"results/{wildcards.dataset}/captioner"
    if reads_vgg16(wildcards.model, hyperparameters(wildcards)):
        block["vgg16_weights"] = config["vgg16_weights"]
    return f"{flags(block | config['matching'])} {validation_flags(wildcards)}".strip()


def validation_files(wildcards):
    """Return the files of the networks that measure snapshots during training; an empty list without evaluate_every."""
    if not validates(config, wildcards.dataset, wildcards.model):
        return []
    files = list(species_files(wildcards))
    if "held_out_damsm" in config:
        files += expand(rules.pretrain.output, dataset=wildcards.dataset, seed=config["held_out_damsm"]["seed"])
    if has_attributes(config, wildcards.dataset):
        files += expand(rules.attributes.output, dataset=wildcards.dataset)
    return files


def validation_flags(wildcards):
    """Return the flags of the networks that measure snapshots during training; "" without evaluate_every."""
    if not validates(config, wildcards.dataset, wildcards.model):
        return ""
    words = []
    if "held_out_damsm" in config:
        words += ["--held-out-damsm", f"results/{wildcards.dataset}/damsm/seed{config['held_out_damsm']['seed']}"]
    if has_attributes(config, wildcards.dataset):
        words += ["--attributes", f"results/{wildcards.dataset}/attributes"]
    return f"{extractor_flags(wildcards)} {shlex.join(words)}"


def memory_flags(wildcards):
    """Return --memory-cache if the model retrieves; for a rule without a model, if any model retrieves."""
    models = [wildcards.model] if hasattr(wildcards, "model") else models_of(config, wildcards.dataset)
    keeps = "memory_cache" in config and any(map(retrieves, models))
    return flags({"memory_cache": config["memory_cache"]} if keeps else {})


def training_gpus(wildcards):
    """Return the number of GPUs, and of processes, of a training."""
    return hyperparameters(wildcards).get("gpus", 1)


def training_program(wildcards):
    """Return the command that starts a training, with one process per GPU."""
    count = training_gpus(wildcards)
    return "python -m dmgan" if count == 1 else f"python -m dmgan.runtime.launch --nproc-per-node {count} --"


def granted_gpus(wildcards, output, resources):
    """Return the GPUs that Snakemake grants a training; Snakemake silently reduces requests above its --resources.

    Exit before any job runs if an unfinished training gets fewer GPUs than processes. A finished training that is
    repeated with too few GPUs is stopped by workflow/gpu_lease.py.
    """
    wanted = training_gpus(wildcards)
    if 1 < wanted > resources.gpu and not Path(output.generator).exists():
        refuse(
            f"hyperparameters.{wildcards.dataset}.{wildcards.model}.gpus: {wanted}, but Snakemake is offered "
            f"{resources.gpu}; give --resources gpu={wanted} (in a profile: gpu: {wanted}), or lower gpus"
        )
    return resources.gpu


# The images of the tables: captions and noises are drawn with one seed for all models.
TEST_IMAGES = f"--num-images {config['num_images']} --seed {config['sampling_seed']}"


def sampling_flags(wildcards):
    """Return the flags by which test images of a data set are sampled; imported models keep their own max_words."""
    block = sampling_block(config, wildcards.dataset)
    if "model" not in wildcards.keys() or has_own_caption_length(wildcards.model):
        block = {name: value for name, value in block.items() if name != "max_words"}
    return flags(block)


def released_file(role):
    """Return an input function that gives the released file of a role (generator, text_encoder, ...)."""
    return lambda wildcards: config["imported"][wildcards.imported][role]


def import_flags(wildcards):
    """Return the flags by which released weights are imported."""
    block = config["imported"][wildcards.imported]
    return flags({name: block[name] for name in ("model", "word_mask", "max_words")})


def external_images(wildcards):
    """Return the folder of an external method's images."""
    return config["external"][wildcards.external]["images"]


def external_captions(wildcards):
    """Return the captions file of an external method, if it is outside the folder."""
    block = config["external"][wildcards.external]
    return [block["captions"]] if "captions" in block else []


def external_flags(wildcards):
    """Return the flags of an external method's name and captions, of the reference and of the extractors."""
    block = config["external"][wildcards.external]
    words = ["--name", external_title(config, wildcards.external)]
    words += ["--captions", block["captions"]] if "captions" in block else []
    words += ["--free-captions"] if block["free_captions"] else []
    return f"{shlex.join(words)} {reference_flags(wildcards)}"


def external_fingerprint(wildcards):
    """Return a hash of the files of an external method, whose change makes its evaluation out of date."""
    return folder_fingerprint(external_images(wildcards))
