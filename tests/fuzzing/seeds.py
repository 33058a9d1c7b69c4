"""Valid files of every format that the project reads: small, complete, with random weights."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dmgan.data.dataset import PreparedDataset, pack
from dmgan.data.sources.example import Example
from dmgan.data.sources.synthbirds.attributes import SPECIES_ATTRIBUTES
from dmgan.evaluation.networks.attributes import PLACES, SIZES
from dmgan.evaluation.networks.classifier import WEIGHTS, ImageClassifier
from dmgan.evaluation.networks.linear_probe import WEIGHTS as PROBE
from dmgan.evaluation.networks.linear_probe import LinearProbe
from dmgan.evaluation.paired_comparison import IMAGES_SHA256
from dmgan.models.registry import build_model
from dmgan.options import CaptionerOptions, ClassifierOptions, MatchingOptions
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.storage import files
from dmgan.storage.weights import save_weights
from dmgan.text.captioner import WEIGHTS as CAPTIONER
from dmgan.text.captioner import Captioner
from dmgan.text.damsm import HASHED, Damsm
from dmgan.text.encoders import TextEncoder, build_image_encoder
from dmgan.training.checkpoints import Checkpoint
from tests.conftest import ARCHITECTURE, CPU, DAMSM, TRAINING
from tests.data.made_sources import make_coco, make_cub, make_metadata, picture, write_captions_pickle
from tests.paths import CONFIGS
from tests.report.made_metrics import MODEL, metrics

_FURTHER_LISTS = {
    "rows.jsonl": '{"image": "a.jpg", "captions": ["a red bird", "a bird"], "split": "train", "class": "x", '
    '"box": [1, 2, 30, 20]}\n{"image": "b.jpg", "captions": "a blue bird", "split": "test", "class": "y"}\n',
    "rows.csv": 'image,caption,split,class\na.jpg,"a red bird, small",train,x\nb.jpg,a blue bird,test,y\n',
    "rows.token": "a.jpg#0\ta red bird\na.jpg#1\ta bird\nb.jpg#0\ta blue bird\n",
    "rows.json": json.dumps(
        {"images": [{"filename": f"{n}.jpg", "split": n, "sentences": [{"raw": "a bird"}]} for n in ("train", "test")]}
    ),
}
_CAPTIONS = (
    '{"image": "a.png", "caption": "a red bird", "class": "x"}\n{"image": "b.png", "caption": "a bird", "class": "y"}\n'
)


def make_seeds(folder: Path) -> None:
    """Write every valid file into sub-folders of `folder`; see READERS for the sub-folder of each reader."""
    _make_networks(folder)
    _make_sources(folder)
    _make_texts(folder / "texts")
    _make_results(folder)


def _examples() -> list[Example]:
    return [
        Example(
            f"{colour}{number}.png", picture(19, 19, number), (f"a {colour} bird", f"this bird has {colour} wings"),
            class_id, "test" if class_id == 2 else "train", {"colour": colour},
        )
        for class_id, colour in enumerate(("red", "green", "blue"))
        for number in range(2)
    ]  # fmt: skip


def _make_networks(folder: Path) -> None:
    pack(_examples(), folder / "data", source={"name": "synthbirds"}, image_size=16)
    dataset = PreparedDataset(folder / "data")
    vocabulary, embedding = dataset.vocabulary, DAMSM.embedding_dim
    torch.manual_seed(0)
    damsm, run = folder / "damsm", folder / "run"
    save_weights(TextEncoder(len(vocabulary), embedding), damsm / HASHED[0])
    save_weights(build_image_encoder("small", embedding, DAMSM.width), damsm / HASHED[1])
    vocabulary.write(damsm / HASHED[2])
    files.write_json(damsm / "options.json", {"options": asdict(DAMSM)})
    hashes = Damsm.read(damsm).sha256
    shutil.copytree(damsm, run / "damsm")
    planned = folder / "planned" / "data" / "birds"
    planned.mkdir(parents=True)
    shutil.copy(folder / "data" / "dataset.json", planned)
    save_weights(build_model("dmgan", ARCHITECTURE, embedding), run / "generator.safetensors")
    written = {
        "model": "dmgan", "architecture": asdict(ARCHITECTURE), "training": asdict(TRAINING), "seed": 0,
        "inputs": {"damsm": hashes}, "gammas": asdict(MatchingOptions()), "damsm_folder": "damsm", "variant": {},
        "selection": {"rule": "best", "step": 20, "snapshots": 2, "metric": "FID(small)"}, "config_sha256": "random",
    }  # fmt: skip
    files.write_json(run / "options.json", written)
    (run / "validation.csv").write_text("step,seconds,images,FID(small)\n10,1.5,40,30.5\n20,3.0,40,20.25\n")
    shutil.copytree(run, folder / "sampled" / "run")
    sample_test_captions(run, folder / "data", folder / "sampled" / "images", SampleRequest(4), CPU)
    options = CaptionerOptions(embedding_dim=4, hidden_dim=4)
    save_weights(Captioner(len(vocabulary), embedding, options), folder / "captioner" / CAPTIONER)
    files.write_json(
        folder / "captioner" / "options.json", {"options": asdict(options), "inputs": {"damsm": hashes}, "seed": 0}
    )
    _make_classifiers(folder)
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    state = {"model": {"weight": torch.zeros(3)}, "rng": torch.get_rng_state()[:64].clone()}
    Checkpoint(checkpoint, "dmgan", "f" * 64).save({"step": 3, "history": [{"step": 3, "loss": 1.0}], "state": state})


def _make_classifiers(folder: Path) -> None:
    options = ClassifierOptions(image_size=32, width=4, features=16)
    written = {"options": asdict(options), "classes": 4, "validation_accuracy": 0.5, "split": "train"}
    save_weights(ImageClassifier(options.width, options.features, 4), folder / "classifier" / WEIGHTS)
    files.write_json(folder / "classifier" / "options.json", written)
    save_weights(ImageClassifier(options.width, options.features, sum(SIZES), PLACES), folder / "attributes" / WEIGHTS)
    attributes = {name: list(values) for name, values in SPECIES_ATTRIBUTES.items()}
    written |= {"attributes": attributes, "majority": [0] * len(SIZES), "test_accuracy_of_named": 0.5}
    files.write_json(folder / "attributes" / "options.json", written)
    save_weights(LinearProbe(2, 3), folder / "probe" / PROBE)
    files.write_json(folder / "probe" / "options.json", {"features": 2, "classes": 3, "validation_accuracy": 0.5})
    linear = torch.nn.Linear(2, 3)
    torch.save(linear.state_dict(), folder / "attributes" / "linear.pth")
    save_weights(linear, folder / "attributes" / "linear.safetensors")


def _make_sources(folder: Path) -> None:
    make_coco(folder, "2014")
    (folder / "cub").mkdir()
    make_cub(folder / "cub")
    make_metadata(folder / "cub")
    lists = folder / "lists"
    lists.mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(picture()).save(lists / name)
    for name, text in _FURTHER_LISTS.items():
        (lists / name).write_text(text)
    images = folder / "images"
    images.mkdir()
    for name in ("a.png", "a.jpg", "a.gif", "a.tiff", "a.webp", "a.ppm", "a.bmp"):
        Image.fromarray(picture(24, 24)).save(images / name)


def _make_texts(folder: Path) -> None:
    folder.mkdir()
    (folder / "captions.jsonl").write_text(_CAPTIONS)
    (folder / "captions.txt").write_text("a red bird\na naïve bird\n")
    (folder / "smoke.yaml").write_bytes((CONFIGS / "smoke.yaml").read_bytes())
    (folder / "anchors.yaml").write_text("a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, z: *a}\n")
    write_captions_pickle(folder / "captions.pickle", ["<end>", "a", "red", "bird"])
    columns = "stage,network,device,over,images_per_second,gflop_per_image,checkpoint_mb,batch"
    (folder / "rates.csv").write_text(f"{columns}\ntrain,dmgan,cpu,2 s,3.5,2,9,4\n")
    (folder / "published.csv").write_text(
        "source,table,dataset,method,metric,value,std,note,remark\n003,Table 2,CUB,DM-GAN,FID,16.09,,,\n"
    )
    (folder / "comparisons.csv").write_text(
        "first,second,metric,scorer,claim,note\nDM-GAN,AttnGAN,FID,species,DM-GAN is better,\n"
    )


def _make_results(folder: Path) -> None:
    evaluated = folder / "evaluated"
    subject = {"kind": "model", "name": "dmgan", "seed": 0, "dataset": "synthbirds", "num_images": 8, "image_size": 32}
    retrieval = {"method": "S-S", "entries": 9, "feature_network": "small"}
    inputs = {"data": {"captions.json": "ca"}, IMAGES_SHA256: "ab", "sampling_seed": 100, "retrieval": retrieval}
    content = {"schema": 2, "subject": subject, "metrics": metrics(MODEL), "inputs": inputs, "provenance": {}}
    files.write_json(evaluated / "metrics.json", content)
    numbers = np.arange(8)
    arrays = {"test_images": numbers, "captions": numbers * 0, "folds": numbers, IMAGES_SHA256: np.array("ab")}
    arrays |= {"hits/R-precision(training DAMSM)": numbers * 1.0, "counts/R-precision(training DAMSM)": numbers * 0 + 1}
    np.savez(evaluated / "per_image.npz", **arrays, **{"without/FID(species)": numbers * 2.0})
    np.savez(evaluated / "statistics.npz", mu=np.zeros(16), sigma=np.eye(16))
    np.save(evaluated / "features.npy", np.zeros((8, 16), np.float32))
    pair = {name: {"output to retrieved": 0.1, "real to retrieved": 0.2} for name in ("pixels", "features")}
    part = {"images": 4, "captions": 4, "mean": pair}
    counts = {"hash": "dHash", "test_images": 4, "equal_hash": 0, "equal_pixels": 0}
    duplicates = counts | {"share_equal_hash": 0.0, "share_equal_pixels": 0.0}
    memorisation = {"schema": 1, "subject": subject, "retrieval": retrieval, "distances": part, "diversity": part}
    files.write_json(evaluated / "memorisation.json", memorisation | {"duplicates": duplicates})
    (evaluated / "measures.csv").write_text("name,value,file\nFID,20.0,metrics.json\n")
    fetched = folder / "fetched"
    files.write_bytes(fetched / "a.bin", b"abc")
    origin = {"url": "https://example.org/a.bin", "size": 3, "sha256": files.file_sha256(fetched / "a.bin")}
    files.write_json(fetched / "a.bin.origin.json", origin)
    files.write_json(fetched / "a.bin.part.json", {"url": origin["url"], "validator": "", "total": 3})
