"""Images of any program: fifty files measured, tabled and compared, and folders that are refused in one error."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from dmgan.__main__ import main
from dmgan.data.letters import FOLDED
from dmgan.data.vocabulary import Vocabulary
from dmgan.errors import UserError
from dmgan.evaluation.captions_file import CaptionLine
from dmgan.evaluation.evaluate import ComparedWith, evaluate_folder
from dmgan.evaluation.external_images import OwnImages, match_captions, read_external_images
from dmgan.evaluation.feature_store import extract
from dmgan.evaluation.image_sets import AnyImages, ImageFiles, real_test_images
from dmgan.evaluation.networks import base
from dmgan.evaluation.networks.classifier import TrainedClassifier
from dmgan.evaluation.networks.loaded import NetworkFiles
from dmgan.evaluation.networks.species import SpeciesFeatures
from dmgan.evaluation.statistics import uncertainty
from dmgan.options import EvaluationOptions
from dmgan.text import damsm
from tests.conftest import CPU
from tests.evaluation.own_images import pixels_of, test_captions, write_captions, write_images
from tests.reading import read_csv

COUNT = 50


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(uncertainty, "RESAMPLES", 100)


@pytest.fixture(scope="module")
def own_folder(dataset, tmp_path_factory):
    """Fifty PNGs, and captions of the test images in another order than the files'."""
    folder = tmp_path_factory.mktemp("own") / "my images"
    names = write_images(folder, COUNT)
    write_captions(folder / "captions.jsonl", dict(zip(reversed(names), test_captions(dataset, COUNT), strict=True)))
    return folder


@pytest.fixture
def measure(data, damsm_folder, classifier_folder, tmp_path):
    """Measures a folder with the command line, and returns metrics.json."""

    def run(folder, name, *more, with_data=True):
        out = tmp_path / name / "metrics.json"
        words = ["evaluate", "--images", folder, "--name", name, "--out", out, "--classifier", classifier_folder]
        words += ["--damsm", damsm_folder, "--neighbours", "2", "--device", "cpu", "--threads", "1", *more]
        words += ["--data", data, "--reference-features", tmp_path / "reference"] if with_data else []
        assert main([str(word) for word in words]) == 0
        return out

    return run


def read(folder, dataset, **changes):
    """The image set of a folder that is compared with the test images."""
    own = OwnImages(folder, "mine")._replace(**changes)
    real = None if dataset is None else real_test_images(dataset, folder / "features")
    return read_external_images(own, dataset, real, "real images")


def test_fifty_images_are_measured_tabled_and_compared(own_folder, dataset, measure, evaluated_folder, tmp_path):
    others = tmp_path / "others"
    names = write_images(others, COUNT, side=48, seed=1)
    write_captions(tmp_path / "others.jsonl", dict(zip(names, test_captions(dataset, COUNT), strict=True)))
    first = measure(own_folder, "My method")
    second = measure(others, "Another", "--captions", tmp_path / "others.jsonl")
    content = json.loads(first.read_text())
    assert content["subject"] == {
        "kind": "external", "name": "My method", "seed": None, "dataset": "synthbirds", "num_images": COUNT,
        "image_size": 32,
    }  # fmt: skip
    assert content["inputs"]["captions"] == "captions of the test set" and content["inputs"]["sizes"] == "32x32 px"
    model = evaluated_folder / "metrics.json"
    files = [str(path) for path in (first, second, model)]
    assert main(["tables", "--metrics", *files, "--out", str(tmp_path / "tables")]) == 0
    rows = {(row["method"], row["metric"], row["scorer"]): row for row in read_csv(tmp_path / "tables" / "table2.csv")}
    own_column = "species; 48 px, 50 images"
    assert float(rows["My method", "FID", "species; 50 images"]["value"]) == content["metrics"]["FID(species)"]["value"]
    assert rows["Another", "FID", own_column]["value"] and rows["DM-GAN", "FID", "species"]["value"]
    assert ("My method", "FID", "species") not in rows and ("DM-GAN", "FID", own_column) not in rows
    hits = rows["My method", "R-precision", "training DAMSM"]
    assert hits["value"] and hits["num_images"] == "50" and rows["DM-GAN", "R-precision", "training DAMSM"]["value"]
    text = (tmp_path / "tables" / "table2-notes.md").read_text()
    assert "My method: 50 images of another program (32x32 px; captions of the test set)." in text
    assert "My method: measured otherwise (50 images)." in text and "Another: measured otherwise (48 px" in text
    assert "My method on R-precision(training DAMSM), 50 images against 40" in text
    assert main(["compare", "--metrics", *files, "--out", str(tmp_path / "tables")]) == 0
    compared = {(row["first"], row["second"], row["metric"]) for row in read_csv(tmp_path / "tables/comparisons.csv")}
    assert ("DM-GAN", "My method", "R-precision") in compared and ("DM-GAN", "My method", "FID") not in compared
    text = (tmp_path / "tables" / "comparisons-notes.md").read_text()
    assert re.search(r"Compared with methods of other programs: .*DM-GAN and My method, \d\d images", text)
    assert "My method and Another, 50 images" in text


