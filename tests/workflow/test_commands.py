"""The commands that a dry run lists: what of a configuration reaches which command."""

import re

import pytest

from tests.project import copy_of_project, run
from tests.workflow.configurations import give_weights, read_config, write_config

pytestmark = pytest.mark.slow


def test_a_training_on_several_gpus_has_a_process_for_each(tmp_path):
    config = read_config("smoke.yaml")
    config["hyperparameters"]["smoke"]["attngan"] |= {"gpus": 2, "precision": "bfloat16", "compile": False}
    written = write_config(tmp_path / "gpus.yaml", config)
    goal = [f"results/smoke/{model}/seed0/generator.safetensors" for model in ("attngan", "dmgan")]
    dry = run(
        "snakemake", *goal, "--dry-run", "--printshellcmds", "--cores", 2, "--configfile", written,
        folder=copy_of_project(tmp_path),
    )  # fmt: skip
    assert dry.returncode == 0, dry.stderr
    several, one = re.findall(r"python workflow/gpu_lease.py --gpus (.* train --model \w+ .*)", dry.stdout)
    several, one = sorted((several, one), reverse=True)
    assert several.startswith("2 -- python -m dmgan.runtime.launch --nproc-per-node 2 -- train --model attngan ")
    assert "--precision bfloat16 --no-compile" in several and "--gpus" not in several and "--threads 2" in several
    assert one.startswith("1 -- python -m dmgan train --model dmgan ")


def test_prepare_is_told_of_its_source_and_follows_its_files(tmp_path):
    project = copy_of_project(tmp_path / "project")
    config = read_config("paper.yaml")
    config["datasets"]["cub"] |= {"root": "-rf birds", "reference_npz": {"torchvision-released": "bird val.npz"}}
    config["classifier"]["classes"] = "test"
    give_weights(project)
    (project / "bird val.npz").touch()
    (project / "-rf birds").mkdir()
    (project / "-rf birds" / "images.txt").write_text("")
    path = write_config(tmp_path / "config.yaml", config)
    dry = run("snakemake", "--dry-run", "--printshellcmds", "--configfile", path, folder=project)
    assert dry.returncode == 0, dry.stderr
    assert "--source cub --root='-rf birds' --metadata data/birds --image-size 256" in dry.stdout
    assert "input: -rf birds/images.txt" in dry.stdout
    epochs = re.findall(r"dmgan pretrain --data results/data/(\w+) .*--epochs (\d+)", dry.stdout)
    assert sorted(epochs) == [("coco", "101")] * 2 + [("cub", "201")] * 2  # those of the held-out DAMSM too
    given = re.findall(
        r"dmgan (\w+) .*results/data/(\w+)\s+.* --reference-npz 'torchvision-released=(.*?)'", dry.stdout
    )
    assert {each[1:] for each in given} == {("cub", "bird val.npz")}
    assert sorted(each[0] for each in given) == ["controls", *["evaluate"] * 3 * 15]
    assert re.findall(r"dmgan classifier --data results/data/cub .*--classes (\w+)", dry.stdout) == ["test"]
    references = re.findall(r"dmgan reference --data results/data/(\w+)\s+--extractors ([\w-]+) (.*)", dry.stdout)
    assert sorted(each[:2] for each in references) == [("coco", "inception-tf"), ("cub", "efficientnet-lite0")]
    assert ["--classifier" in each[2] for each in sorted(references)] == [False, True]
    trained = re.findall(r"dmgan train .*", dry.stdout)
    assert len(trained) == 3 * (15 + 10)
    engine = "--channels-last --fused --fused-adam --cache-captions"
    assert all(engine in each and "--precision" not in each for each in trained), "float32 is the default"
    limits = set(re.findall(r"dmgan sample --data results/data/(\w+) .*--max-words (\d+)", dry.stdout))
    assert limits == {("cub", "25"), ("coco", "20")}


def test_sampling_is_told_how_to_make_images(tmp_path):
    config = read_config("smoke.yaml")
    config["models"] = ["dmgan", "dmgan-004-two-words", "mdsp"]
    config["hyperparameters"]["smoke"]["dmgan-004-two-words"] = config["hyperparameters"]["smoke"]["dmgan"]
    config["sampling"] = {"packed": True, "max_words": 25, "batch_size": 16}
    config["datasets"]["smoke"]["sampling"] = {"max_words": 20, "precision": "bfloat16"}
    released = ("generator", "text_encoder", "image_encoder", "captions_pickle")
    config["imported"] = {"official": {"model": "dmgan", "dataset": "smoke"} | dict.fromkeys(released, "released.pth")}
    (tmp_path / "released.pth").touch()
    written = write_config(tmp_path / "sampling.yaml", config)
    dry = run(
        "snakemake", "--dry-run", "--printshellcmds", "--configfile", written, folder=copy_of_project(tmp_path)
    )  # fmt: skip
    assert dry.returncode == 0, dry.stderr
    told = re.findall(r"dmgan sample --data .*? --run results/smoke/(\S+) .*--seed 100 (.*?) *--threads", dry.stdout)
    common = "--packed --max-words 20 --batch-size 16 --precision bfloat16"
    without_limit = common.replace(" --max-words 20", "")
    expected = dict.fromkeys((f"{name}/seed0" for name in ("dmgan", "mdsp")), common)
    assert dict(told) == expected | {
        "dmgan-004-two-words/seed0": without_limit, "official/imported/run": without_limit
    }  # fmt: skip
    assert len(told) > 4  # mdsp by further methods of retrieval
    assert "--packed" not in re.search(r"dmgan prepare .*", dry.stdout)[0]


