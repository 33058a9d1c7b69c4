# Released weights: imported, then sampled and evaluated like a trained model, judged by the encoders they came with.


rule import_weights:
    input:
        generator=released_file("generator"),
        text_encoder=released_file("text_encoder"),
        image_encoder=released_file("image_encoder"),
        captions_pickle=released_file("captions_pickle"),
    output:
        generator="results/{dataset}/{imported}/imported/run/generator.safetensors",
        options="results/{dataset}/{imported}/imported/run/options.json",
        text_encoder="results/{dataset}/{imported}/imported/run/damsm/text_encoder.safetensors",
        image_encoder="results/{dataset}/{imported}/imported/run/damsm/image_encoder.safetensors",
        vocabulary="results/{dataset}/{imported}/imported/run/damsm/vocabulary.json",
        encoder_options="results/{dataset}/{imported}/imported/run/damsm/options.json",
    log:
        "results/logs/import_weights/{dataset}-{imported}.log",
    conda:
        "../../environment.yml"
    params:
        flags=import_flags,
    shell:
        "python -m dmgan import --generator {input.generator:q} --text-encoder {input.text_encoder:q}"
        " --image-encoder {input.image_encoder:q} --captions-pickle {input.captions_pickle:q}"
        " --out results/{wildcards.dataset}/{wildcards.imported}/imported/run {params.flags} > {log} 2>&1"


rule sample_imported:
    input:
        data=rules.prepare.output,
        run=rules.import_weights.output,
    output:
        images=directory("results/{dataset}/{imported}/imported/images"),
    log:
        "results/logs/sample/{dataset}-{imported}-imported.log",
    benchmark:
        "results/benchmarks/sample/{dataset}-{imported}-imported.tsv"
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
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan sample --data results/data/{wildcards.dataset}"
        " --run results/{wildcards.dataset}/{wildcards.imported}/imported/run --out {output.images}"
        " --num-images {params.num_images} --seed {params.seed} {params.flags} --threads {threads} > {log} 2>&1"


rule evaluate_imported:
    input:
        images=rules.sample_imported.output.images,
        data=rules.prepare.output,
        run=rules.import_weights.output,
        classifier=species_files,
        reference=rules.reference.output,
        judges=judge_files,
        code=modules("dmgan/evaluation"),
    output:
        metrics="results/{dataset}/{imported}/imported/metrics.json",
    log:
        "results/logs/evaluate/{dataset}-{imported}-imported.log",
    benchmark:
        "results/benchmarks/evaluate/{dataset}-{imported}-imported.tsv"
    priority: 50
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    params:
        seed=config["sampling_seed"],
        rungs=rung_flags,
        judges=judge_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan evaluate --images {input.images}"
        " --data results/data/{wildcards.dataset} --reference results/{wildcards.dataset}/reference {params.rungs}"
        " --damsm results/{wildcards.dataset}/{wildcards.imported}/imported/run/damsm {params.judges}"
        " --out {output.metrics}"
        " --seed {params.seed} --threads {threads} --mlflow sqlite:///results/mlflow.db > {log} 2>&1"


rule evaluate_controls_imported:
    input:
        data=rules.prepare.output,
        run=rules.import_weights.output,
        classifier=species_files,
        reference=rules.reference.output,
        judges=judge_files,
        code=modules("dmgan/evaluation"),
    output:
        metrics=expand("results/{{dataset}}/{{imported}}/imported/controls/{control}/metrics.json", control=CONTROLS),
    log:
        "results/logs/evaluate_controls/{dataset}-{imported}.log",
    benchmark:
        "results/benchmarks/evaluate_controls/{dataset}-{imported}.tsv"
    priority: 40
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=1,
    params:
        controls=CONTROLS,
        seed=config["sampling_seed"],
        rungs=rung_flags,
        judges=judge_flags,
    shell:
        "python workflow/gpu_lease.py --gpus {resources.gpu} --"
        " python -m dmgan controls --controls {params.controls}"
        " --data results/data/{wildcards.dataset} --reference results/{wildcards.dataset}/reference {params.rungs}"
        " --damsm results/{wildcards.dataset}/{wildcards.imported}/imported/run/damsm {params.judges}"
        " --out results/{wildcards.dataset}/{wildcards.imported}/imported/controls"
        " --seed {params.seed} --threads {threads} --mlflow sqlite:///results/mlflow.db > {log} 2>&1"


rule tables_imported:
    input:
        run=rules.evaluate_imported.output.metrics,
        controls=rules.evaluate_controls_imported.output.metrics,
        code=modules("dmgan/report"),
    output:
        expand(
            "results/{{dataset}}/{{imported}}/imported/tables/{table}.{suffix}",
            table=TABLES,
            suffix=["csv", "md", "tex"],
        ),
    log:
        "results/logs/tables/{dataset}-{imported}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m dmgan tables --metrics {input.run} {input.controls}"
        " --out results/{wildcards.dataset}/{wildcards.imported}/imported/tables > {log} 2>&1"
