rule tables:
    input:
        runs=metrics_of_runs,
        controls=metrics_of_controls,
        code=modules("dmgan/report"),
    output:
        table1=report(
            "results/{dataset}/tables/table1.csv",
            caption="../report/table1.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "content": "Table 1: Inception Score"},
        ),
        table2=report(
            "results/{dataset}/tables/table2.csv",
            caption="../report/table2.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "content": "Table 2: FID and R-precision"},
        ),
        table3=report(
            "results/{dataset}/tables/table3.csv",
            caption="../report/table3.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "content": "Table 3: Ablation"},
        ),
        measures=report(
            "results/{dataset}/tables/measures.csv",
            caption="../report/measures.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "content": "Further measures"},
        ),
        kvmgan_table1=report(
            "results/{dataset}/tables/kvmgan-table1.csv",
            caption="../report/kvmgan-table1.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "content": "KVM-GAN, Table 1: Inception Score"},
        ),
        kvmgan_table2=report(
            "results/{dataset}/tables/kvmgan-table2.csv",
            caption="../report/kvmgan-table2.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "content": "KVM-GAN, Table 2: FID and R-precision"},
        ),
        mdsp_table1=report(
            "results/{dataset}/tables/mdsp-table1.csv",
            caption="../report/mdsp-table1.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "content": "Memory-driven model, Table 1"},
        ),
        reproduction_table1=report(
            "results/{dataset}/tables/reproduction-table1.csv",
            caption="../report/reproduction-table1.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "content": "Student reproduction, Table 1"},
        ),
        markdown=expand("results/{{dataset}}/tables/{table}.md", table=TABLES),
        latex=expand("results/{{dataset}}/tables/{table}.tex", table=TABLES),
    log:
        "results/logs/tables/{dataset}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m dmgan tables --metrics {input.runs} {input.controls}"
        " --out results/{wildcards.dataset}/tables > {log} 2>&1"


rule compare:
    input:
        runs=metrics_of_runs,
        per_image=images_of_runs,
        controls=metrics_of_controls,
        code=modules("dmgan/report", "dmgan/evaluation"),
    output:
        table=report(
            "results/{dataset}/tables/comparisons.csv",
            caption="../report/comparisons.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "content": "Paired comparisons"},
        ),
        markdown="results/{dataset}/tables/comparisons.md",
        latex="results/{dataset}/tables/comparisons.tex",
    log:
        "results/logs/compare/{dataset}.log",
    conda:
        "../../environment.yml"
    params:
        seed=config["sampling_seed"],
    shell:
        "python -m dmgan compare --metrics {input.runs} {input.controls} --seed {params.seed}"
        " --out results/{wildcards.dataset}/tables > {log} 2>&1"


rule figures:
    input:
        data=rules.prepare.output,
        damsm=rules.train.input.damsm,
        weights=weights_to_show,
        code=modules("dmgan/report"),
    output:
        figure3=report(
            "results/{dataset}/figures/figure3.png",
            caption="../report/figure3.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "content": "Figure 3: Models side by side"},
        ),
        figure4=report(
            "results/{dataset}/figures/figure4.png",
            caption="../report/figure4.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "content": "Figure 4: Stages of refinement"},
        ),
        figure5=report(
            "results/{dataset}/figures/figure5.png",
            caption="../report/figure5.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "content": "Figure 5: One caption, several noises"},
        ),
        figure6=report(
            "results/{dataset}/figures/figure6.png",
            caption="../report/figure6.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "content": "Figure 6: Most relevant words"},
        ),
        rivals=report(
            "results/{dataset}/figures/002-figure1.png",
            caption="../report/002-figure1.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "content": "Memory-driven model, Figure 1: its rivals"},
        ),
        rivals_pdf="results/{dataset}/figures/002-figure1.pdf",
        pdf=expand("results/{{dataset}}/figures/figure{number}.pdf", number=[3, 4, 5, 6]),
        memory=report(
            expand("results/{{dataset}}/figures/{figure}.png", figure=FIGURES_OF_MEMORY),
            caption="../report/retrieval.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "content": "MDSP: retrieved images and outputs"},
        ),
        memory_pdf=expand("results/{{dataset}}/figures/{figure}.pdf", figure=FIGURES_OF_MEMORY),
    log:
        "results/logs/figures/{dataset}.log",
    benchmark:
        "results/benchmarks/figures/{dataset}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    params:
        runs=runs_to_show,
        seed=config["sampling_seed"],
        memory=memory_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan figures --runs {params.runs} --data results/data/{wildcards.dataset}"
        " --out results/{wildcards.dataset}/figures --seed {params.seed} {params.memory} --threads {threads} > {log} 2>&1"


rule parameters:
    input:
        code=["dmgan/report/parameters.py", *modules("dmgan/models")],
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
