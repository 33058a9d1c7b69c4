use rule sample as sample_retrieval with:
    output:
        images=directory("results/{dataset}/{model}/seed{seed}/retrieval/{method}/images"),
    log:
        "results/logs/sample_retrieval/{dataset}-{model}-seed{seed}-{method}.log",
    benchmark:
        "results/benchmarks/sample_retrieval/{dataset}-{model}-seed{seed}-{method}.tsv"
    priority: 0
    params:
        run=run_folder,
        which=f"--retrieval {{method}} {TEST_IMAGES}",
        flags=sampling_flags,
        memory=memory_flags,


use rule evaluate as evaluate_retrieval with:
    input:
        images=rules.sample_retrieval.output.images,
        data=rules.prepare.output,
        damsm=rules.train.input.damsm,
        classifier=species_files,
        probe=probe_files,
        reference=rules.reference.output,
        scorers=scorer_files,
        code=modules("dmgan/evaluation"),
    output:
        metrics="results/{dataset}/{model}/seed{seed}/retrieval/{method}/metrics.json",
    log:
        "results/logs/evaluate_retrieval/{dataset}-{model}-seed{seed}-{method}.log",
    benchmark:
        "results/benchmarks/evaluate_retrieval/{dataset}-{model}-seed{seed}-{method}.tsv"
    priority: 0
    params:
        measured_with=reference_flags,
        damsm=damsm_folder,
        scorers=scorer_flags,
        seed=config["sampling_seed"],
        mlflow="",


rule memorisation:
    input:
        images=rules.sample.output.images,
        data=rules.prepare.output,
        damsm=rules.train.input.damsm,
        generator=rules.train.output.generator,
        options=rules.train.output.options,
        code=modules("dmgan/evaluation"),
    output:
        json="results/{dataset}/{model}/seed{seed}/memorisation.json",
    log:
        "results/logs/memorisation/{dataset}-{model}-seed{seed}.log",
    benchmark:
        "results/benchmarks/memorisation/{dataset}-{model}-seed{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan memorisation --images {input.images} --data results/data/{wildcards.dataset}"
        " --run results/{wildcards.dataset}/{wildcards.model}/seed{wildcards.seed} --out {output.json}"
        " --threads {threads} > {log} 2>&1"


rule retrieval_table:
    input:
        metrics=metrics_of_retrievals,
        memorisation=expand(rules.memorisation.output.json, seed=config["seeds"], allow_missing=True),
        code=modules("dmgan/report"),
    output:
        markdown="results/{dataset}/{model}/retrieval.md",
        csv="results/{dataset}/{model}/retrieval.csv",
    log:
        "results/logs/retrieval_table/{dataset}-{model}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m dmgan retrieval-table --metrics {input.metrics} --memorisation {input.memorisation}"
        " --out results/{wildcards.dataset}/{wildcards.model} > {log} 2>&1"
