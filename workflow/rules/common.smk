import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, validate

min_version("9.0")

# Models whose losses read a network of their own; `needs` of their classes says the same (a test compares).
WITH_CAPTIONER = {"mirrorgan"}
WITH_PERCEPTUAL_LOSS = {"controlgan"}
# Models to which a limit of words belongs: sampling keeps it.
WITH_FEW_WORDS = {"dmgan-004-two-words"}
# Models that retrieve; `reads_features` of the built ones says the same.
WITH_MEMORY = {"mdsp", "mdsp-a1", "mdsp-a2", "mdsp-a3", "mdsp-a5", "mdsp-a6", "mdsp-a7", "mdsp-a8"}


def vgg16_option(model):
    """The hyperparameter by which a model reads VGG-16 or its stand-in, and that stand-in."""
    if model in WITH_PERCEPTUAL_LOSS:
        return "perceptual", "damsm"
    return ("feature_network", "small") if model.split("-")[0] == "mdsp" else (None, None)


def chooses_vgg16(block, option):
    """Whether a block of hyperparameters asks for VGG-16, which is the default."""
    return block.get(option, "vgg16") == "vgg16"


def config_source():
    """Where the configuration comes from, as error messages name it."""
    return ", ".join(map(str, workflow.overwrite_configfiles or workflow.configfiles))


def refuse(message):
    """Stop with one line that names the configuration file (a WorkflowError would add its traceback)."""
    sys.exit(f"{config_source()}: {message}")


def describe(error):
    """One line for a jsonschema error: the key, what is wrong with it, the fix."""
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


def damsm_block(dataset):
    """How the encoders of a data set are pretrained, on it perhaps otherwise than on others."""
    return config["damsm"] | config["datasets"][dataset].get("damsm", {})


def check_config():
    """Validate the configuration, insert the schema's defaults, and ask for every hyperparameter block."""
    try:
        validate(config, "../schemas/config.schema.yaml")
    except WorkflowError as error:  # its context is the jsonschema error, its own text is many lines
        refuse(describe(error.__context__))
    for dataset in config["datasets"]:
        blocks = config["hyperparameters"].get(dataset, {})
        missing = [model for model in config["models"] if model not in blocks]
        if missing:
            refuse(f"hyperparameters.{dataset}: has no block for {', '.join(missing)}; add it, or take it off models")
    for name, block in config["imported"].items():
        if block["dataset"] not in config["datasets"]:
            refuse(f"imported.{name}.dataset: {block['dataset']} is no data set of this file; name it under datasets")
    for dataset in config["datasets"]:
        for model in config["models"]:
            option, stand_in = vgg16_option(model)
            if (
                option
                and "vgg16_weights" not in config
                and chooses_vgg16(config["hyperparameters"][dataset][model], option)
            ):
                refuse(
                    f"hyperparameters.{dataset}.{model}.{option}: vgg16 needs a vgg16_weights key with torchvision's "
                    f"vgg16 file; add it, or write {option}: {stand_in} for the stand-in"
                )
        damsm = damsm_block(dataset)
        if damsm.get("image_encoder", "inception") == "inception" and "inception_weights" not in damsm:
            refuse(
                "damsm.image_encoder: inception needs inception_weights, torchvision's inception_v3 file; add it, or "
                "write image_encoder: small"
            )
    if config.get("held_out_damsm", {}).get("seed") == config["damsm"]["seed"]:
        refuse(f"held_out_damsm.seed: {config['damsm']['seed']} is damsm.seed; a held-out judge must be of another")
    unused = [name for name in config["hyperparameters"] if name not in config["datasets"]]
    if unused:
        refuse(f"hyperparameters.{unused[0]}: is no data set of this file; name it under datasets")


check_config()


wildcard_constraints:
    dataset="|".join(map(re.escape, config["datasets"])),
    model="|".join(map(re.escape, config["models"])),
    imported="|".join(map(re.escape, config["imported"])) or "(?!)",
    seed=r"\d+",
    method="[A-Za-z-]+",


