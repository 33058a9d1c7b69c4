rule prepare:
    input:
        source=source_files,
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
        fingerprint=source_fingerprint,
    shell:
        "python -m dmgan prepare --out results/data/{wildcards.dataset} {params.flags}"
        " --workers {threads} > {log} 2>&1"
