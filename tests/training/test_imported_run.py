"""An imported run samples and is evaluated in the vocabulary of its own encoders."""

import json

import pytest

from dmgan.data.vocabulary import Vocabulary
from dmgan.errors import UserError
from dmgan.evaluation.evaluate import evaluate
from dmgan.evaluation.networks.loaded import NetworkFiles
from dmgan.inspection.generated_folder import GenerateRequest, generate_from_captions
from dmgan.options import EvaluationOptions
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.sampling.trained_model import load_run
from tests.conftest import CPU
from tests.training.released_files import LEFT_OUT


def test_captions_are_encoded_in_the_released_vocabulary(imported, data, dataset, tmp_path, capsys):
    sample_test_captions(imported, data, tmp_path / "images", SampleRequest(20), CPU)
    assert f"left out 1 words that the run's encoders do not know ({LEFT_OUT})" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "images" / "manifest.json").read_text())
    vocabulary = load_run(imported, CPU).damsm.vocabulary
    for image, tokens in zip(manifest["images"], manifest["tokens"], strict=True):
        whole = dataset.vocabulary.decode(dataset.tokens(image["test_image"], image["caption"]))
        known = [word for word in whole if word != LEFT_OUT]
        encoded = vocabulary.decode(tokens)
        assert encoded == known or (len(encoded) == 12 and set(encoded) <= set(known))
    assert manifest["imported"] is True and manifest["words_left_out"] == [LEFT_OUT]
    known = manifest["hyperparameters"]  # the released files hold sizes, but not how they were trained
    assert {"generator_width", "max_words"} <= known.keys()
    assert not {"discriminator_width", "epochs", "precision", "gamma1"} & known.keys()


def test_a_caption_of_unknown_words_is_refused(imported, dataset):
    damsm = load_run(imported, CPU).damsm._replace(vocabulary=Vocabulary(["<end>", "zeppelin"]))
    with pytest.raises(UserError, match=r"caption 1 of .* holds no word that the encoders know"):
        damsm.caption_reader(dataset, "")(0, 1)


def test_an_imported_run_generates_from_the_user_s_captions(imported, tmp_path):
    generate_from_captions(imported, GenerateRequest(["a red bird"], seed=0), tmp_path / "out", CPU)
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_scoring_by_a_damsm_of_another_vocabulary_is_refused(imported, data, damsm_folder, classifier_folder, tmp_path):
    sample_test_captions(imported, data, tmp_path / "images", SampleRequest(20), CPU)
    network_files = NetworkFiles(("species",), classifier_folder, tmp_path, damsm_folder)
    with pytest.raises(UserError, match="was sampled from captions in another vocabulary than that of"):
        evaluate(
            images=tmp_path / "images", data=data, network_files=network_files, reference=None,
            out=tmp_path / "metrics.json", options=EvaluationOptions(), device=CPU,
        )  # fmt: skip
