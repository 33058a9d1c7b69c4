rule tables:
    input:
        runs=metrics_of_runs,
        soa=metrics_of_soa,
        controls=metrics_of_controls,
        code=modules("dmgan/report"),
    output:
        csv=expand("results/{{dataset}}/tables/{table}.csv", table=TABLES),
        parts=files_beside_tables("results/{dataset}/tables"),
    log:
        "results/logs/tables/{dataset}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m dmgan tables --metrics {input.runs} {input.soa} {input.controls}"
        " --out results/{wildcards.dataset}/tables > {log} 2>&1"


rule compare:
    input:
        runs=metrics_of_runs,
        per_image=images_of_runs,
        controls=metrics_of_controls,
        code=modules("dmgan/report", "dmgan/evaluation"),
    output:
        table="results/{dataset}/tables/comparisons.csv",
        parts=expand("results/{{dataset}}/tables/{file}", file=FILES_OF_COMPARISONS[1:]),
    log:
        "results/logs/compare/{dataset}.log",
    conda:
        "../../environment.yml"
    params:
        seed=config["sampling_seed"],
    shell:
        "python -m dmgan compare --metrics {input.runs} {input.controls} --seed {params.seed}"
        " --out results/{wildcards.dataset}/tables > {log} 2>&1"


rule claims:
    input:
        runs=metrics_of_runs,
        soa=metrics_of_soa,
        controls=metrics_of_controls,
        comparisons=rules.compare.output.table,
        code=modules("dmgan/report"),
    output:
        csv=expand("results/{{dataset}}/tables/{table}.csv", table=TABLES_OF_CLAIMS),
        markdown=expand("results/{{dataset}}/tables/{table}.md", table=TABLES_OF_CLAIMS),
        latex=expand("results/{{dataset}}/tables/{table}.tex", table=TABLES_OF_CLAIMS),
    log:
        "results/logs/claims/{dataset}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m dmgan claims --metrics {input.runs} {input.soa} {input.controls} --comparisons {input.comparisons}"
        " --out results/{wildcards.dataset}/tables > {log} 2>&1"


rule parameters:
    input:
        code=["dmgan/report/tables/parameters.py", *modules("dmgan/models")],
    output:
        figure2=report(
            "results/parameters/reproduction-figure2.txt",
            caption="../report/parameters.rst",
            category="Figures",
            labels={"dataset": "", "content": "Student reproduction, Figure 2: parameters"},
        ),
        figure3=report(
            "results/parameters/reproduction-figure3.txt",
            caption="../report/parameters.rst",
            category="Figures",
            labels={"dataset": "", "content": "Student reproduction, Figure 3: parameters"},
        ),
        table="results/parameters/reproduction-parameters.csv",
    log:
        "results/logs/parameters.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m dmgan parameters --out results/parameters > {log} 2>&1"
