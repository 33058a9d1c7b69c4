# Targets of the reproduction: its tables and figures. The rules are in workflow/rules/.


# Load the default configuration only without --configfile: Snakemake would merge both files and run both.
if not workflow.overwrite_configfiles:

    configfile: "workflow/config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/results.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/retrieval.smk"
include: "workflow/rules/imported.smk"
include: "workflow/rules/checklist.smk"
include: "workflow/rules/page.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        [file for dataset in config["datasets"] for file in tables_of(f"results/{dataset}/tables")],
        expand("results/{dataset}/tables/{file}", dataset=config["datasets"], file=FILES_OF_COMPARISONS),
        expand(
            "results/{dataset}/tables/{table}.{suffix}",
            dataset=config["datasets"],
            table=TABLES_OF_CLAIMS,
            suffix=["csv", "md", "tex"],
        ),
        figure_files(),
        rules.parameters.output,
        expand(rules.checklist.output, dataset=config["datasets"]),
        retrieval_tables(),
        imported_tables(),
        report_pages(),


# Create MLflow's database before any job starts, because parallel jobs would race to create it. It is not the output of
# a rule: no file is made from it, and Snakemake would train every model again if it were missing.
onstart:
    shell("mkdir -p results && python -m dmgan mlflow-db --mlflow sqlite:///results/mlflow.db")
    record_configuration()


onsuccess:
    show_results()
