"""Retrieval: each method against a naive loop, ties, the bank of a data set, and what sampling says of it."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dmgan.data.batches import centre_crop
from dmgan.errors import UserError
from dmgan.evaluation.evaluate import evaluate
from dmgan.evaluation.image_sets import sampled_images
from dmgan.evaluation.memorisation import difference_hash, duplicates, memorisation, refuse_test_images
from dmgan.evaluation.networks.loaded import NetworkFiles
from dmgan.models.retrieval import (
    MemoryBank,
    best_entries,
    first_best,
    search,
    sentence_to_regions,
    sentence_to_sentences,
    standardised,
    words_to_regions,
)
from dmgan.models.vgg import small
from dmgan.options import RETRIEVALS, SEARCHES, EvaluationOptions, MatchingOptions, SamplingOptions, TrainingSettings
from dmgan.report.tables.retrieval import write_retrieval
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.sampling.trained_model import load_run, retrieve
from dmgan.text.damsm import Damsm, EncodedCaptions
from dmgan.training.train import TrainingInputs, train
from tests.conftest import ARCHITECTURE, CPU, TRAINING
from tests.storage.full_disk import check_full_disk

E, N, CAPTIONS, U, REGIONS = 6, 9, 2, 3, 4
GAMMAS = MatchingOptions()


@pytest.fixture
def keys():
    """Keys of N entries; float32 throughout, so that naive loops can be met closely."""
    random = torch.Generator().manual_seed(0)

    def unit(*shape):
        return torch.nn.functional.normalize(torch.randn(*shape, generator=random), dim=-1)

    return SimpleNamespace(
        caption_rows=torch.arange(N * CAPTIONS).view(N, CAPTIONS).flip(0),
        sentences=unit(N * CAPTIONS, E),
        words=unit(N * CAPTIONS, U, E),
        embeddings=unit(N, E),
        regions=torch.randn(N, REGIONS, E, generator=random),
    )


@pytest.fixture
def captions() -> EncodedCaptions:
    random = torch.Generator().manual_seed(1)
    lengths = torch.tensor([4, 2, 3])
    mask = torch.arange(4)[None, :] >= lengths[:, None]
    words = torch.randn(3, E, 4, generator=random) * ~mask[:, None, :]
    return EncodedCaptions(torch.randn(3, E, generator=random), words, mask, lengths)


def cosine(a, b) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def naive(method: str, captions: EncodedCaptions, keys, query: int) -> list[float]:
    """Scores of every entry, letter by letter."""
    e = captions.sentence[query]
    words = [captions.words[query, :, t] for t in range(int(captions.lengths[query]))]
    scores = []
    for n in range(N):
        rows = [int(row) for row in keys.caption_rows[n]]
        if method == "S-S":
            scores.append(max(cosine(e, keys.sentences[row]) for row in rows))
        elif method == "S-I":
            scores.append(cosine(e, keys.embeddings[n]))
        elif method == "S-R":
            weights = [math.exp(GAMMAS.gamma1 * cosine(e, v)) for v in keys.regions[n]]
            scores.append(cosine(e, sum(a / sum(weights) * v for a, v in zip(weights, keys.regions[n], strict=True))))
        elif method == "W-W":
            of = [sum(max(cosine(w, u) for u in keys.words[row]) for w in words) / len(words) for row in rows]
            scores.append(max(of))
        else:
            total = 0.0
            s = [[float(w @ v) for v in keys.regions[n]] for w in words]
            for t, w in enumerate(words):
                over_words = [math.exp(s[t][r]) / sum(math.exp(each[r]) for each in s) for r in range(REGIONS)]
                weights = [math.exp(GAMMAS.gamma1 * each) for each in over_words]
                context = sum(weight / sum(weights) * v for weight, v in zip(weights, keys.regions[n], strict=True))
                total += math.exp(GAMMAS.gamma2 * cosine(w, context))
            scores.append(math.log(total) / GAMMAS.gamma2)
    return scores


def z(scores: list[float]) -> np.ndarray:
    return (np.array(scores) - np.mean(scores)) / np.std(scores)


@pytest.mark.parametrize("method", SEARCHES)
def test_each_method_finds_what_a_naive_loop_finds(method, captions, keys):
    parts = {"S-SI": ("S-S", "S-I"), "W-WI": ("W-W", "W-I")}.get(method, (method,))
    wanted = [int(np.argmax(sum(z(naive(part, captions, keys, query)) for part in parts))) for query in range(3)]
    assert search(method, captions, keys, GAMMAS).tolist() == wanted


def test_the_methods_differ(captions, keys):
    assert len({tuple(search(method, captions, keys, GAMMAS).tolist()) for method in SEARCHES}) > 3


@pytest.mark.parametrize("method", ["W-W", "S-R"])
def test_some_methods_choose_among_the_best_of_the_sentences(method, captions, keys, monkeypatch):
    monkeypatch.setattr("dmgan.models.retrieval.RERANKED", 2)
    for query, found in enumerate(search(method, captions, keys, GAMMAS).tolist()):
        by_sentence = np.argsort(naive("S-S", captions, keys, query))[-2:]
        scores = naive(method, captions, keys, query)
        assert found == max(by_sentence, key=lambda entry: scores[entry])


@pytest.mark.parametrize("method", SEARCHES)
def test_parts_blocks_and_threads_change_nothing(method, captions, keys, monkeypatch):
    found = search(method, captions, keys, GAMMAS).tolist()
    monkeypatch.setattr("dmgan.models.retrieval._BLOCK", {"cpu": 4})  # the last of three blocks is of one entry
    monkeypatch.setattr("dmgan.models.retrieval._QUERIES", 2)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):  # parts of two, of two and of one
            torch.set_num_threads(threads)
            assert search(method, captions, keys, GAMMAS).tolist() == found
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_blocks_score_every_entry(captions, keys, monkeypatch):
    monkeypatch.setattr("dmgan.models.retrieval._BLOCK", {"cpu": 4})
    e = torch.nn.functional.normalize(captions.sentence, dim=1)
    scores = sentence_to_sentences(e, keys.sentences, keys.caption_rows)
    wanted = torch.tensor([naive("S-S", captions, keys, query) for query in range(3)])
    torch.testing.assert_close(scores, wanted, rtol=0, atol=1e-6)


def test_words_to_regions_are_the_naive_scores(captions, keys):
    for query in range(3):
        words = captions.words[query, :, : int(captions.lengths[query])].t()
        wanted = torch.tensor(naive("W-I", captions, keys, query))
        torch.testing.assert_close(words_to_regions(words, keys.regions, GAMMAS), wanted, rtol=0, atol=1e-5)


def test_sentence_to_regions_is_the_naive_score(captions, keys):
    for query, e in enumerate(torch.nn.functional.normalize(captions.sentence, dim=1)):
        wanted = torch.tensor(naive("S-R", captions, keys, query))
        torch.testing.assert_close(sentence_to_regions(e, keys.regions, GAMMAS), wanted, rtol=0, atol=1e-5)


def test_of_equal_entries_the_first_is_taken():
    scores = torch.tensor([[1.0, 3.0, 2.0, 3.0, 3.0], [2.0, 2.0, 2.0, 2.0 + 1e-8, 1.0]])
    assert first_best(scores).tolist() == [1, 0]
    assert best_entries(scores, 2).tolist() == [[1, 3], [0, 1]]
    assert best_entries(scores, 4).tolist() == [[1, 2, 3, 4], [0, 1, 2, 3]]
    assert best_entries(scores, 99).tolist() == [[0, 1, 2, 3, 4]] * 2


def test_standardised():
    scores = standardised(torch.tensor([[1.0, 2.0, 6.0]]))
    assert float(scores.mean()) == pytest.approx(0, abs=1e-6) and float(scores.std(correction=0)) == pytest.approx(1)


# The bank.


@pytest.fixture(scope="module")
def bank(dataset, damsm_folder) -> MemoryBank:
    return MemoryBank(dataset, Damsm.read(damsm_folder), small(), GAMMAS, max_words=60)


def test_the_bank_holds_training_images_alone(bank, dataset):
    assert set(bank.images) == set(dataset.indices("train")) and not set(bank.images) & set(dataset.indices("test"))
    tokens = [bank.dataset.tokens(image, 0) for image in bank.images]
    for method in SEARCHES:
        assert set(bank.search(method, bank.damsm.encode_captions(tokens))) <= set(bank.images)


def test_a_stored_caption_finds_its_own_image(bank):
    """The first image that has the caption, of several."""
    texts = [bank.dataset.tokens(image, 0).tolist() for image in bank.images]
    first = [
        next(i for i in bank.images for c in range(3) if bank.dataset.tokens(i, c).tolist() == text) for text in texts
    ]
    tokens = [np.array(text, dtype=np.int32) for text in texts]

    found = bank.search("S-S", bank.damsm.encode_captions(tokens))
    assert found.tolist() == first


def test_random_entries_depend_on_the_image_alone(bank):
    assert bank.random(range(20), 3)[4:9].tolist() == bank.random(range(4, 9), 3).tolist()
    assert len(set(bank.random(range(20), 3))) > 5 and set(bank.random(range(50), 3)) <= set(bank.images)


def test_a_cache_changes_nothing(bank, dataset, tmp_path):
    kept = MemoryBank(dataset, bank.damsm, bank.features, GAMMAS, 60, cache=tmp_path)
    captions = bank.damsm.encode_captions([dataset.tokens(image, 0) for image in dataset.indices("test")])
    for _ in range(2):  # made, then read
        for method in SEARCHES:
            assert kept.search(method, captions).tolist() == bank.search(method, captions).tolist()
        some = kept.images[[3, 0, 3]]
        torch.testing.assert_close(kept.values(some), bank.values(some), rtol=0, atol=1e-3)
        assert torch.equal(kept.values(dataset.indices("test")[:2]), bank.values(dataset.indices("test")[:2]))
        kept = MemoryBank(dataset, bank.damsm, bank.features, GAMMAS, 60, cache=tmp_path)
    names = sorted(path.name.split("-")[0] for path in tmp_path.iterdir())
    assert names == ["embeddings", "regions", "sentences", "values", "words"]
    path = next(tmp_path.glob("embeddings-*"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-32])  # as of an earlier version, which wrote no hash
    assert kept.search("S-I", captions).tolist() == bank.search("S-I", captions).tolist()
    for content, reason in ((b"cut", "holds 3 bytes, not"), (b"\0" + whole[1:], "its bytes changed after they were")):
        path.write_bytes(content)
        kept = MemoryBank(dataset, bank.damsm, bank.features, GAMMAS, 60, cache=tmp_path)
        with pytest.raises(UserError, match=f"{reason}.*; delete it"):
            kept.search("S-I", captions)


def test_a_disk_that_is_full_at_any_write_of_the_bank_is_one_line_and_the_next_job_succeeds(bank, dataset, tmp_path):
    folder = tmp_path / "memory"
    few = dataset.with_splits(dataset.indices("train")[:2], dataset.indices("test"), 0)
    captions = bank.damsm.encode_captions([dataset.tokens(dataset.indices("test")[0], 0)])

    def write() -> None:
        MemoryBank(few, bank.damsm, bank.features, GAMMAS, 60, cache=folder).search("S-S", captions)

    assert check_full_disk(folder, write) > 2


# Sampling.


@pytest.fixture(scope="module")
def mdsp_folder(data, damsm_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mdsp") / "seed0"
    train("mdsp", TrainingInputs(data, damsm_folder), folder, TrainingSettings(ARCHITECTURE, TRAINING), 0, CPU)
    return folder


def sampled(run, data, out, method="S-S", **changes) -> tuple[dict, dict[str, np.ndarray]]:
    cache, batch_size = changes.pop("memory_cache", None), changes.pop("batch_size", 7)
    request = SampleRequest(**{"num_images": 20, "retrieval": method} | changes)
    sample_test_captions(run, data, out, request, CPU, SamplingOptions(batch_size=batch_size, workers=0), cache)
    images = {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(out.glob("*.png"))}
    return json.loads((out / "manifest.json").read_text()), images


def test_the_manifest_says_what_each_image_retrieved(mdsp_folder, data, dataset, tmp_path):
    run = load_run(mdsp_folder, CPU)
    for method in ("S-S", "W-WI", "random", "oracle"):
        manifest, images = sampled(mdsp_folder, data, tmp_path / method, method)
        used = manifest["retrieval"]
        assert used["method"] == method and used["feature_network"] == "small" and len(images) == 20
        assert used["entries"] == len(dataset.indices("train")) and used["feature_sha256"] == small().sha256
        tokens = [np.array(each, dtype=np.int32) for each in manifest["tokens"]]
        if method == "oracle":
            assert used["images"] == [each["test_image"] for each in manifest["images"]]
        else:
            assert set(used["images"]) <= set(dataset.indices("train"))
        if method in SEARCHES:
            assert used["images"] == retrieve(run, tokens, method).tolist()
        inputs = sampled_images(tmp_path / method, dataset).inputs
        assert inputs["retrieval"]["method"] == method and "images" not in inputs["retrieval"]
    assert set(RETRIEVALS) >= {"random", "oracle", *SEARCHES}


def test_retrieved_images_are_a_pure_function_of_the_caption(mdsp_folder, data, tmp_path):
    manifest, seven = sampled(mdsp_folder, data, tmp_path / "seven")
    for batch_size in (1, 20):
        other_manifest, other = sampled(mdsp_folder, data, tmp_path / str(batch_size), batch_size=batch_size)
        assert manifest["retrieval"] == other_manifest["retrieval"]
        assert max(np.abs(seven[name] - other[name]).max() for name in seven) <= 1


def test_what_is_retrieved_shows_in_the_image(mdsp_folder, data, tmp_path):
    _, own = sampled(mdsp_folder, data, tmp_path / "own")
    _, other = sampled(mdsp_folder, data, tmp_path / "random", "random")
    assert max(np.abs(own[name] - other[name]).max() for name in own) > 1


def test_a_model_without_memory_refuses_a_method(run_folder, data, tmp_path):
    with pytest.raises(UserError, match="--retrieval W-W: dmgan does not retrieve images"):
        sampled(run_folder, data, tmp_path / "out", "W-W")
    with pytest.raises(UserError, match="--memory-cache .*: dmgan does not retrieve images"):
        sampled(run_folder, data, tmp_path / "out", memory_cache=tmp_path)
    assert not (tmp_path / "out").exists()


# Memorisation, and the table.


def test_difference_hash():
    image = np.zeros((16, 18, 3), dtype=np.uint8)
    assert difference_hash(image) == 0
    image += np.arange(0, 180, 10, dtype=np.uint8)[None, :, None]
    assert difference_hash(image) == 2**64 - 1
    assert difference_hash(image[:, ::-1].copy()) == 0


def test_duplicates_are_found(dataset, monkeypatch):
    before = duplicates(dataset)
    assert before["equal_pixels"] == 0 and before["test_images"] == len(dataset.indices("test"))
    test, trained = int(dataset.indices("test")[0]), int(dataset.indices("train")[3])
    read = dataset.image
    monkeypatch.setattr(dataset, "image", lambda index: read(trained if index == test else index))
    after = duplicates(dataset)
    assert after["equal_pixels"] == 1 and after["equal_hash"] >= 1
    assert after["share_equal_pixels"] == 1 / after["test_images"]


def test_memorisation_and_its_table(mdsp_folder, run_folder, data, dataset, damsm_folder, classifier_folder, tmp_path):
    network_files = NetworkFiles(("species",), classifier_folder, tmp_path, damsm_folder)
    measured = {method: tmp_path / f"{method} measured" / "metrics.json" for method in ("S-S", "random")}
    for method, out in measured.items():
        sampled(mdsp_folder, data, tmp_path / method, method, num_images=40)
        evaluate(
            images=tmp_path / method, data=data, network_files=network_files, reference=tmp_path / "reference", out=out,
            options=EvaluationOptions(neighbours=2), device=CPU,
        )  # fmt: skip
    memorisation(mdsp_folder, tmp_path / "S-S", data, tmp_path / "memorisation.json", 12, CPU)
    content = json.loads((tmp_path / "memorisation.json").read_text())
    assert content["distances"]["images"] == 12 and content["retrieval"]["method"] == "S-S"
    used = json.loads((tmp_path / "S-S" / "manifest.json").read_text())
    real = [
        [centre_crop(dataset, index, 32) / 255.0 for index in (image["test_image"], retrieved)]
        for image, retrieved in zip(used["images"], used["retrieval"]["images"], strict=True)
    ][:12]
    apart = np.mean([np.sqrt(np.square(one - other).mean()) for one, other in real])
    assert content["distances"]["mean"]["pixels"]["real to retrieved"] == pytest.approx(apart, rel=1e-5)
    same = content["diversity"]["mean"]["pixels"]
    assert 0 < same["one caption and retrieved image, other noises"] < same["real test images"]

    write_retrieval([measured["random"], measured["S-S"]], [tmp_path / "memorisation.json"], tmp_path)
    lines = (tmp_path / "retrieval.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith(("| S-S", "| random"))] == [
        "| S-S", "| random (lower bound)",
    ]  # fmt: skip
    assert "output to retrieved" in (tmp_path / "retrieval.csv").read_text()

    with pytest.raises(UserError, match="S-S: distances of images need two images, not 1"):
        memorisation(mdsp_folder, tmp_path / "S-S", data, tmp_path / "no.json", 1, CPU)
    with pytest.raises(UserError, match="does not retrieve images"):
        memorisation(run_folder, tmp_path / "S-S", data, tmp_path / "no.json", 12, CPU)
    with pytest.raises(UserError, match="another file is also of S-S, seed 0"):
        write_retrieval([measured["S-S"]] * 2, [tmp_path / "memorisation.json"], tmp_path)
    assert not (tmp_path / "no.json").exists()


def test_retrieved_test_images_are_refused(dataset, tmp_path):
    test = dataset.indices("test")[:3]
    refuse_test_images(test, "oracle", dataset, tmp_path)
    with pytest.raises(UserError, match="3 of 3 retrieved images are of the test set"):
        refuse_test_images(test, "S-S", dataset, tmp_path)
