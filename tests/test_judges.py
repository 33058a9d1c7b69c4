"""Judges of captions and control rows: who judges, what each row is, and whom the adversarial row fools."""

import csv
import functools
import json
import re
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from dmgan.data.sources.synthbirds import named_attributes
from dmgan.data.vocabulary import fit_caption
from dmgan.errors import UserError
from dmgan.evaluation import attributes, controls, metrics, uncertainty
from dmgan.evaluation.controls import CONTROLS, control_images, nearest_training_images
from dmgan.evaluation.evaluate import Judges, evaluate, evaluate_controls
from dmgan.evaluation.features import Rows, StoredFeatures
from dmgan.evaluation.images import ImageSet
from dmgan.evaluation.judges import ClipJudge, read_damsm_judges
from dmgan.options import ClassifierOptions, DamsmOptions, EvaluationOptions, MatchingOptions
from dmgan.report.comparisons import write_comparisons
from dmgan.runtime.randomness import generator
from dmgan.sampling.sample import sample_test_captions
from dmgan.text.damsm import Damsm
from dmgan.training.pretrain_damsm import pretrain
from tests.conftest import CPU
from tests.test_rprecision import literal_hit

TRAINING, HELD_OUT = "R-precision(training DAMSM)", "R-precision(held-out DAMSM)"


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(uncertainty, "RESAMPLES", 100)


@pytest.fixture(scope="module")
def held_out_folder(data, tmp_path_factory):
    """Encoders of another seed."""
    folder = tmp_path_factory.mktemp("held-out")
    options = DamsmOptions(image_encoder="small", image_size=32, width=4, embedding_dim=16, epochs=1, batch_size=8)
    pretrain(data, folder, options, MatchingOptions(), 1, CPU)
    return folder


CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def clip_files(tmp_path_factory):
    """A CLIP that has learnt nothing: configuration and weights."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-clip.json").write_text(json.dumps(CLIP))
    open_clip.add_model_config(folder / "tiny-clip.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), folder / "weights.pt")
    return str(folder / "tiny-clip.json"), folder / "weights.pt"


@pytest.fixture(scope="module")
def judges(classifier_folder, damsm_folder, held_out_folder, attributes_folder, clip_files, tmp_path_factory):
    return Judges(
        ("species",), classifier_folder, tmp_path_factory.mktemp("weights"), damsm_folder, held_out_folder, clip_files,
        attributes_folder,
    )  # fmt: skip


@pytest.fixture(scope="module")
def judged_folder(run_folder, data, judges, tmp_path_factory):
    """A model that every judge has judged."""
    folder = tmp_path_factory.mktemp("judged")
    sample_test_captions(run_folder, data, folder / "images", 40, 100, 16, False, CPU)
    options = EvaluationOptions(neighbours=2)
    evaluate(
        images=folder / "images", data=data, judges=judges, reference=None, out=folder / "metrics.json",
        options=options, device=CPU,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def judged(judged_folder):
    """Its metrics.json, and what each image adds to it."""
    arrays = dict(np.load(judged_folder / "per_image.npz"))
    return json.loads((judged_folder / "metrics.json").read_text()), arrays


def test_every_judge_has_a_column_of_its_own(judged):
    content, _ = judged
    judges = [name for name in content["metrics"] if not name.endswith("(species)") and not name.startswith("SOA")]
    assert judges == [TRAINING, HELD_OUT, "R-precision(CLIP tiny-clip)", attributes.METRIC]
    for name in judges:
        metric = content["metrics"][name]
        low, high = metric["bootstrap"]["interval"]
        assert low <= metric["bootstrap"]["value"] <= high
        assert metric["bootstrap"]["over"] == "images, clustered by test image"
        assert 0 < metric["chance"] < 100
    hashes = {json.dumps(content["metrics"][name]["protocol"]["feature_network_sha256"]) for name in judges}
    assert len(hashes) == 4
    assert content["metrics"]["IS(species)"]["bootstrap"]["interval"]
    read = [content["metrics"][name]["protocol"]["captions"] for name in judges[:3]]
    assert read == ["whole", "whole", "whole, up to CLIP's 77 tokens"]
    assert content["inputs"]["longest_caption_read"] == 12  # TRAINING.max_words


def test_objects_are_looked_for_by_the_attribute_classifier(judged):
    content, _ = judged
    named = [name for name in content["metrics"] if name.startswith("SOA")]
    assert named == ["SOA-C(attribute classifier)", "SOA-I(attribute classifier)"]
    soa_i, accuracy = content["metrics"][named[1]], content["metrics"][attributes.METRIC]
    assert soa_i["value"] == pytest.approx(accuracy["bootstrap"]["value"])  # the same share, summed in another order
    assert soa_i["protocol"]["feature_network_sha256"] == accuracy["protocol"]["feature_network_sha256"]


def test_per_image_values_make_the_metric(judged):
    content, arrays = judged
    for name in (TRAINING, HELD_OUT, attributes.METRIC):
        hits, counts = arrays[f"hits/{name}"], arrays[f"counts/{name}"]
        assert content["metrics"][name]["bootstrap"]["value"] == pytest.approx(100 * hits.sum() / counts.sum())
        assert (hits <= counts).all() and len(hits) == 40
    order = metrics.fold_order(40, 100)
    folds = [100 * arrays[f"hits/{TRAINING}"][rows].mean() for rows in metrics.fold_rows(order)]
    assert content["metrics"][TRAINING]["value"] == pytest.approx(np.mean(folds))
    assert arrays["without/FID(species)"].shape == (8,)  # folds of whole test images, of which there are eight
    distance = content["metrics"]["FID(species)"]
    assert (distance["folds"], distance["interval_folds"]) == (10, 8)
    for fold in range(8):
        assert len(set(arrays["test_images"][arrays["folds"] == fold])) == 1


def test_a_model_does_not_differ_from_its_own_copy(judged_folder, tmp_path):
    """What `evaluate` writes is what `compare` reads, by every judge."""
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(judged_folder / "per_image.npz", copy)
    content = json.loads((judged_folder / "metrics.json").read_text())
    content["subject"]["name"] = "attngan"
    (copy / "metrics.json").write_text(json.dumps(content))
    write_comparisons([judged_folder / "metrics.json", copy / "metrics.json"], tmp_path, 0)
    with open(tmp_path / "comparisons.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {f"{row['metric']}({row['judge']})" for row in rows} == {
        "IS(species)", "FID(species)", "KID(species)", TRAINING, HELD_OUT, "R-precision(CLIP tiny-clip)",
        attributes.METRIC, "SOA-C(attribute classifier)", "SOA-I(attribute classifier)",
    }  # fmt: skip
    assert all(float(row["difference"]) == 0 and row["claim"] == "no difference shown" for row in rows)


def test_a_held_out_judge_must_be_another(data, dataset, damsm_folder):
    with pytest.raises(UserError, match="a held-out judge must be of another seed"):
        read_damsm_judges(Damsm.read(damsm_folder), damsm_folder, damsm_folder, dataset, CPU)


def test_clip_sees_what_its_own_transform_gives(clip_files, dataset):
    judge = ClipJudge(*clip_files, CPU)
    model = judge._model
    image = dataset.image(3)[:36, :36]
    transform = open_clip.image_transform(32, is_train=False, mean=model.visual.image_mean, std=model.visual.image_std)
    own = judge.network.forward(torch.tensor(judge.network.prepare(image))[None])["codes"]
    assert torch.allclose(own, model.encode_image(transform(Image.fromarray(image))[None]), atol=1e-5)
    text = [dataset.caption(3, 0), dataset.caption(4, 1)]
    assert np.allclose(judge.encode(text), model.encode_text(open_clip.tokenize(text)).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("tiny-clip", "nowhere.pt", "nowhere.pt: is not there; give --clip-weights .*no hash of it is known"),
        ("no-such-clip", "weights.pt", "--clip no-such-clip: is not known to open_clip"),
        ("tiny-clip", "other.pt", "holds the weights of another network"),
    ],
)
def test_clip_that_cannot_be_had_is_one_line(clip_files, model, weights, message):
    folder = clip_files[1].parent
    torch.save({"logit_scale": torch.zeros(())}, folder / "other.pt")
    with pytest.raises(UserError, match=message) as caught:
        ClipJudge(model, folder / weights, CPU)
    assert "\n" not in str(caught.value)


@pytest.fixture
def judged_noise(dataset, damsm_folder, tmp_path):
    """The judge of R-precision, noise images, and codes for them that are drawn here."""
    (judge,) = read_damsm_judges(Damsm.read(damsm_folder), damsm_folder, None, dataset, CPU)
    subject = control_images("noise", dataset, Damsm.read(damsm_folder), 32, 100, tmp_path, CPU)
    return judge, subject, np.random.default_rng(0).normal(size=(len(subject), 16)).astype(np.float32)


def retrieval(judge, subject, codes, dataset, **options):
    """The judge's verdict of images with these codes (N, E)."""
    stored = StoredFeatures({"codes": Rows(codes)}, {}, "")
    return judge.verdict(subject, stored, dataset, EvaluationOptions(**options))


