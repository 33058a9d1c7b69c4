# The report page of every data set: what it shows depends on the models, so every data set has its own rule.


for dataset in config["datasets"]:

    rule:
        name:
            rule_name("report_page", dataset)
        input:
            runs=metrics_of_runs,
            soa=metrics_of_soa,
            controls=metrics_of_controls,
            tables=rules.tables.output,
            comparisons=rules.compare.output,
            claims=rules.claims.output,
            figures=[path for group in GROUPS for path in figure_paths(group, dataset, "png")],
            retrieval=[f"results/{{dataset}}/{model}/retrieval.csv" for model in comparing_retrieval(dataset)],
            code=modules("dmgan/report"),
        output:
            page=report(
                "results/{dataset}/report/report.html",
                caption="../report/report.rst",
                category="Report",
                labels={"dataset": "{dataset}", "content": "Every table, figure and claim on one page"},
            ),
            pdf=report(
                "results/{dataset}/report/report.pdf",
                caption="../report/report.rst",
                category="Report",
                labels={"dataset": "{dataset}", "content": "The same page as PDF"},
            ),
            tables=shown_tables(dataset),
        log:
            "results/logs/report_page/{dataset}.log",
        benchmark:
            "results/benchmarks/report_page/{dataset}.tsv"
        wildcard_constraints:
            dataset=re.escape(dataset),
        conda:
            "../../environment.yml"
        shell:
            "python -m dmgan report --metrics {input.runs} {input.soa} {input.controls}"
            " --results results/{wildcards.dataset} --out results/{wildcards.dataset}/report > {log} 2>&1"
