rule pretrain:
    input:
        data=rules.prepare.output,
        inception=inception_weights,
    output:
        text_encoder="results/{dataset}/damsm/seed{seed}/text_encoder.safetensors",
        image_encoder="results/{dataset}/damsm/seed{seed}/image_encoder.safetensors",
        vocabulary="results/{dataset}/damsm/seed{seed}/vocabulary.json",
        history="results/{dataset}/damsm/seed{seed}/history.csv",
        options="results/{dataset}/damsm/seed{seed}/options.json",
    log:
        "results/logs/pretrain/{dataset}-seed{seed}.log",
    benchmark:
        "results/benchmarks/pretrain/{dataset}-seed{seed}.tsv"
    priority: 90
    conda:
        "../../environment.yml"
    threads: 2  # hardly any other job can run before the encoders are trained
    resources:
        gpu=1,
    params:
        flags=damsm_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan pretrain --data results/data/{wildcards.dataset}"
        " --out results/{wildcards.dataset}/damsm/seed{wildcards.seed} --seed {wildcards.seed}"
        " {params.flags} --threads {threads} --mlflow sqlite:///results/mlflow.db > {log} 2>&1"


rule captioner:
    input:
        data=rules.prepare.output,
        damsm=expand(rules.pretrain.output, seed=config["damsm"]["seed"], allow_missing=True),
    output:
        captioner="results/{dataset}/captioner/captioner.safetensors",
        history="results/{dataset}/captioner/history.csv",
        options="results/{dataset}/captioner/options.json",
    log:
        "results/logs/captioner/{dataset}.log",
    benchmark:
        "results/benchmarks/captioner/{dataset}.tsv"
    priority: 85
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    params:
        damsm=damsm_folder,
        flags=captioner_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan captioner --data results/data/{wildcards.dataset}"
        " --damsm {params.damsm}"
        " --out results/{wildcards.dataset}/captioner"
        " {params.flags} --threads {threads} --mlflow sqlite:///results/mlflow.db > {log} 2>&1"


rule train:
    input:
        data=rules.prepare.output,
        damsm=expand(rules.pretrain.output, seed=config["damsm"]["seed"], allow_missing=True),
        loss_networks=loss_network_files,
        validation=validation_files,
    output:
        generator="results/{dataset}/{model}/seed{seed}/generator.safetensors",
        history="results/{dataset}/{model}/seed{seed}/history.csv",
        options="results/{dataset}/{model}/seed{seed}/options.json",
    log:
        "results/logs/train/{dataset}-{model}-seed{seed}.log",
    benchmark:
        "results/benchmarks/train/{dataset}-{model}-seed{seed}.tsv"
    priority: 80
    conda:
        "../../environment.yml"
    threads: training_gpus
    resources:
        gpu=training_gpus,
    params:
        granted=granted_gpus,
        program=training_program,
        damsm=damsm_folder,
        flags=training_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " {params.program} train --model {wildcards.model} --seed {wildcards.seed}"
        " --data results/data/{wildcards.dataset}"
        " --damsm {params.damsm}"
        " --out results/{wildcards.dataset}/{wildcards.model}/seed{wildcards.seed}"
        " {params.flags} --threads {threads} --mlflow sqlite:///results/mlflow.db > {log} 2>&1"


rule classifier:
    input:
        data=rules.prepare.output,
    output:
        classifier="results/{dataset}/species/classifier.safetensors",
        history="results/{dataset}/species/history.csv",
        options="results/{dataset}/species/options.json",
    log:
        "results/logs/classifier/{dataset}.log",
    benchmark:
        "results/benchmarks/classifier/{dataset}.tsv"
    priority: 70
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    params:
        subcommand="classifier",
        out="results/{dataset}/species",
        flags=classifier_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan {params.subcommand} --data results/data/{wildcards.dataset}"
        " --out {params.out}"
        " {params.flags} --threads {threads} --mlflow sqlite:///results/mlflow.db > {log} 2>&1"


use rule classifier as attributes with:
    output:
        classifier="results/{dataset}/attributes/classifier.safetensors",
        history="results/{dataset}/attributes/history.csv",
        options="results/{dataset}/attributes/options.json",
    log:
        "results/logs/attributes/{dataset}.log",
    benchmark:
        "results/benchmarks/attributes/{dataset}.tsv"
    params:
        subcommand="attributes",
        out="results/{dataset}/attributes",
        flags=attributes_flags,


rule probe:
    input:
        data=rules.prepare.output,
    output:
        probe="results/{dataset}/probe/probe.safetensors",
        options="results/{dataset}/probe/options.json",
    log:
        "results/logs/probe/{dataset}.log",
    benchmark:
        "results/benchmarks/probe/{dataset}.tsv"
    priority: 70
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan probe --data results/data/{wildcards.dataset}"
        " --out results/{wildcards.dataset}/probe --threads {threads} > {log} 2>&1"
