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
        num_images=config["num_images"],
        seed=config["sampling_seed"],
        flags=sampling_flags,
        memory=memory_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan sample --data results/data/{wildcards.dataset}"
        " --run results/{wildcards.dataset}/{wildcards.model}/seed{wildcards.seed} --out {output.images}"
        " --num-images {params.num_images} --seed {params.seed} {params.flags} {params.memory} --threads {threads} > {log} 2>&1"


rule reference:
    input:
        data=rules.prepare.output,
        classifier=species_files,
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
        rungs=rung_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan reference --data results/data/{wildcards.dataset}"
        " {params.rungs} --out results/{wildcards.dataset}/reference --threads {threads} > {log} 2>&1"


rule evaluate:
    input:
        images=rules.sample.output.images,
        data=rules.prepare.output,
        damsm=rules.train.input.damsm,
        classifier=species_files,
        reference=rules.reference.output,
        judges=judge_files,
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
        damsm_seed=config["damsm"]["seed"],
        seed=config["sampling_seed"],
        rungs=rung_flags,
        judges=judge_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan evaluate --images {input.images}"
        " --data results/data/{wildcards.dataset} --reference results/{wildcards.dataset}/reference {params.rungs}"
        " --damsm results/{wildcards.dataset}/damsm/seed{params.damsm_seed} {params.judges} --out {output.metrics}"
        " --seed {params.seed} --threads {threads} --mlflow sqlite:///results/mlflow.db > {log} 2>&1"


# SOA's own images, as it is published: three a caption of a class, 30,000 of person. On COCO they are fourteen times as
# many as the tables' and go when they are judged; beside them SOA is also read off the tables' images.
rule sample_soa:
    input:
        data=rules.prepare.output,
        damsm=rules.train.input.damsm,
        generator=rules.train.output.generator,
        options=rules.train.output.options,
    output:
        images=temp(directory("results/{dataset}/{model}/seed{seed}/soa/images")),
    log:
        "results/logs/sample_soa/{dataset}-{model}-seed{seed}.log",
    benchmark:
        "results/benchmarks/sample_soa/{dataset}-{model}-seed{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    params:
        seed=config["sampling_seed"],
        flags=sampling_flags,
        memory=memory_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan sample --soa --data results/data/{wildcards.dataset}"
        " --run results/{wildcards.dataset}/{wildcards.model}/seed{wildcards.seed} --out {output.images}"
        " --seed {params.seed} {params.flags} {params.memory} --threads {threads} > {log} 2>&1"


# No rung: IS and FID of these images would be of other captions than the tables'.
rule evaluate_soa:
    input:
        images=rules.sample_soa.output.images,
        data=rules.prepare.output,
        damsm=rules.train.input.damsm,
        judges=judge_files,
        code=modules("dmgan/evaluation"),
    output:
        metrics="results/{dataset}/{model}/seed{seed}/soa/metrics.json",
    log:
        "results/logs/evaluate_soa/{dataset}-{model}-seed{seed}.log",
    benchmark:
        "results/benchmarks/evaluate_soa/{dataset}-{model}-seed{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    params:
        damsm_seed=config["damsm"]["seed"],
        seed=config["sampling_seed"],
        judges=judge_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan evaluate --images {input.images} --data results/data/{wildcards.dataset} --rungs"
        " --damsm results/{wildcards.dataset}/damsm/seed{params.damsm_seed} {params.judges} --out {output.metrics}"
        " --seed {params.seed} --threads {threads} > {log} 2>&1"


# All control rows in one job: most of a row's time would be its start.
rule evaluate_controls:
    input:
        data=rules.prepare.output,
        damsm=rules.train.input.damsm,
        classifier=species_files,
        reference=rules.reference.output,
        judges=judge_files,
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
        damsm_seed=config["damsm"]["seed"],
        seed=config["sampling_seed"],
        rungs=rung_flags,
        judges=judge_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan controls --controls {params.controls}"
        " --data results/data/{wildcards.dataset} --reference results/{wildcards.dataset}/reference {params.rungs}"
        " --damsm results/{wildcards.dataset}/damsm/seed{params.damsm_seed} {params.judges}"
        " --out results/{wildcards.dataset}/controls"
        " --seed {params.seed} --threads {threads} --mlflow sqlite:///results/mlflow.db > {log} 2>&1"