@pytest.mark.parametrize(("value", "what"), [(np.nan, "is not finite"), (np.inf, "is not finite"), (0, "has length 0")])
@pytest.mark.parametrize("side", ["image", "caption"])
def test_a_code_without_a_cosine_is_an_error_by_name(judged_noise, dataset, monkeypatch, value, what, side):
    """A NaN would count as a miss, and a dead encoder as a hit of every image."""
    judge, subject, codes = judged_noise
    if side == "image":
        codes[3] = value
        name = "noise image 3"
    else:
        row, encode = 2, judge.encode
        monkeypatch.setattr(
            judge,
            "encode",
            lambda captions: np.where(np.arange(len(captions))[:, None] == row, value, encode(captions)),
        )
        name = f"caption {subject.captions[2]} of {dataset.name(subject.test_images[2])}"
    with pytest.raises(UserError, match=rf"{re.escape(name)}: its code by training-damsm {what}") as caught:
        retrieval(judge, subject, codes, dataset)
    assert "\n" not in str(caught.value)


@functools.cache
def drawn_code(caption: tuple[int, ...]) -> np.ndarray:
    """A code (16,) that depends on the caption's tokens alone."""
    return np.random.default_rng(caption).normal(size=16).astype(np.float32)


@pytest.mark.parametrize(("limit", "read"), [(0, 2), (3, 3), (3, 2)])
def test_r_precision_of_an_image_set_equals_the_loop(judged_noise, dataset, damsm_folder, monkeypatch, limit, read):
    """Captions, classes and rivals image by image; `read`: the words that the generator read, of all captions."""
    judge, subject, _ = judged_noise
    monkeypatch.setattr(judge, "encode", lambda captions: np.stack([drawn_code(each) for each in captions]))
    random, test = np.random.default_rng(0), dataset.indices("test")
    shown, which = random.choice(test, 200), random.integers(3, size=200)
    heard = [np.sort(random.permutation(dataset.tokens(*each))[:read]) for each in zip(shown, which, strict=True)]
    sha256 = Damsm.read(damsm_folder).sha256["vocabulary.json"]
    changed = {"test_images": shown, "captions": which, "tokens": heard, "inputs": {"vocabulary_sha256": sha256}}
    subject = ImageSet(**subject._asdict() | changed)

    def words(image, caption):
        tokens = dataset.tokens(image, caption)
        return tuple(fit_caption(tokens, limit or 99, generator(7, "judged words", image, caption)).tolist())

    own = [words(*each) for each in zip(shown, which, strict=True)]
    if limit == read:
        own = [tuple(each.tolist()) for each in heard]
    codes = np.stack([drawn_code(each) for each in own]) + 2 * random.normal(size=(200, 16)).astype(np.float32)
    pool = sorted(((i, c) for i in test for c in range(3)), key=lambda each: dataset.class_ids[each[0]])
    draws, hits = generator(7, "mismatched captions").random((200, 99)), []
    for i, image in enumerate(shown):
        others = [each for each in pool if dataset.class_ids[each[0]] != dataset.class_ids[image]]
        rivals = [words(*others[int(draw * len(others))]) for draw in draws[i]]
        hits.append(literal_hit(codes[i], drawn_code(own[i]), [drawn_code(each) for each in rivals]))
    verdict = retrieval(judge, subject, codes, dataset, seed=7, caption_words=limit)
    assert verdict.hits.tolist() == hits and 50 < sum(hits) < 190
    assert verdict.protocol["captions"] == ("3 words at most of each" if limit else "whole")