def flags(options):
    """Options as command-line flags, such as '--epochs 600 --no-new-adam-each-epoch'."""
    words = []
    for name, value in options.items():
        name = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words.append(f"--{name} {shlex.quote(str(value))}")
    return " ".join(words)


def dataset_flags(wildcards):
    """How one data set is prepared."""
    of_other_rules = ("damsm", "sampling", "rungs")
    block = config["datasets"][wildcards.dataset]
    return flags({name: value for name, value in block.items() if name not in of_other_rules})


def source_files(wildcards):
    """The files of a source whose change makes its data set anew; `prepare` itself names one that is not there."""
    block = config["datasets"][wildcards.dataset]
    root, metadata = Path(block.get("root", "")), Path(block.get("metadata", ""))
    candidates = {
        "synthbirds": [],
        "cub": [
            *(root / name for name in ("images.txt", "image_class_labels.txt", "classes.txt", "bounding_boxes.txt")),
            *(metadata / split / "filenames.pickle" for split in ("train", "test")),
            Path(block.get("captions", "")) / "testclasses.txt",
        ],
        "coco": sorted((root / "annotations").glob(f"captions_*{block.get('year', '')}.json")),
        "folder": [Path(block.get("captions", root / "captions.jsonl"))],
    }[block["source"]]
    return [str(path) for path in [*candidates, Path(block.get("captions_pickle", ""))] if path.is_file()]


def damsm_flags(wildcards):
    """How the encoders are pretrained; their seed is in the path."""
    block = damsm_block(wildcards.dataset)
    return flags({name: value for name, value in block.items() if name != "seed"} | config["matching"])


def inception_weights(wildcards):
    """ImageNet's weights that the image encoder begins with, where they are given."""
    block = damsm_block(wildcards.dataset)
    return [block["inception_weights"]] if "inception_weights" in block else []


def classifier_flags(wildcards):
    """How the species classifier is trained."""
    return flags(config["classifier"])


def hyperparameters(wildcards):
    """The block of one model on one data set."""
    return config["hyperparameters"][wildcards.dataset][wildcards.model]


def attributes_flags(wildcards):
    """How the attribute classifier is trained."""
    return flags(config["attributes"])


def names_attributes(dataset):
    """Whether the captions of a data set name attributes whose truth is known."""
    return config["datasets"][dataset]["source"] == "synthbirds"


def has_detector(dataset):
    """Whether a detector looks for the objects of SOA in the images of a data set: on photographs, where it is given."""
    return "detector" in config and not names_attributes(dataset)


def judge_files(wildcards):
    """What the judges beside the training DAMSM and the species classifier are read from."""
    judges = []
    if "held_out_damsm" in config:
        seed = config["held_out_damsm"]["seed"]
        judges += expand(rules.pretrain.output, dataset=wildcards.dataset, seed=seed)
    if names_attributes(wildcards.dataset):
        judges += expand(rules.attributes.output, dataset=wildcards.dataset)
    if "clip" in config:
        judges.append(config["clip"]["weights"])
    if has_detector(wildcards.dataset):
        judges.append(config["detector"])
    return judges


def judge_flags(wildcards):
    """The judges beside the training DAMSM and the species classifier."""
    words = ["--fold-rule", config["fold_rule"], "--caption-words", str(config["caption_words"])]
    if "held_out_damsm" in config:
        words += ["--held-out-damsm", f"results/{wildcards.dataset}/damsm/seed{config['held_out_damsm']['seed']}"]
    if names_attributes(wildcards.dataset):
        words += ["--attributes", f"results/{wildcards.dataset}/attributes"]
    if "clip" in config:
        words += ["--clip", config["clip"]["model"], "--clip-weights", config["clip"]["weights"]]
    if has_detector(wildcards.dataset):
        words += ["--detector-weights", config["detector"]]
    return shlex.join(words)


