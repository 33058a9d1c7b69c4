# Figures, tables, report pages and files of runs, as the rules and the target name them.

import json

import yaml

from dmgan.models.registry import MODELS
from dmgan.options import CONTROLS
from dmgan.report.figures.catalogue import GROUPS, Trained, figures_of
from dmgan.storage.files import write_text
from workflow.configuration import compares_retrieval, external_of, has_detector, models_of, validated_models

# Tables of every data set: file -> title in the report. The caption is workflow/report/FILE.rst.
TABLES = {
    "table1": "Table 1: Inception Score",
    "table2": "Table 2: FID and R-precision",
    "table3": "Table 3: Ablation",
    "measures": "Further measures",
    "kvmgan-table1": "KVM-GAN, Table 1: Inception Score",
    "kvmgan-table2": "KVM-GAN, Table 2: FID and R-precision",
    "mdsp-table1": "Memory-driven model, Table 1",
    "mdsp-grid": "Memory-driven model: its parts, A0 to A8",
    "reproduction-table1": "Student reproduction, Table 1",
}
TABLES_OF_CLAIMS = {
    "claims": "The papers' claims, computed and on this run",
    "conflicts": "Published numbers that contradict each other",
}


def rule_name(group, dataset):
    """Return the name of a data set's rule for a group of figures."""
    return f"{group}_{re.sub('[^A-Za-z0-9_]', '_', dataset)}"


def figures_on(group, dataset):
    """Return the figures of a group that the models of a data set have, by name."""
    return figures_of(group, Trained(models_of(config, dataset), validated_models(config, dataset)))


def shown_figures(group, dataset):
    """Return the PNG files of a group of figures as rule outputs that the report shows."""
    return [in_report("figures", "png", name, figure.heading) for name, figure in figures_on(group, dataset).items()]


def figure_paths(group, dataset, suffix):
    """Return the paths of a group of figures, for rules with the wildcard `dataset`."""
    return [f"results/{{dataset}}/figures/{name}.{suffix}" for name in figures_on(group, dataset)]


def figure_captions(group, dataset):
    """Return the captions of a group of figures by name, which workflow/report/FIGURE.rst reads."""
    return {name: figure.caption_text(dataset) for name, figure in figures_on(group, dataset).items()}


def figure_files():
    """Return the files of all figures of all data sets."""
    return [
        path.format(dataset=dataset)
        for dataset in config["datasets"]
        for group in GROUPS
        for suffix in ("png", "pdf")
        for path in figure_paths(group, dataset, suffix)
    ]


def in_report(folder, suffix, name, title):
    """Return a rule output that the report shows under `title`."""
    return report(
        f"results/{{dataset}}/{folder}/{name}.{suffix}",
        caption=f"../report/{name}.rst",
        category=folder.capitalize(),
        labels={"dataset": "{dataset}", "content": title},
    )


def shown_tables(dataset):
    """Return the HTML tables of a data set as rule outputs that the report shows, for readers in a browser."""
    shown = {table: (table, title) for table, title in TABLES.items()}
    shown["comparisons"] = ("comparisons", "Paired comparisons")
    shown["claims"] = ("claims", TABLES_OF_CLAIMS["claims"])
    for model in comparing_retrieval(dataset):
        shown[f"{model}-retrieval"] = ("retrieval", f"{MODELS[model].title}: retrieval and memorisation")
    return [shown_table(name, caption, title) for name, (caption, title) in shown.items()]


def shown_table(name, caption, title):
    """Return the HTML file of a table as a rule output that the report shows under `title`."""
    return report(
        f"results/{{dataset}}/report/{name}.html",
        caption=f"../report/{caption}.rst",
        category="Tables",
        labels={"dataset": "{dataset}", "content": title},
    )


def report_pages():
    """Return the report pages of all data sets."""
    return expand("results/{dataset}/report/report.{suffix}", dataset=config["datasets"], suffix=["html", "pdf"])


# Files of a table beside NAME.csv: `tables` writes them, and -published.tex too if a paper has the table.
PARTS_OF_TABLES = [".md", ".tex", "-controls.csv", "-controls.md", "-controls.tex", "-notes.md", "-notes.tex"]
NO_PAPER_TABLES = ["measures", "mdsp-grid"]
FILES_OF_COMPARISONS = [f"comparisons{part}" for part in (".csv", ".md", ".tex", "-notes.md", "-notes.tex")]


def files_beside_tables(folder):
    """Return the files of all tables in a folder, without NAME.csv."""
    published = [f"{folder}/{table}-published.tex" for table in TABLES if table not in NO_PAPER_TABLES]
    return [f"{folder}/{table}{part}" for table in TABLES for part in PARTS_OF_TABLES] + published


def tables_of(folder):
    """Return all files of all tables in a folder."""
    return [f"{folder}/{table}.csv" for table in TABLES] + files_beside_tables(folder)


def imported_tables():
    """Return the tables of all imported models."""
    folders = [f"results/{block['dataset']}/{name}/imported/tables" for name, block in config["imported"].items()]
    return [file for folder in folders for file in tables_of(folder)]