# Attribute accuracy.


def test_wanted_values_are_what_captions_name(dataset):
    texts = [dataset.caption(image, 0) for image in range(12)]
    wanted = attributes.wanted_values(texts)
    for row, text in zip(wanted, texts, strict=True):
        named = {
            name: attributes.SPECIES_ATTRIBUTES[name][value]
            for name, value in zip(attributes.NAMES, row, strict=True)
            if value >= 0
        }
        assert named == named_attributes(text)


def test_images_that_show_everything_score_all_and_others_less(dataset):
    test = dataset.indices("test")
    wanted = attributes.wanted_values([dataset.caption(image, 1) for image in test])
    truth = np.array(
        [
            [attributes.SPECIES_ATTRIBUTES[name].index(dataset.attributes(image)[name]) for name in attributes.NAMES]
            for image in test
        ]
    )
    hits, counts = attributes.shown_attributes(truth, wanted)
    assert (hits == counts).all() and (counts >= 3).all()
    moved = np.roll(truth, 4, axis=0)  # another species' images
    assert attributes.shown_attributes(moved, wanted)[0].sum() < counts.sum()


def test_the_attribute_classifier_states_its_own_accuracy(attributes_folder, data):
    written = json.loads((attributes_folder / "options.json").read_text())
    assert 0 < written["test_accuracy_of_named"] < 1
    assert list(written["test_accuracy"]) == list(attributes.NAMES)
    judge = attributes.TrainedAttributes.read(attributes_folder, CPU)
    assert judge.protocol["accuracy_on_real_test_images"] == written["test_accuracy_of_named"]


def test_without_named_attributes_there_is_no_attribute_accuracy(data, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for path in data.iterdir():
        (other / path.name).symlink_to(path)
    description = json.loads((data / "dataset.json").read_text())
    description["source"]["name"] = "cub"
    (other / "dataset.json").unlink()
    (other / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="names no attributes"):
        attributes.train_attributes(other, tmp_path / "out", ClassifierOptions(), 0, CPU)


# Control rows.


@pytest.fixture(scope="module")
def rows(data, judges, tmp_path_factory):
    """metrics.json of every control row, by its name, and the folder."""
    folder = tmp_path_factory.mktemp("controls")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "FOLDS", 2)
        patch.setattr(uncertainty, "RESAMPLES", 100)
        evaluate_controls(
            controls=CONTROLS, data=data, judges=judges._replace(clip=None), reference=None, out=folder,
            options=EvaluationOptions(neighbours=2), device=CPU,
        )  # fmt: skip
    return {name: json.loads((folder / name / "metrics.json").read_text()) for name in CONTROLS}, folder