def rungs(wildcards):
    """Feature networks that the images of a data set are measured with."""
    return config["datasets"][wildcards.dataset].get("rungs", config["rungs"])


def species_files(wildcards):
    """The species classifier, where the rung species is asked for: a data set without classes has none."""
    return expand(rules.classifier.output, dataset=wildcards.dataset) if "species" in rungs(wildcards) else []


def rung_flags(wildcards):
    """The feature networks of the evaluation, and where their weights are."""
    words = ["--rungs", *rungs(wildcards), "--weights", config["weights"]]
    if "species" in rungs(wildcards):
        words += ["--classifier", f"results/{wildcards.dataset}/species"]
    return shlex.join(words)


def captioner_flags(wildcards):
    """How the captioner is pretrained."""
    return flags(config["captioner"])


def companions(wildcards):
    """Further files that the losses of some models read: their captioner, their VGG-16."""
    if wildcards.model in WITH_CAPTIONER:
        return expand(rules.captioner.output, dataset=wildcards.dataset)
    return [config["vgg16_weights"]] if reads_vgg16(wildcards) else []


def reads_vgg16(wildcards):
    """Whether a training reads VGG-16's weights."""
    option, _ = vgg16_option(wildcards.model)
    return bool(option) and chooses_vgg16(hyperparameters(wildcards), option)


def training_flags(wildcards):
    """The hyperparameters of one model on one data set, and the further files it reads."""
    block = {name: value for name, value in hyperparameters(wildcards).items() if name != "gpus"}
    if wildcards.model in WITH_CAPTIONER:
        block["captioner"] = f"results/{wildcards.dataset}/captioner"
    if reads_vgg16(wildcards):
        block["vgg16_weights"] = config["vgg16_weights"]
    return flags(block | config["matching"])


def memory_flags(wildcards):
    """Where the memory's keys and values are kept, if the model, or one of all, retrieves."""
    models = {wildcards.model} if hasattr(wildcards, "model") else set(config["models"])
    return flags({"memory_cache": config["memory_cache"]} if "memory_cache" in config and WITH_MEMORY & models else {})


def training_gpus(wildcards):
    """GPUs, and processes, of one training."""
    return hyperparameters(wildcards).get("gpus", 1)


def training_program(wildcards):
    """How one training is started: torchrun gives every GPU a process of its own."""
    count = training_gpus(wildcards)
    return "python -m dmgan" if count == 1 else f"torchrun --standalone --nproc-per-node {count} -m dmgan"


def granted_gpus(wildcards, output, resources):
    """GPUs that Snakemake grants a training, having cut them down to what it is offered without a word.

    Fewer than its processes are refused before any job runs, where the training is not there yet; one that is to be made
    anew is refused by its lease.
    """
    wanted = training_gpus(wildcards)
    if 1 < wanted > resources.gpu and not Path(output.generator).exists():
        refuse(
            f"hyperparameters.{wildcards.dataset}.{wildcards.model}.gpus: {wanted}, but Snakemake is offered "
            f"{resources.gpu}; give --resources gpu={wanted} (in a profile: gpu: {wanted}), or lower gpus"
        )
    return resources.gpu


def sampling_flags(wildcards):
    """How test images are made, on this data set perhaps otherwise; imported models bring their own max_words."""
    block = config["sampling"] | config["datasets"][wildcards.dataset].get("sampling", {})
    if "model" not in wildcards.keys() or wildcards.model in WITH_FEW_WORDS:
        block = {name: value for name, value in block.items() if name != "max_words"}
    return flags(block)


def released_file(role):
    """The released file of one role (generator, text_encoder, ...) of an imported model."""
    return lambda wildcards: config["imported"][wildcards.imported][role]


def import_flags(wildcards):
    """How released weights are read."""
    block = config["imported"][wildcards.imported]
    return flags({name: block[name] for name in ("model", "word_mask", "max_words")})