def test_two_methods_with_the_same_captions_are_compared_by_every_metric(own_folder, dataset, measure, tmp_path):
    """Their files have other orders and names, so the images pair by caption."""
    others = tmp_path / "others"
    names = write_images(others, COUNT, seed=1)
    write_captions(others / "captions.jsonl", dict(zip(names, test_captions(dataset, COUNT), strict=True)))
    files = [measure(own_folder, "My method"), measure(others, "Another")]
    assert main(["compare", "--metrics", *map(str, files), "--out", str(tmp_path)]) == 0
    rows = {row["metric"]: row for row in read_csv(tmp_path / "comparisons.csv")}
    assert set(rows) == {"IS", "FID", "KID", "R-precision"}
    values = [json.loads(file.read_text())["metrics"]["FID(species)"]["value"] for file in files]
    assert float(rows["FID"]["difference"]) == pytest.approx(values[0] - values[1])
    assert "they are paired by caption" in (tmp_path / "comparisons-notes.md").read_text()


def test_images_are_read_in_the_order_of_their_paths_whatever_the_captions_file_says(own_folder, dataset):
    subject, captions = read(own_folder, dataset)
    assert captions is dataset and [path.name for path in subject.read.paths[:2]] == ["-dash.png", "0.png"]
    lines = [json.loads(line) for line in (own_folder / "captions.jsonl").read_text().splitlines()]
    text_of = {line["image"]: line["caption"] for line in lines}
    for number, path in enumerate(subject.read.paths):
        text = dataset.caption(int(subject.test_images[number]), int(subject.captions[number]))
        assert text == text_of[path.relative_to(own_folder).as_posix()]
        assert np.array_equal(subject.read(number), pixels_of(path))


def test_without_captions_or_data_only_what_needs_none_is_measured(own_folder, measure, tmp_path):
    bare = tmp_path / "bare"
    write_images(bare, 24)
    alone = json.loads(measure(bare, "alone", with_data=False).read_text())
    assert set(alone["metrics"]) == {"IS(species)"} and alone["inputs"]["data"] == {}
    assert alone["subject"]["dataset"] == "no reference images" and alone["inputs"]["captions"] == "no captions"
    against = json.loads(measure(bare, "against", "--reference", own_folder, with_data=False).read_text())
    names = ("IS", "FID", "KID", "precision", "recall", "density", "coverage", "diversity")
    assert set(against["metrics"]) == {f"{name}(species)" for name in names}
    protocol = against["metrics"]["FID(species)"]["protocol"]
    assert (protocol["reference"], protocol["reference_num_images"]) == ("all images of my images", COUNT)


def test_captions_of_their_own_are_a_list_of_their_own(own_folder, measure, tmp_path, capsys):
    bare = tmp_path / "bare"
    names = write_images(bare, 24)
    texts = [f"a bird with a {word} {part}" for word in ("red", "blue", "white") for part in ("bill", "crown")]
    write_captions(bare / "captions.jsonl", {name: texts[n % 6] for n, name in enumerate(names)})
    found = json.loads(measure(bare, "free").read_text())
    assert found["inputs"]["captions"] == "captions of their own"
    metric = found["metrics"]["R-precision(training DAMSM)"]
    assert metric["protocol"]["captions_sha256"] == found["inputs"]["captions_sha256"]
    assert "mismatched captions are drawn from this file" in capsys.readouterr().err
    matched = measure(own_folder, "matched")
    tables = ["tables", "--metrics", str(matched), str(matched.parents[1] / "free" / "metrics.json")]
    assert main([*tables, "--out", str(tmp_path / "tables")]) == 0
    scorers = {row["scorer"] for row in read_csv(tmp_path / "tables/table2.csv") if row["metric"] == "R-precision"}
    assert scorers == {"", "training DAMSM", "training DAMSM; other captions"}


