"""The page's function: cards and messages, without a browser and without gradio."""

import base64
import io
import re
import time

import numpy as np
import pytest
from PIL import Image

from dmgan.data.batches import centre_crop
from dmgan.errors import UserError
from dmgan.inspection.inspector import Aspects, ComparedWith
from dmgan.inspection.playground import PageRequest, Playground, read_seeds
from dmgan.inspection.runs import find_runs
from dmgan.sampling.generate import images_from_captions
from dmgan.sampling.trained_model import load_run, retrieve
from tests.conftest import CPU

DM_GAN, DF_GAN = "DM-GAN · birds/dmgan/seed0", "DF-GAN · birds/dfgan/seed0"
CAPTION = "this bird has a red crown and <b>quetzal</b> wings"
EVERYTHING = Aspects(attention=True, scores=True, nearest=True)


@pytest.fixture(scope="module")
def playground(results) -> Playground:
    return Playground(find_runs([results]), ComparedWith(), CPU, seconds=300)


def last(playground, caption=CAPTION, labels=(DM_GAN,), seeds="7", aspects=EVERYTHING) -> str:
    return list(playground.answer(PageRequest(caption, labels, seeds, aspects)))[-1]


def images_in(html: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,([^\"]+)", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in found]


def test_a_card_holds_stages_words_scores_and_the_nearest_image(playground, dmgan_run):
    html = last(playground)
    assert html.count('class="dmgan-card"') == 1 and "dmgan-message" not in html
    (wanted,) = images_from_captions(load_run(dmgan_run, CPU), [CAPTION], 1, seed=7)
    shown = images_in(html)
    assert all(np.array_equal(shown[place], stage[0]) for place, stage in enumerate(wanted.stages))
    words = len(wanted.words_used)
    assert len(shown) == 3 + 2 + 2 * words  # stages; output and nearest image; two refinements
    assert html.count("gate 0.") == 2 * words and "rank of 100(training DAMSM)" in html
    assert "<del>quetzal</del>" in html and "<b>quetzal" not in html
    assert "Nearest training image" in html and "species_00" in html


def test_a_card_more_each_time_and_progress_between(playground):
    seen = list(playground.answer(PageRequest(CAPTION, [DM_GAN, DF_GAN], "1 2", Aspects())))
    counts = [each.count('class="dmgan-card"') for each in seen]
    assert counts == sorted(counts) and set(counts) == {0, 1, 2, 3, 4}
    assert f"{DM_GAN}: generating ..." in seen[0] and "generating ..." not in seen[-1]
    assert "Scores" not in seen[-1] and "Refinement" not in seen[-1]


def test_a_model_that_retrieves_shows_the_retrieved_image(mdsp_run, dataset):
    (found,) = find_runs([mdsp_run])
    html = last(Playground([found], ComparedWith(), CPU, seconds=300), labels=[found.label], aspects=Aspects())
    trained = load_run(mdsp_run, CPU)
    (index,) = retrieve(trained, [trained.damsm.vocabulary.encode(CAPTION)])
    assert "Retrieved training image" in html
    assert np.array_equal(images_in(html)[-1], centre_crop(dataset, int(index), dataset.image_size))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"caption": "  "}, "holds no word"),
        ({"caption": "xyzzy"}, "the text encoder knows no word of this caption"),
        ({"caption": "red " * 300}, "has 1200 characters; write at most 1000"),
        ({"labels": ()}, "0 models: choose from 1 to 6"),
        ({"labels": ("other",)}, "other: is not a model of this page"),
        ({"seeds": "one"}, "seeds &#x27;one&#x27;: must be whole numbers"),
        ({"seeds": ""}, "0 seeds: give from 1 to 6"),
    ],
)
def test_bad_input_is_a_message(playground, settings, message):
    html = last(playground, **settings)
    assert 'role="alert"' in html and message in html and "dmgan-card" not in html.replace("dmgan-cards", "")


def test_a_model_that_fails_leaves_the_others(results, tmp_path):
    import shutil

    shutil.copytree(results / "birds" / "dmgan", tmp_path / "birds" / "dmgan")  # without its data set and encoders
    found = [*find_runs([tmp_path]), *find_runs([results / "birds" / "dfgan" / "seed0"])]
    html = last(Playground(found, ComparedWith(), CPU, seconds=300), labels=[run.label for run in found])
    assert html.count('class="dmgan-card"') == 1 and f"{DM_GAN}: " in html and "options.json: cannot be read" in html


def test_a_slow_request_stops(playground, monkeypatch):
    monkeypatch.setattr(playground, "seconds", -1)
    html = last(playground, seeds="1 2")
    assert "with 2 images left; choose fewer models or seeds" in html


def test_images_of_a_model_that_failed_are_not_left(playground, monkeypatch):
    """The first model fails at its second image; after the first image of the second model, time is up."""
    outcomes = iter(["card", UserError("broken"), "slow card"])

    def card(label, request, seed):
        outcome = next(outcomes)
        if isinstance(outcome, UserError):
            raise outcome
        time.sleep(0.5 if outcome == "slow card" else 0)
        return outcome

    monkeypatch.setattr(playground, "_card", card)
    monkeypatch.setattr(playground, "seconds", 0.4)
    html = last(playground, labels=(DM_GAN, DF_GAN), seeds="1 2", aspects=Aspects())
    assert "broken" in html and "with 1 images left" in html


def test_unknown_words_are_named_while_typing(playground):
    assert playground.unknown_words("a red bird", [DM_GAN, DF_GAN]) == ""
    assert "Unknown words, left out: b, quetzal." in playground.unknown_words("<b>quetzal", [DM_GAN])


def test_a_run_without_its_text_encoder_is_a_message_while_typing(tmp_path):
    (tmp_path / "generator.safetensors").touch()
    (tmp_path / "options.json").write_text('{"model": "dmgan"}')
    (found,) = find_runs([tmp_path])
    html = Playground([found], ComparedWith(), CPU, seconds=300).unknown_words("a red bird", [found.label])
    assert 'role="alert"' in html and "options.json: is damaged (no entry damsm_folder); train it again" in html


def test_examples_are_test_captions(playground, dataset):
    captions = {dataset.caption(int(each), 0) for each in dataset.indices("test")}
    assert len(playground.example_captions(4)) == 4 and set(playground.example_captions(4)) <= captions


def test_seeds():
    assert read_seeds("7, 8 7") == [7, 8]
    for text in ("-1", "2147483648", "1.5", "²", 5000 * "9", "1 2 3 4 5 6 7"):
        with pytest.raises(UserError, match="seeds"):
            read_seeds(text)
