# Figures. Which of them a data set has depends on its models, so every data set has its own rules; their outputs are
# listed by dmgan/report/figures/catalogue.py.


for dataset in config["datasets"]:

    rule:
        name:
            rule_name("figures", dataset)
        input:
            data=rules.prepare.output,
            damsm=rules.train.input.damsm,
            weights=weights_to_show,
            code=[*modules("dmgan/report"), "dmgan/sampling/word_maps.py"],
        output:
            *shown_figures("scene", dataset),
            pdf=figure_paths("scene", dataset, "pdf"),
        log:
            "results/logs/figures/{dataset}.log",
        benchmark:
            "results/benchmarks/figures/{dataset}.tsv"
        wildcard_constraints:
            dataset=re.escape(dataset),
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            gpu=1,
        params:
            runs=runs_to_show,
            seed=config["sampling_seed"],
            memory=memory_flags,
            captions=figure_captions("scene", dataset),
        shell:
            "python workflow/gpu_lease.py --gpus {resources.gpu} --"
            " python -m dmgan figures --runs {params.runs} --data results/data/{wildcards.dataset}"
            " --out results/{wildcards.dataset}/figures --seed {params.seed} {params.memory}"
            " --threads {threads} > {log} 2>&1"

    # A training writes validation.csv beside its outputs, if its snapshots are measured, and Snakemake its run time.
    rule:
        name:
            rule_name("curves", dataset)
        input:
            records=records_of_trainings,
            metrics=metrics_of_trainings,
            code=modules("dmgan/report"),
        output:
            *shown_figures("curves", dataset),
            pdf=figure_paths("curves", dataset, "pdf"),
        log:
            "results/logs/curves/{dataset}.log",
        wildcard_constraints:
            dataset=re.escape(dataset),
        conda:
            "../../environment.yml"
        params:
            runs=all_runs,
            benchmarks=benchmarks_of_trainings,
            captions=figure_captions("curves", dataset),
        shell:
            "python -m dmgan curves --runs {params.runs} --metrics {input.metrics} --benchmarks {params.benchmarks}"
            " --out results/{wildcards.dataset}/figures > {log} 2>&1"

    rule:
        name:
            rule_name("failures", dataset)
        input:
            data=rules.prepare.output,
            metrics=lambda wildcards: expand("{run}/metrics.json", run=runs_to_show(wildcards)),
            per_image=lambda wildcards: expand("{run}/per_image.npz", run=runs_to_show(wildcards)),
            images=lambda wildcards: expand("{run}/images", run=runs_to_show(wildcards)),
            code=modules("dmgan/report"),
        output:
            *shown_figures("failures", dataset),
            pdf=figure_paths("failures", dataset, "pdf"),
        log:
            "results/logs/failures/{dataset}.log",
        wildcard_constraints:
            dataset=re.escape(dataset),
        conda:
            "../../environment.yml"
        params:
            captions=figure_captions("failures", dataset),
        shell:
            "python -m dmgan failures --metrics {input.metrics} --images {input.images}"
            " --data results/data/{wildcards.dataset} --out results/{wildcards.dataset}/figures > {log} 2>&1"