CONTROLS = ["real", "shuffled", "nearest", "noise", "adversarial"]
# DM-GAN's tables and the further measures, then those of the draft, of the memory-driven model and of the reproduction.
TABLES = ["table1", "table2", "table3", "measures"]
TABLES += ["kvmgan-table1", "kvmgan-table2", "mdsp-table1", "reproduction-table1"]


def imported_tables():
    """The tables of every imported model."""
    return [
        f"results/{block['dataset']}/{name}/imported/tables/{table}.{suffix}"
        for name, block in config["imported"].items()
        for table in TABLES
        for suffix in ("csv", "md", "tex")
    ]


def modules(*folders):
    """Code and the tables beside it, as inputs of cheap jobs: editing it makes their results anew."""
    return sorted(str(path) for folder in folders for path in Path(folder).iterdir() if path.suffix in (".py", ".csv"))


def metrics_of_runs(wildcards):
    """metrics.json of every model and seed on one data set."""
    return expand(
        "results/{dataset}/{model}/seed{seed}/metrics.json",
        dataset=wildcards.dataset,
        model=config["models"],
        seed=config["seeds"],
    )


def metrics_of_soa():
    """metrics.json of the images that SOA asks for, of every model and seed on photographs."""
    return expand(
        "results/{dataset}/{model}/seed{seed}/soa/metrics.json",
        dataset=filter(has_detector, config["datasets"]),
        model=config["models"],
        seed=config["seeds"],
    )


def images_of_runs(wildcards):
    """What each image of every model and seed on one data set adds to its metrics."""
    return [path.replace("metrics.json", "per_image.npz") for path in metrics_of_runs(wildcards)]


def metrics_of_controls(wildcards):
    """metrics.json of every control row of one data set."""
    return expand(
        "results/{dataset}/controls/{control}/metrics.json",
        dataset=wildcards.dataset,
        control=CONTROLS,
    )


def runs_to_show(wildcards):
    """Run folders whose images the figures show: every model's first seed."""
    return expand(
        "results/{dataset}/{model}/seed{seed}",
        dataset=wildcards.dataset,
        model=config["models"],
        seed=config["seeds"][0],
    )


def weights_to_show(wildcards):
    """Files of the runs that the figures show."""
    return expand("{run}/{file}", run=runs_to_show(wildcards), file=["generator.safetensors", "options.json"])


# The model that retrieves, where it is run: its table of retrieval methods, and the figures of its paper.
RETRIEVING = [model for model in config["models"] if model == "mdsp"]
FIGURES_OF_MEMORY = ["002-figure3", "002-figure5"] if RETRIEVING else []


def retrieval_tables():
    """The table of every data set on which a model that retrieves is run."""
    return expand(
        "results/{dataset}/{model}/retrieval.{suffix}",
        dataset=config["datasets"],
        model=RETRIEVING,
        suffix=["md", "csv"],
    )


def metrics_of_retrievals(wildcards):
    """metrics.json of every seed of a model that retrieves: of its own method, then of the others."""
    return expand(
        [
            "results/{dataset}/{model}/seed{seed}/metrics.json",
            *(
                f"results/{{dataset}}/{{model}}/seed{{seed}}/retrieval/{each}/metrics.json"
                for each in config["retrieval"]
            ),
        ],
        dataset=wildcards.dataset,
        model=wildcards.model,
        seed=config["seeds"],
    )


def show_results():
    """Print the Markdown tables, and where tables and figures are."""
    for dataset in config["datasets"]:
        for table in sorted(Path("results", dataset, "tables").glob("*.md")):
            print(f"\n{table.read_text(encoding='utf-8').strip()}")
    for name, block in config["imported"].items():
        for table in sorted(Path("results", block["dataset"], name, "imported", "tables").glob("*.md")):
            print(f"\n{name}: {table.read_text(encoding='utf-8').strip()}")
    for dataset in config["datasets"]:
        print(f"\nTables:  results/{dataset}/tables/\nFigures: results/{dataset}/figures/")