def test_a_caption_of_several_test_images_is_dealt_to_them_in_turn_or_to_the_one_that_is_named(dataset, tmp_path):
    class TwoAlike:
        """The data set, whose second test image has the captions of the first too."""

        folder = dataset.folder

        def __getattr__(self, name):
            return getattr(dataset, name)

        def caption(self, image, number):
            return dataset.caption(int(dataset.indices("test")[0]), number) if image in alike else "another bird"

    alike = dataset.indices("test")[:2]
    text = dataset.caption(int(alike[0]), 0)
    names = write_images(tmp_path, 4)
    write_captions(tmp_path / "captions.jsonl", dict.fromkeys(names, text.upper() + "!"))
    subject, _ = read(tmp_path, TwoAlike())
    assert subject.test_images.tolist() == [*alike, *alike] and (subject.captions == 0).all()
    write_captions(
        tmp_path / "captions.jsonl", dict.fromkeys(names, text), real_image={names[0]: dataset.name(int(alike[1]))}
    )
    subject, _ = read(tmp_path, TwoAlike())
    assert subject.test_images.tolist() == [alike[1], *alike, alike[0]]


def test_captions_are_matched_by_the_data_set_s_rule_for_letters(dataset, monkeypatch, tmp_path):
    image = dataset.indices("test")[0]
    written = dataset.caption(image, 0).replace("a", "á").replace("e", "è")
    lines = [CaptionLine(written, None, dataset.name(image))]
    assert written != dataset.caption(image, 0) and match_captions(lines, dataset, tmp_path)[1] == [written]
    monkeypatch.setattr(dataset, "vocabulary", Vocabulary(dataset.vocabulary.words, FOLDED))
    found, unmatched = match_captions(lines, dataset, tmp_path)
    assert found.tolist() == [[image, 0]] and unmatched == []


def test_every_fault_of_a_folder_is_named_in_one_error_and_nothing_is_written(dataset, tmp_path):
    folder = tmp_path / "images"
    names = write_images(folder, 24)
    (folder / "torn.png").write_bytes((folder / names[0]).read_bytes()[:200])
    (folder / "phone.heic").write_bytes(b"heic")
    captions = dict(zip([*names[1:], "gone.png"], test_captions(dataset, 24), strict=True))
    path = write_captions(tmp_path / "captions.jsonl", captions)
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\nno json\n")
    network_files = NetworkFiles((), None, tmp_path, None)
    with pytest.raises(UserError) as caught:
        evaluate_folder(
            images=OwnImages(folder, "mine", path), compared_with=ComparedWith(dataset.folder),
            network_files=network_files, out=tmp_path / "out" / "metrics.json", options=EvaluationOptions(), device=CPU,
        )  # fmt: skip
    message = str(caught.value)
    for told in (
        f"images without a line in captions.jsonl: {names[0]}, torn.png", "without an image in the folder: gone.png",
        f"images with several lines: {names[1]}", "unreadable images: torn.png (truncated or corrupt file)",
        "files of an unread kind (convert them to PNG): phone.heic", "line 26 of captions.jsonl",
    ):  # fmt: skip
        assert told in message
    assert "\n" not in message and not (tmp_path / "out").exists()


def test_captions_that_are_partly_the_test_set_s_need_a_decision(dataset, tmp_path):
    names = write_images(tmp_path, 24)
    write_captions(tmp_path / "captions.jsonl", dict(zip(names, ["a typo", *test_captions(dataset, 23)], strict=True)))
    with pytest.raises(
        UserError, match=r"1 of 24 captions are not .*: 'a typo'; correct them, or give --free-captions"
    ):
        read(tmp_path, dataset)
    subject, captions = read(tmp_path, dataset, free=True)
    assert captions is not dataset and subject.free_captions == captions.captions_sha256


@pytest.mark.parametrize("name", ["", " ", "a|b", "a\nb"])
def test_a_name_that_would_break_a_table_is_refused(name, own_folder):
    with pytest.raises(UserError, match="stands in tables; give a name"):
        read(own_folder, None, name=name)


