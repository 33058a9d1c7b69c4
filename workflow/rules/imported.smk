# Released weights: imported, then sampled and evaluated like a trained model, with the encoders released with them.


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


use rule sample as sample_imported with:
    input:
        data=rules.prepare.output,
        run=rules.import_weights.output,
    output:
        images=directory("results/{dataset}/{imported}/imported/images"),
    log:
        "results/logs/sample/{dataset}-{imported}-imported.log",
    benchmark:
        "results/benchmarks/sample/{dataset}-{imported}-imported.tsv"
    params:
        run=run_folder,
        which=TEST_IMAGES,
        flags=sampling_flags,
        memory="",


use rule evaluate as evaluate_imported with:
    input:
        images=rules.sample_imported.output.images,
        data=rules.prepare.output,
        run=rules.import_weights.output,
        classifier=species_files,
        probe=probe_files,
        reference=rules.reference.output,
        scorers=scorer_files,
        code=modules("dmgan/evaluation"),
    output:
        metrics="results/{dataset}/{imported}/imported/metrics.json",
    log:
        "results/logs/evaluate/{dataset}-{imported}-imported.log",
    benchmark:
        "results/benchmarks/evaluate/{dataset}-{imported}-imported.tsv"
    params:
        measured_with=reference_flags,
        damsm=damsm_folder,
        scorers=scorer_flags,
        seed=config["sampling_seed"],
        mlflow=MLFLOW,


use rule evaluate_controls as evaluate_controls_imported with:
    input:
        data=rules.prepare.output,
        run=rules.import_weights.output,
        classifier=species_files,
        probe=probe_files,
        reference=rules.reference.output,
        scorers=scorer_files,
        code=modules("dmgan/evaluation"),
    output:
        metrics=expand("results/{{dataset}}/{{imported}}/imported/controls/{control}/metrics.json", control=CONTROLS),
    log:
        "results/logs/evaluate_controls/{dataset}-{imported}.log",
    benchmark:
        "results/benchmarks/evaluate_controls/{dataset}-{imported}.tsv"
    params:
        controls=CONTROLS,
        measured_with=reference_flags,
        damsm=damsm_folder,
        scorers=scorer_flags,
        out="results/{dataset}/{imported}/imported/controls",
        adversarial=config["adversarial_images"],
        seed=config["sampling_seed"],


rule tables_imported:
    input:
        run=rules.evaluate_imported.output.metrics,
        controls=rules.evaluate_controls_imported.output.metrics,
        code=modules("dmgan/report"),
    output:
        tables_of("results/{dataset}/{imported}/imported/tables"),
    log:
        "results/logs/tables/{dataset}-{imported}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m dmgan tables --metrics {input.run} {input.controls}"
        " --out results/{wildcards.dataset}/{wildcards.imported}/imported/tables > {log} 2>&1"
