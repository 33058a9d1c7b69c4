# What a reader needs beside the numbers: the reproducibility checklist, and whom to cite.


rule checklist:
    input:
        runs=metrics_of_runs,
        controls=metrics_of_controls,
        data=rules.prepare.output,
        code=modules("dmgan/report"),
    output:
        checklist="results/{dataset}/report/checklist.md",
        bibtex="results/{dataset}/report/CITATION.bib",
        cff="results/{dataset}/report/CITATION.cff",
    log:
        "results/logs/checklist/{dataset}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m dmgan checklist --metrics {input.runs} {input.controls} --data results/data/{wildcards.dataset}"
        " --out results/{wildcards.dataset}/report > {log} 2>&1"