@pytest.mark.parametrize("extractors", [["species", "inception-tf"], ["inception-tf"]])
def test_the_species_classifier_is_given_where_its_features_are_asked_for(extractors, tmp_path):
    path = write_config(tmp_path / "extractors.yaml", read_config("smoke.yaml") | {"extractors": extractors})
    dry = run(
        "snakemake", "--dry-run", "--printshellcmds", "--configfile", path, folder=copy_of_project(tmp_path / "project")
    )
    assert dry.returncode == 0, dry.stderr
    commands = re.findall(r"dmgan ((?:reference|evaluate|controls) .*)", dry.stdout)
    assert len({command.split()[0] for command in commands}) == 3
    for command in commands:
        assert f"--extractors {' '.join(extractors)} --weights downloads" in command
        assert ("--classifier results/smoke/species" in command) == ("species" in extractors)
    assert ("rule classifier:" in dry.stdout) == ("species" in extractors)


def test_scorers_beside_the_defaults_reach_the_commands(tmp_path):
    """A held-out DAMSM, the attribute classifier and CLIP, each where it is configured; released folds and captions."""
    (tmp_path / "clip.pt").touch()
    config = read_config("smoke.yaml") | {"fold_rule": "released", "caption_words": 25}
    config["clip"] = {"model": "ViT-B-32", "weights": str(tmp_path / "clip.pt")}
    path = write_config(tmp_path / "clip.yaml", config)
    dry = run("snakemake", "--dry-run", "--printshellcmds", "--configfile", path)
    assert dry.returncode == 0, dry.stderr
    commands = [line for line in dry.stdout.splitlines() if re.search(r"dmgan (evaluate|controls) ", line)]
    assert len(commands) == len(config["models"]) + len(config["retrieval"]) + 1
    for command in commands:
        assert "--held-out-damsm results/smoke/damsm/seed1 --attributes results/smoke/attributes" in command
        assert f"--clip ViT-B-32 --clip-weights {tmp_path}/clip.pt" in command
        assert "--fold-rule released --caption-words 25" in command


def test_a_detector_and_a_memory_reach_the_commands(tmp_path):
    """The detector looks at photographs alone: the tables' images, the control rows, images made as SOA asks for."""
    (tmp_path / "frcnn.pth").touch()
    (tmp_path / "birds").mkdir()
    config = read_config("smoke.yaml") | {"detector": str(tmp_path / "frcnn.pth"), "memory_cache": "my memory"}
    config["datasets"]["photos"] = {
        "source": "folder", "root": str(tmp_path / "birds"), "image_size": 32, "caption_words": 20
    }  # fmt: skip
    config["hyperparameters"]["photos"] = config["hyperparameters"]["smoke"]
    path = write_config(tmp_path / "detector.yaml", config)
    dry = run("snakemake", "--dry-run", "--printshellcmds", "--configfile", path)
    assert dry.returncode == 0, dry.stderr
    commands = re.findall(r"dmgan ((?:evaluate|controls) .*)", dry.stdout)
    looking = [each for each in commands if f"--detector-weights {tmp_path}/frcnn.pth" in each]
    assert looking == [each for each in commands if "results/data/photos " in each]
    assert all(("--caption-words 20" if each in looking else "--caption-words 0") in each for each in commands)
    models = len(config["models"])
    of_soa = [each for each in looking if re.search(r"/soa/images .*--extractors --damsm .*/soa/metrics.json", each)]
    assert len(of_soa) == models and len(looking) == 2 * models + len(config["retrieval"]) + 1
    sampled = re.findall(r"dmgan sample --data results/data/(\w+) --run results/\w+/([\w-]+)/.* --soa ", dry.stdout)
    assert sorted(sampled) == [("photos", model) for model in sorted(config["models"])]
    (tables,) = re.findall(r"dmgan tables (.*results/photos/.*)", dry.stdout)
    assert tables.count("/soa/metrics.json") == models
    retrieving = re.findall(r"dmgan ((?:sample|figures) .*--runs? (?:.* )?results/\w+/mdsp/.*)", dry.stdout)
    assert len(retrieving) == 2 * (1 + len(config["retrieval"]) + 1) + 1  # with the figures, and with SOA's images
    assert [each for each in retrieving if "--memory-cache 'my memory' " in each] == retrieving
    assert dry.stdout.count("--memory-cache") == len(retrieving)
