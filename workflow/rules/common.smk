import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, validate

min_version("9.0")


def config_source():
    """Where the configuration comes from, as error messages name it."""
    return ", ".join(map(str, workflow.overwrite_configfiles or workflow.configfiles))


def refuse(message):
    """Stop with one line that names the configuration file (a WorkflowError would add its traceback)."""
    sys.exit(f"{config_source()}: {message}")


def describe(error):
    """One line for a jsonschema error: the key, what is wrong with it, the mend."""
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
    unused = [name for name in config["hyperparameters"] if name not in config["datasets"]]
    if unused:
        refuse(f"hyperparameters.{unused[0]}: is no data set of this file; name it under datasets")


check_config()


wildcard_constraints:
    dataset="|".join(map(re.escape, config["datasets"])),
    model="|".join(map(re.escape, config["models"])),
    imported="|".join(map(re.escape, config["imported"])) or "(?!)",
    control="|".join(CONTROLS := ["real", "shuffled", "noise"]),
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
            words.append(f"--{name} {value}")
    return " ".join(words)


def dataset_flags(wildcards):
    """How one data set is prepared."""
    return flags(config["datasets"][wildcards.dataset])


def damsm_flags(wildcards):
    """How the encoders are pretrained; their seed is in the path."""
    return flags({name: value for name, value in config["damsm"].items() if name != "seed"} | config["matching"])


def classifier_flags(wildcards):
    """How the species classifier is trained."""
    return flags(config["classifier"])


def training_flags(wildcards):
    """The hyperparameters of one model on one data set."""
    return flags(config["hyperparameters"][wildcards.dataset][wildcards.model] | config["matching"])


def released_file(role):
    """The released file of one role (generator, text_encoder, ...) of an imported model."""
    return lambda wildcards: config["imported"][wildcards.imported][role]


def import_flags(wildcards):
    """How released weights are read."""
    block = config["imported"][wildcards.imported]
    return flags({name: block[name] for name in ("model", "word_mask", "max_words")})


def imported_tables():
    """The tables of every imported model."""
    return [
        f"results/{block['dataset']}/{name}/imported/tables/table{number}.{suffix}"
        for name, block in config["imported"].items()
        for number in (1, 2, 3)
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
