# Contents page: which tables and figures make up the reproduction. The rules stand in workflow/rules/.


# A file given with --configfile stands alone: merged with the default one, both would run.
if not workflow.overwrite_configfiles:

    configfile: "workflow/config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/retrieval.smk"
include: "workflow/rules/imported.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        expand(
            "results/{dataset}/tables/{table}.{suffix}",
            dataset=config["datasets"],
            table=[*TABLES, "comparisons"],
            suffix=["csv", "md", "tex"],
        ),
        expand(
            "results/{dataset}/figures/{figure}.{suffix}",
            dataset=config["datasets"],
            figure=["figure3", "figure4", "figure5", "figure6", "002-figure1"],
            suffix=["png", "pdf"],
        ),
        rules.parameters.output,
        expand(
            "results/{dataset}/figures/{figure}.{suffix}",
            dataset=config["datasets"],
            figure=FIGURES_OF_MEMORY,
            suffix=["png", "pdf"],
        ),
        metrics_of_soa(),
        retrieval_tables(),
        imported_tables(),


# MLflow's database must be there before jobs that could race to make it. It is no output of a rule: nothing is
# made from it, and a rule would train every model anew where it is missing.
onstart:
    shell("mkdir -p results && python -m dmgan lab-book --mlflow sqlite:///results/mlflow.db")


onsuccess:
    show_results()