def modules(*folders):
    """Return code, tables and templates of folders, as inputs of cheap jobs: an edit makes results out of date."""
    kinds = (".py", ".csv", ".j2", ".css", ".typ")
    return sorted(str(path) for folder in folders for path in Path(folder).rglob("*") if path.suffix in kinds)


def metrics_of_runs(wildcards):
    """Return metrics.json of every model and seed on a data set, and of every external method."""
    external = external_of(config, wildcards.dataset)
    return metrics_of_trainings(wildcards) + [
        f"results/{wildcards.dataset}/{name}/external/metrics.json" for name in external
    ]


def metrics_of_soa(wildcards):
    """Return metrics.json of the images made for SOA, of every model and seed; none without a detector."""
    if not has_detector(config, wildcards.dataset):
        return []
    return [path.replace("metrics.json", "soa/metrics.json") for path in metrics_of_runs(wildcards)]


def images_of_runs(wildcards):
    """Return per_image.npz of every model and seed on a data set, and of every external method."""
    return [path.replace("metrics.json", "per_image.npz") for path in metrics_of_runs(wildcards)]


def metrics_of_controls(wildcards):
    """Return metrics.json of every control row of a data set."""
    return expand(
        "results/{dataset}/controls/{control}/metrics.json",
        dataset=wildcards.dataset,
        control=CONTROLS,
    )


def runs_to_show(wildcards):
    """Return the run folders that figures show: the first seed of every model."""
    return expand(
        "results/{dataset}/{model}/seed{seed}",
        dataset=wildcards.dataset,
        model=models_of(config, wildcards.dataset),
        seed=config["seeds"][0],
    )


def all_runs(wildcards):
    """Return the run folders of all seeds of all models of a data set."""
    return expand(
        "results/{dataset}/{model}/seed{seed}",
        dataset=wildcards.dataset,
        model=models_of(config, wildcards.dataset),
        seed=config["seeds"],
    )


def records_of_trainings(wildcards):
    """Return history and options of every model and seed on a data set."""
    return expand("{run}/{file}", run=all_runs(wildcards), file=["history.csv", "options.json"])


def metrics_of_trainings(wildcards):
    """Return metrics.json of every model and seed on a data set."""
    return expand("{run}/metrics.json", run=all_runs(wildcards))


def benchmarks_of_trainings(wildcards):
    """Return Snakemake's run time of the training of every model and seed on a data set."""
    return expand(
        "results/benchmarks/train/{dataset}-{model}-seed{seed}.tsv",
        dataset=wildcards.dataset,
        model=models_of(config, wildcards.dataset),
        seed=config["seeds"],
    )


def weights_to_show(wildcards):
    """Return the files of the runs that figures show."""
    return expand("{run}/{file}", run=runs_to_show(wildcards), file=["generator.safetensors", "options.json"])


def comparing_retrieval(dataset):
    """Return the models of a data set with a table of retrieval methods: models that retrieve, without ablations."""
    return list(filter(compares_retrieval, models_of(config, dataset)))


def retrieval_tables():
    """Return the tables of retrieval methods of all data sets and models."""
    return [
        f"results/{dataset}/{model}/retrieval.{suffix}"
        for dataset in config["datasets"]
        for model in comparing_retrieval(dataset)
        for suffix in ("md", "csv")
    ]


def metrics_of_retrievals(wildcards):
    """Return metrics.json of every seed of a model that retrieves: default retrieval method, then the others."""
    return expand(
        [
            "results/{dataset}/{model}/seed{seed}/metrics.json",
            *(
                f"results/{{dataset}}/{{model}}/seed{{seed}}/retrieval/{method}/metrics.json"
                for method in config["retrieval"]
            ),
        ],
        dataset=wildcards.dataset,
        model=wildcards.model,
        seed=config["seeds"],
    )


def tables_to_print(folder):
    """Return the Markdown tables of a folder, which hold the control rows, without the files of parts and notes."""
    return sorted(path for path in folder.glob("*.md") if not path.stem.endswith(("-controls", "-notes")))


def record_configuration():
    """Write the configuration of this run to the file that `make report` reads by default."""
    values = json.loads(json.dumps(config))  # plain containers, without YAML aliases
    write_text(Path(".snakemake", "configuration.yaml"), yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def show_results():
    """Print the Markdown tables of metrics and the folders of tables and figures."""
    for dataset in config["datasets"]:
        tables = tables_to_print(Path("results", dataset, "tables"))
        for table in (each for each in tables if each.stem not in TABLES_OF_CLAIMS):
            print(f"\n{table.read_text(encoding='utf-8').strip()}")
    for name, block in config["imported"].items():
        for table in tables_to_print(Path("results", block["dataset"], name, "imported", "tables")):
            print(f"\n{name}: {table.read_text(encoding='utf-8').strip()}")
    for dataset in config["datasets"]:
        print(f"\nTables:  results/{dataset}/tables/\nFigures: results/{dataset}/figures/")
        print(f"Report:  results/{dataset}/report/report.html and report.pdf")