def test_formats_sizes_and_equal_files(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(256, size=(20, 30, 3), dtype=np.uint8)
    for suffix in ("png", "bmp", "tiff", "ppm", "webp", "jpg"):
        Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", lossless=True)
    Image.fromarray(pixels[:, :20]).save(tmp_path / "b.png")
    Image.fromarray(pixels[:, :20]).save(tmp_path / "c.png")
    clear = np.dstack([pixels, np.zeros((20, 30), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "d.png")
    subject, captions = read(tmp_path, None)
    assert subject.size is None and subject.inputs["sizes"] == "2 sizes from 20x20 px to 30x20 px"
    assert (subject.captions == -1).all() and len(captions) == 0
    by_name = {path.name: subject.read(number) for number, path in enumerate(subject.read.paths)}
    for suffix in ("png", "bmp", "tiff", "ppm", "webp"):
        assert np.array_equal(by_name[f"a.{suffix}"], pixels)
    assert (by_name["d.png"] == 255).all()
    told = capsys.readouterr().err
    assert "transparency: laid on white: d.png" in told and "equal files, all of which count: c.png = b.png" in told


def test_images_of_several_sizes_have_the_features_that_each_has_alone(tmp_path, classifier_folder):
    """A pass holds images of one size; the extractor's own resize brings each to its side."""
    for number in range(40):
        pixels = np.random.default_rng(number).integers(256, size=(20 + number % 3, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02d}.png")
    paths = sorted(tmp_path.glob("*.png"))
    extractor = SpeciesFeatures(TrainedClassifier.read(classifier_folder, CPU))
    mixed = extract(AnyImages(paths), 40, [extractor], tmp_path / "mixed", CPU)["species"]["features"].all()
    for rest in range(3):
        some = paths[rest::3]
        alone = extract(AnyImages(some), len(some), [extractor], tmp_path / str(rest), CPU)["species"]["features"].all()
        assert np.allclose(mixed[rest::3], alone, atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 32), (40, 24), (16, 24)])
def test_an_image_that_is_no_square_is_squeezed_to_one_by_every_small_network(shape):
    images = torch.rand(2, 3, *shape)
    expected = F.interpolate(images, size=(24, 24), mode="bilinear", antialias=True)
    for resize in (damsm.resized, base.resized):
        torch.testing.assert_close(resize(images, 24), expected, atol=1e-6, rtol=0)


def test_equal_sizes_have_the_features_of_sampled_images(images_folder, classifier_folder, tmp_path):
    paths = sorted(images_folder.glob("*.png"))
    extractor = SpeciesFeatures(TrainedClassifier.read(classifier_folder, CPU))
    both = [
        extract(images, 40, [extractor], tmp_path / name, CPU)["species"]["features"].all()
        for name, images in (("any", AnyImages(paths)), ("sampled", ImageFiles(paths, 32, "sample again")))
    ]
    assert np.array_equal(*both)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name", "x"], "--name: sample recorded it in .*; leave the flag out"),
        (["--reference", "x"], "--reference x: images of sample are compared with the test images of --data"),
        ([], "was written by sample; give --data"),
        (["--data", "DATA"], "was written by sample; give --damsm"),
    ],
)
def test_images_of_sample_take_no_flag_that_their_manifest_answers(
    words, message, images_folder, data, classifier_folder, capsys
):
    words = [str(data) if word == "DATA" else word for word in words]
    flags = ["--images", str(images_folder), "--classifier", str(classifier_folder), "--device", "cpu"]
    assert main(["evaluate", *flags, *words]) == 1
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])


@pytest.mark.parametrize(("given", "missing"), [([], "--data"), (["--data", "x"], "--damsm")])
def test_control_rows_need_a_data_set_and_encoders(given, missing, tmp_path, capsys):
    assert main(["controls", "--out", str(tmp_path / "out"), *given]) == 1
    assert f"{missing}: is needed for control rows" in capsys.readouterr().err


def test_a_folder_of_features_is_not_taken_for_real_images(own_folder, tmp_path):
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "reference.json").write_text("{}")
    with pytest.raises(UserError, match="holds no readable image .*--reference-features names a folder of stored"):
        evaluate_folder(
            images=OwnImages(own_folder, "mine"), compared_with=ComparedWith(reference=tmp_path / "reference"),
            network_files=NetworkFiles((), None, tmp_path, None), out=tmp_path / "metrics.json",
            options=EvaluationOptions(), device=CPU,
        )  # fmt: skip


def test_mixed_sizes_depend_on_neither_batch_size_nor_workers_and_are_not_padded(
    tmp_path, classifier_folder, monkeypatch
):
    for number in range(40):
        pixels = np.random.default_rng(number).integers(256, size=(20 + number % 7, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02d}.png")
    images = AnyImages(sorted(tmp_path.glob("*.png")))
    extractor = SpeciesFeatures(TrainedClassifier.read(classifier_folder, CPU))
    forward, passed = extractor.forward, []
    monkeypatch.setattr(extractor, "forward", lambda batch: passed.append(len(batch)) or forward(batch))
    first = extract(images, 40, [extractor], tmp_path / "first", CPU)["species"]["features"].all()
    assert sum(passed) == 40  # seven sizes in each block of 32: padded passes would hold 14 x 32 images
    again = extract(images, 40, [extractor], tmp_path / "again", CPU, batch_size=7)["species"]["features"].all()
    assert np.array_equal(first, again)