def test_every_control_row_has_every_metric(rows, dataset):
    content, _ = rows
    test = len(dataset.indices("test"))
    for name, row in content.items():
        assert row["subject"] == {
            "kind": "control", "name": name, "seed": None, "dataset": "synthbirds", "image_size": 32,
            "num_images": test // 2 if name in ("real", "shuffled") else test,
        }  # fmt: skip
        assert list(row["metrics"]) == list(content["real"]["metrics"])
        assert row["metrics"]["diversity(species)"]["num_images"] == row["subject"]["num_images"]
        undefined = {key for key, metric in row["metrics"].items() if metric is None}
        no_truth = name in ("noise", "adversarial")  # of what they show
        assert undefined == ({"SOA-C(truth)", "SOA-I(truth)"} if no_truth else set())


def test_the_adversarial_row_fools_the_judge_it_was_made_against(rows):
    content, folder = rows
    value = {name: row["metrics"][TRAINING]["value"] for name, row in content.items()}
    assert value["adversarial"] > 70 > value["noise"]
    assert content["adversarial"]["metrics"][HELD_OUT]["value"] < value["adversarial"]
    with Image.open(folder / "adversarial" / "images" / "000000.png") as image:
        assert np.asarray(image).std() > 50  # still noise


def test_adversarial_images_are_kept_and_made_anew_for_another_judge(rows, dataset, damsm_folder, held_out_folder):
    _, folder = rows
    first = folder / "adversarial" / "images" / "000000.png"
    before = first.stat().st_mtime_ns
    arguments = (32, 100, folder / "adversarial", CPU)
    control_images("adversarial", dataset, Damsm.read(damsm_folder), *arguments)
    assert first.stat().st_mtime_ns == before
    control_images("adversarial", dataset, Damsm.read(held_out_folder), *arguments)
    assert first.stat().st_mtime_ns != before


@pytest.fixture
def control(dataset, damsm_folder, tmp_path):
    encoders = Damsm.read(damsm_folder)
    return lambda name: control_images(name, dataset, encoders, 32, 100, tmp_path, CPU)


def test_real_halves_share_no_image(control, dataset):
    real = control("real")
    assert not set(real.reference) & set(real.test_images)
    assert set(real.reference) | set(real.test_images) == set(dataset.indices("test"))


def test_shuffled_captions_are_of_other_classes(control, dataset):
    real, shuffled = control("real"), control("shuffled")
    for number in range(len(real)):
        assert np.array_equal(real.read(number), shuffled.read(number))
        assert dataset.class_ids[real.test_images[number]] != dataset.class_ids[shuffled.test_images[number]]


def test_noise_is_noise(control):
    noise = control("noise")
    assert np.unique(noise.read(0)).size > 200 and not np.array_equal(noise.read(0), noise.read(1))


def test_nearest_images_are_those_of_the_nearest_captions(control, dataset, damsm_folder):
    encoders = Damsm.read(damsm_folder)
    train = dataset.indices("train")
    own = [dataset.tokens(image, 2) for image in train]
    assert nearest_training_images(dataset, encoders, dataset.tokens, own).tolist() == train.tolist()
    nearest = control("nearest")
    assert set(nearest.read.indices) <= set(train) and set(nearest.test_images) == set(dataset.indices("test"))


def test_there_are_no_more_adversarial_images_than_said(control, dataset, monkeypatch):
    monkeypatch.setattr(controls, "ADVERSARIAL_IMAGES", 5)
    monkeypatch.setattr(controls, "ADVERSARIAL_STEPS", 1)
    adversarial = control("adversarial")
    assert len(adversarial) == 5 and len(set(adversarial.test_images)) == 5
    assert adversarial.reference.tolist() == dataset.indices("test").tolist()


def test_an_unknown_control_is_refused(control):
    with pytest.raises(UserError, match="control 'blank': is unknown; known are real, "):
        control("blank")


def test_the_adversarial_row_says_how_it_was_made(rows):
    inputs = rows[0]["adversarial"]["inputs"]
    assert (inputs["steps"], inputs["learning_rate"]) == (controls.ADVERSARIAL_STEPS, controls.ADVERSARIAL_LR)
