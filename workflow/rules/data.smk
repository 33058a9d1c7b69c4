rule prepare:
    output:
        description="results/data/{dataset}/dataset.json",
        images="results/data/{dataset}/images.bin",
        index="results/data/{dataset}/index.npz",
        captions="results/data/{dataset}/captions.json",
        vocabulary="results/data/{dataset}/vocabulary.json",
    log:
        "results/logs/prepare/{dataset}.log",
    benchmark:
        "results/benchmarks/prepare/{dataset}.tsv"
    priority: 100
    conda:
        "../../environment.yml"
    threads: 8
    params:
        flags=dataset_flags,
    shell:
        "python -m dmgan prepare --out results/data/{wildcards.dataset} {params.flags}"
        " --workers {threads} > {log} 2>&1"


# MLflow's database must be there before jobs that could race to make it. Every job writes to it, so
# they read it as ancient(); update() keeps the runs it already holds.
rule lab_book:
    output:
        database=update("results/mlflow.db"),
    log:
        "results/logs/lab_book.log",
    priority: 100
    conda:
        "../../environment.yml"
    shell:
        "python -m dmgan lab-book --mlflow sqlite:///{output.database} > {log} 2>&1"
