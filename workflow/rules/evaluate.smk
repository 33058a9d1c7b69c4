rule sample:
    input:
        data=rules.prepare.output,
        damsm=rules.train.input.damsm,
        generator=rules.train.output.generator,
        options=rules.train.output.options,
    output:
        images=directory("results/{dataset}/{model}/seed{seed}/images"),
    log:
        "results/logs/sample/{dataset}-{model}-seed{seed}.log",
    benchmark:
        "results/benchmarks/sample/{dataset}-{model}-seed{seed}.tsv"
    priority: 60
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    params:
        run=run_folder,
        which=TEST_IMAGES,
        flags=sampling_flags,
        memory=memory_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan sample --data results/data/{wildcards.dataset} --run {params.run} --out {output.images}"
        " {params.which} {params.flags} {params.memory} --threads {threads} > {log} 2>&1"


rule reference:
    input:
        data=rules.prepare.output,
        classifier=species_files,
        probe=probe_files,
        code=modules("dmgan/evaluation"),
    output:
        features="results/{dataset}/reference/reference.json",
    log:
        "results/logs/reference/{dataset}.log",
    benchmark:
        "results/benchmarks/reference/{dataset}.tsv"
    priority: 70
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    params:
        extractors=extractor_flags,
        probe=probe_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan reference --data results/data/{wildcards.dataset}"
        " {params.extractors} {params.probe} --out results/{wildcards.dataset}/reference"
        " --threads {threads} > {log} 2>&1"


rule evaluate:
    input:
        images=rules.sample.output.images,
        data=rules.prepare.output,
        damsm=rules.train.input.damsm,
        classifier=species_files,
        probe=probe_files,
        reference=rules.reference.output,
        scorers=scorer_files,
        code=modules("dmgan/evaluation"),
    output:
        metrics="results/{dataset}/{model}/seed{seed}/metrics.json",
        per_image="results/{dataset}/{model}/seed{seed}/per_image.npz",
    log:
        "results/logs/evaluate/{dataset}-{model}-seed{seed}.log",
    benchmark:
        "results/benchmarks/evaluate/{dataset}-{model}-seed{seed}.tsv"
    priority: 50
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    params:
        measured_with=reference_flags,
        damsm=damsm_folder,
        scorers=scorer_flags,
        seed=config["sampling_seed"],
        mlflow=MLFLOW,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan evaluate --images {input.images:q} --data results/data/{wildcards.dataset}"
        " {params.measured_with} --damsm {params.damsm} {params.scorers} --out {output.metrics}"
        " --seed {params.seed} --threads {threads} {params.mlflow} > {log} 2>&1"


# A folder of images that another program made. Snakemake sees the folder's time, which a changed file does not change;
# the fingerprint covers every file.
use rule evaluate as evaluate_external with:
    input:
        images=external_images,
        captions=external_captions,
        data=rules.prepare.output,
        damsm=rules.train.input.damsm,
        classifier=species_files,
        probe=probe_files,
        reference=rules.reference.output,
        scorers=scorer_files,
        code=modules("dmgan/evaluation"),
    output:
        metrics="results/{dataset}/{external}/external/metrics.json",
        per_image="results/{dataset}/{external}/external/per_image.npz",
    log:
        "results/logs/evaluate_external/{dataset}-{external}.log",
    benchmark:
        "results/benchmarks/evaluate_external/{dataset}-{external}.tsv"
    params:
        measured_with=external_flags,
        damsm=damsm_folder,
        scorers=scorer_flags,
        seed=config["sampling_seed"],
        mlflow=MLFLOW,
        fingerprint=external_fingerprint,


# Images of SOA as published: three per caption that names a class, 30,000 of the class person. On COCO these are
# fourteen times as many images as those of the other metrics, so they are deleted after evaluation. Tables have a
# column of them, beside SOA of the images of the other metrics.
use rule sample as sample_soa with:
    output:
        images=temp(directory("results/{dataset}/{model}/seed{seed}/soa/images")),
    log:
        "results/logs/sample_soa/{dataset}-{model}-seed{seed}.log",
    benchmark:
        "results/benchmarks/sample_soa/{dataset}-{model}-seed{seed}.tsv"
    priority: 0
    params:
        run=run_folder,
        which=f"--soa --seed {config['sampling_seed']}",
        flags=sampling_flags,
        memory=memory_flags,


# No feature extractors: IS and FID of these images would be of other captions than those of the tables.
use rule evaluate as evaluate_soa with:
    input:
        images=rules.sample_soa.output.images,
        data=rules.prepare.output,
        damsm=rules.train.input.damsm,
        scorers=scorer_files,
        code=modules("dmgan/evaluation"),
    output:
        metrics="results/{dataset}/{model}/seed{seed}/soa/metrics.json",
    log:
        "results/logs/evaluate_soa/{dataset}-{model}-seed{seed}.log",
    benchmark:
        "results/benchmarks/evaluate_soa/{dataset}-{model}-seed{seed}.tsv"
    priority: 0
    params:
        measured_with="--extractors",
        damsm=damsm_folder,
        scorers=scorer_flags,
        seed=config["sampling_seed"],
        mlflow="",


# All control rows run in one job, because a single row would spend most of its time loading networks.
rule evaluate_controls:
    input:
        data=rules.prepare.output,
        damsm=rules.train.input.damsm,
        classifier=species_files,
        probe=probe_files,
        reference=rules.reference.output,
        scorers=scorer_files,
        code=modules("dmgan/evaluation"),
    output:
        metrics=expand("results/{{dataset}}/controls/{control}/metrics.json", control=CONTROLS),
    log:
        "results/logs/evaluate_controls/{dataset}.log",
    benchmark:
        "results/benchmarks/evaluate_controls/{dataset}.tsv"
    priority: 40
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    params:
        controls=CONTROLS,
        measured_with=reference_flags,
        damsm=damsm_folder,
        scorers=scorer_flags,
        out="results/{dataset}/controls",
        adversarial=config["adversarial_images"],
        seed=config["sampling_seed"],
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan controls --controls {params.controls} --data results/data/{wildcards.dataset}"
        " {params.measured_with} --damsm {params.damsm} {params.scorers} --out {params.out}"
        " --adversarial-images {params.adversarial} --seed {params.seed} --threads {threads}"
        " --mlflow sqlite:///results/mlflow.db > {log} 2>&1"
