"""Released weights become a run like a trained one; whatever else a file holds is refused and never executed."""

import collections
import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from dmgan.data.vocabulary import Vocabulary, read_vocabulary
from dmgan.errors import UserError
from dmgan.evaluation.evaluate import Judges, evaluate
from dmgan.models.registry import build_model
from dmgan.options import ArchitectureOptions, EvaluationOptions
from dmgan.sampling.generate import generate_from_captions
from dmgan.sampling.sample import sample_test_captions
from dmgan.sampling.trained_model import load_run
from dmgan.storage.plain_pickle import load_plain_pickle
from dmgan.storage.weights import read_state_dict
from dmgan.text.damsm import Damsm
from dmgan.text.encoders import InceptionImageEncoder, TextEncoder
from dmgan.training.import_released import ReleasedFiles, import_released, infer_architecture
from tests.conftest import CPU
from tests.golden_recipe import load
from tests.test_cli import error_line

EMBEDDING = 16
SMALL = ArchitectureOptions(
    base_size=8, stages=3, generator_width=4, noise_dim=6, condition_dim=5, residual_blocks=3
)  # fmt: skip
LEFT_OUT = "white"  # a word of the data set that the released vocabulary lacks


def captions_pickle(path: Path, words: list[str], protocol: int = 2) -> Path:
    """captions.pickle as the released code writes it."""
    ixtoword = dict(enumerate(words))
    content = [[[1, 2], [3]], [[2, 1]], ixtoword, {word: number for number, word in ixtoword.items()}]
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.fixture(scope="module")
def released(dataset, tmp_path_factory) -> ReleasedFiles:
    """Files as an author would have released them: small widths, another order of the words."""
    folder = tmp_path_factory.mktemp("released")
    words = ["<end>", *[w for w in reversed(dataset.vocabulary.words[1:]) if w != LEFT_OUT], "naïve"]
    torch.manual_seed(0)
    networks = {
        "netG": build_model("dmgan", SMALL, EMBEDDING),
        "text_encoder": TextEncoder(len(words), EMBEDDING),
        "image_encoder": InceptionImageEncoder(EMBEDDING),
    }
    for name, network in networks.items():
        torch.save(network.state_dict(), folder / f"{name}.pth")
    captions_pickle(folder / "captions.pickle", words)
    return ReleasedFiles(*(folder / f"{name}.pth" for name in networks), folder / "captions.pickle")


def brought_in(released: ReleasedFiles, out: Path, **wishes) -> Path:
    """The run folder made of released files."""
    wishes = {"model": "dmgan", "damsm_out": None, "word_mask": "corrected", "max_words": 12} | wishes
    import_released(wishes.pop("model"), released, out, **wishes)
    return out


@pytest.fixture(scope="module")
def imported(released, tmp_path_factory) -> Path:
    return brought_in(released, tmp_path_factory.mktemp("imported") / "run")


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# What an import leaves.


def test_an_imported_run_holds_the_released_weights_and_says_where_from(imported, released):
    encoders = {"text_encoder.safetensors", "image_encoder.safetensors", "vocabulary.json", "options.json"}
    assert contents(imported) == {"generator.safetensors", "options.json", *(f"damsm/{name}" for name in encoders)}
    trained = load_run(imported, CPU)
    assert trained.model.architecture == SMALL and trained.max_words == 12
    state = torch.load(released.generator)
    assert all(torch.equal(tensor, state[key]) for key, tensor in trained.model.state_dict().items())
    options = json.loads((imported / "options.json").read_text())
    assert options["imported"] is True and options["seed"] is None
    assert options["imported_from"]["generator"]["file"] == "netG.pth"
    assert all(len(each["sha256"]) == 64 for each in options["imported_from"].values())
    assert "training.epochs" in options["not_known"] and "training.max_words" not in options["not_known"]
    damsm = json.loads((imported / "damsm" / "options.json").read_text())
    assert damsm["imported_from"].keys() == {"text_encoder", "image_encoder", "captions_pickle"}


def test_word_mask_is_a_switch_of_the_model(released, tmp_path):
    run_folder = brought_in(released, tmp_path / "run", word_mask="released", damsm_out=tmp_path / "encoders")
    assert load_run(run_folder, CPU).model.memory.word_mask == "released"
    assert Damsm.read(tmp_path / "encoders").imported and not (run_folder / "damsm").exists()


def test_old_files_load(released, tmp_path):
    """Torch before 1.6 wrote another format, before 0.4.1 batch norms had no counter; DataParallel a prefix."""
    state = torch.load(released.generator)
    old = collections.OrderedDict((f"module.{k}", v) for k, v in state.items() if "num_batches" not in k)
    torch.save(old, tmp_path / "netG.pth", _use_new_zipfile_serialization=False)
    run_folder = brought_in(released._replace(generator=tmp_path / "netG.pth"), tmp_path / "run")
    assert torch.equal(load_run(run_folder, CPU).model.state_dict()["h_net2.A.weight"], state["h_net2.A.weight"])


@pytest.mark.parametrize("name", ["dmgan_bird", "dmgan_coco", "attngan_bird", "attngan_coco", "attngan_birddcgan"])
def test_sizes_of_the_released_generators(name):
    golden = load(f"keys_{name}.json")
    gan = golden["cfg"]["GAN"]
    state = {key: torch.empty(shape, device="meta") for key, shape, _ in golden["nets"]["netG"]["entries"]}
    variant = "-dcgan" if gan["B_DCGAN"] else ""
    architecture, embedding_dim = infer_architecture(golden["repo"] + variant, state, Path(name))
    assert architecture == ArchitectureOptions(
        generator_width=gan["GF_DIM"], noise_dim=gan["Z_DIM"], condition_dim=gan["CONDITION_DIM"],
        residual_blocks=gan["R_NUM"],
    )  # fmt: skip
    assert embedding_dim == 256


def test_attngan_and_its_variant_are_told_apart():
    for name, other in (("attngan", "attngan-dcgan"), ("attngan-dcgan", "attngan")):
        state = build_model(name, SMALL, EMBEDDING).state_dict()
        assert infer_architecture(name, state, Path("netG.pth")) == (SMALL, EMBEDDING)
        with pytest.raises(UserError, match=f"holds a generator of {name}; give --model {name}$"):
            infer_architecture(other, state, Path("netG.pth"))


# Sampling and evaluation.


def test_captions_are_read_in_the_released_vocabulary(imported, data, dataset, tmp_path, capsys):
    sample_test_captions(imported, data, tmp_path / "images", 20, 100, 7, False, CPU)
    assert f"left out 1 words that its encoders do not know ({LEFT_OUT})" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "images" / "manifest.json").read_text())
    vocabulary = load_run(imported, CPU).damsm.vocabulary
    for each, tokens in zip(manifest["images"], manifest["tokens"], strict=True):
        whole = dataset.vocabulary.decode(dataset.tokens(each["test_image"], each["caption"]))
        known = [word for word in whole if word != LEFT_OUT]
        said = vocabulary.decode(tokens)
        assert said == known or (len(said) == 12 and set(said) <= set(known))
    assert manifest["imported"] is True and manifest["words_left_out"] == [LEFT_OUT]


def test_a_caption_of_unknown_words_is_named(imported, dataset):
    damsm = load_run(imported, CPU).damsm._replace(vocabulary=Vocabulary(["<end>", "zeppelin"]))
    with pytest.raises(UserError, match=r"caption 1 of .* holds no word that the imported encoders know"):
        damsm.caption_reader(dataset, "")(0, 1)


def test_own_captions(imported, tmp_path):
    generate_from_captions(imported, ["a red bird"], tmp_path / "out", images_per_caption=1, seed=0, device=CPU)
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_judge_of_another_vocabulary_is_refused(imported, data, damsm_folder, classifier_folder, tmp_path):
    sample_test_captions(imported, data, tmp_path / "images", 20, 100, 20, False, CPU)
    judges = Judges(("species",), classifier_folder, tmp_path, damsm_folder)
    with pytest.raises(UserError, match="was sampled from captions in another vocabulary than that of"):
        evaluate(
            images=tmp_path / "images", data=data, judges=judges, reference=None, out=tmp_path / "metrics.json",
            options=EvaluationOptions(), device=CPU,
        )  # fmt: skip


# Files that are not what they should be.


class _Command:
    """A pickle of it runs a shell command when it is read."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def wrong_files(released: ReleasedFiles, folder: Path) -> dict[str, tuple[str, object, str]]:
    """Case -> which file is wrong, what it holds or which file it is, and the message."""
    generator, text = torch.load(released.generator), torch.load(released.text_encoder)
    shallow = {k: v for k, v in torch.load(released.image_encoder).items() if not k.startswith("Mixed_7c")}
    attngan = build_model("attngan", SMALL, EMBEDDING).state_dict()
    key = "h_net2.A.weight"
    wide = build_model("dmgan", SMALL, 2 * EMBEDDING).state_dict()
    lacking = {name: value for name, value in generator.items() if name != "h_net3.B.weight"}
    claimed = generator | {key: torch.zeros(1).expand(10**5, 10**5)}
    other = captions_pickle(folder / "other.pickle", ["<end>", "a", "boat", "at", "sea"])
    weights = released.generator.read_bytes()
    return {
        "html": ("generator", b"<!DOCTYPE html><html>Google Drive - Virus scan", "is a web page"),
        "empty": ("text_encoder", b"", "is empty"),
        "truncated": ("generator", weights[: len(weights) // 2], "damaged, truncated or no weights"),
        "random": ("image_encoder", os.urandom(999), "damaged, truncated or no weights"),
        "code": ("generator", {"a": _Command(folder / "ran")}, "asks for posix.system"),
        "pickle with code": ("text_encoder", pickle.dumps(_Command(folder / "ran"), 2), "asks for posix.system"),
        "other model": ("generator", attngan, "holds a generator of attngan; give --model attngan"),
        "other role": ("generator", text, "holds no generator (no fitting ca_net.fc.weight"),
        "other width": ("generator", wide, "gives features of 16 numbers, the generator reads 32"),
        "entry missing": ("generator", lacking, "1 entries missing, 0 unexpected"),
        "not finite": ("generator", generator | {key: generator[key] * torch.nan}, "not finite"),
        "claims more": ("generator", claimed, "claims 10,000,000,000 numbers, more than the file holds"),
        "checkpoint": ("generator", {"epoch": 3, "netG": generator}, "epoch is int, not a tensor"),
        "list": ("generator", [1, 2], "holds no state dict"),
        "no inception": ("image_encoder", shallow, "not of the kind"),
        "other captions": ("captions_pickle", other, "has 5 words, the text encoder"),
        "missing": ("generator", folder / "no.pth", "cannot be read"),
    }


def test_wrong_files_are_one_clear_line_and_leave_nothing(released, tmp_path, capsys):
    for case, (role, content, message) in wrong_files(released, tmp_path).items():
        path = content if isinstance(content, Path) else tmp_path / "wrong.pth"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif path is not content:
            torch.save(content, path)
        given = released._replace(**{role: path})._asdict()
        flags = [word for name, file in given.items() for word in (f"--{name.replace('_', '-')}", file)]
        line = error_line(capsys, "import", "--model", "dmgan", *flags, "--out", tmp_path / "out" / "run")
        assert message in line, case
        assert not (tmp_path / "out").exists() and not (tmp_path / "ran").exists(), case


def test_a_folder_of_something_else_is_not_replaced(released, imported, run_folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for folder in (tmp_path, run_folder):
        with pytest.raises(UserError, match="give a new or empty folder"):
            brought_in(released, folder)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    copy = tmp_path / "again"
    shutil.copytree(imported, copy)
    assert contents(brought_in(released, copy)) == contents(imported)


def test_a_failed_import_leaves_nothing(released, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dmgan.training.import_released.save_weights", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        brought_in(released, tmp_path / "run", damsm_out=tmp_path / "encoders")
    assert list(tmp_path.iterdir()) == []


def test_state_dict_of_python_2_names(tmp_path):
    """Python 2 pickled names as byte strings."""
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "x.pth").read_bytes()
    assert data.count(b"X\x01\x00\x00\x00a") == 1
    (tmp_path / "x.pth").write_bytes(data.replace(b"X\x01\x00\x00\x00a", b"U\x01a"))
    assert torch.equal(read_state_dict(tmp_path / "x.pth")["a"], torch.ones(2))


# Pickles.

PLAIN = [[[1, 300, 70000]], [[]], {0: "<end>", 1: "naïve"}, {"<end>": 0, "naïve": 1}, (1.5, -(2**40), None, True)]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_are_read(protocol, tmp_path):
    (tmp_path / "plain").write_bytes(pickle.dumps(PLAIN, protocol))
    assert load_plain_pickle(tmp_path / "plain") == PLAIN


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02]q\x00(U\x05<end>q\x01T\x05\x00\x00\x00na\xefveq\x02e.",
        b"(lp0\nS'<end>'\np1\naS'na\\xefve'\np2\na.",
    ],
)
def test_byte_strings_of_python_2_become_text(data, tmp_path):
    (tmp_path / "old").write_bytes(data)
    assert load_plain_pickle(tmp_path / "old") == ["<end>", "naïve"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps(_Command(Path("/tmp/never")), 0), "GLOBAL at byte 0 is no plain data"),
        (pickle.dumps(_Command(Path("/tmp/never")), 4), "STACK_GLOBAL at byte .* is no plain data"),
        (pickle.dumps([np.array(["a", None], dtype=object)], 2), "GLOBAL at byte .* is no plain data"),
        (pickle.dumps(collections.OrderedDict(a=1), 2), "GLOBAL at byte .* is no plain data"),
        (pickle.dumps({1, 2}, 4), "EMPTY_SET at byte .* is no plain data"),
        (b"ios\nsystem\n.", "the opcode INST at byte 0"),
        (b"Pabc\n.", "the opcode PERSID at byte 0"),
        (b"\x82\x01.", "the opcode EXT1 at byte 0"),
        (b"\x80\x04" + b"]" * 100 + b"a" * 99 + b".", "nest deeper than 32"),
        (b"\x80\x04" + b"(" * 1000 + b"l" * 1000 + b".", "nest deeper than 32"),
        (b"\x80\x04]q\x00" + b"h\x00a" * 50 + b".", "nest deeper than 32"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 10 * 2**30) + b"abc.", "claims 10,737,418,240 bytes where 4 are left"),
        (b"\x80\x02T" + struct.pack("<I", 2**31) + b"abc.", "claims 2,147,483,648 bytes"),
        (b"\x8b" + struct.pack("<i", 2**30) + b".", "LONG4 at byte 0 is no plain data"),
        (b"L" + b"9" * 10**6 + b"L\n.", "more than 20 digits"),
        (b"Nr\xff\xff\xff\x7f", "it is truncated"),
        (pickle.dumps(PLAIN, 2)[:-7], "it is truncated|is damaged"),
        (b"", "it is truncated"),
        (b"N" * 9 + b".", "more than one object"),
        (b"a.", "the opcode APPEND at byte 0 is damaged"),
        (b"](s.", "is damaged"),
        (b"}](N" + b"u.", "is damaged"),
        (b"\x80\x02h\x05.", "BINGET at byte 2 is damaged"),
        (b"<html>", "byte 0x3c at byte 0 is no plain data"),
    ],
    ids=range(24),
)
def test_other_pickles_are_refused(data, message, tmp_path):
    (tmp_path / "x.pickle").write_bytes(data)
    with pytest.raises(UserError, match=message) as refused:
        load_plain_pickle(tmp_path / "x.pickle")
    assert "\n" not in str(refused.value) and "nothing of it was executed" in str(refused.value)


def test_pickles_have_a_size_limit(tmp_path, monkeypatch):
    (tmp_path / "x.pickle").write_bytes(pickle.dumps(PLAIN, 2))
    monkeypatch.setattr("dmgan.storage.plain_pickle.MAX_BYTES", 10)
    with pytest.raises(UserError, match="more than 10"):
        load_plain_pickle(tmp_path / "x.pickle")
    monkeypatch.undo()
    monkeypatch.setattr("dmgan.storage.plain_pickle._MAX_OBJECTS", 3)
    with pytest.raises(UserError, match="more than 3"):
        load_plain_pickle(tmp_path / "x.pickle")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c[:3], "is not .training captions"),
        (lambda c: c[0], "is not .training captions"),
        (lambda c: [*c[:2], {1: "a"}, {"a": 1}], "without a gap"),
        (lambda c: [*c[:2], {0: "<end>", 1: 7}, {"<end>": 0, 7: 1}], "does not number words"),
        (lambda c: [*c[:3], {"<end>": 0, "red": 2, "bird": 1}], "is not the inverse"),
        (lambda c: [*c[:2], {0: "red"}, {"red": 0}], "its word 0 is 'red'"),
        (lambda c: [[[1, 9]], *c[1:]], "no list of its tokens"),
        (lambda c: [["a red bird"], *c[1:]], "no list of its tokens"),
    ],
)
def test_other_captions_are_refused(spoil, message, tmp_path):
    path = captions_pickle(tmp_path / "captions.pickle", ["<end>", "red", "bird", "naïve"])
    assert read_vocabulary(path).words == ("<end>", "red", "bird", "naïve")
    path.write_bytes(pickle.dumps(spoil(pickle.loads(path.read_bytes())), 2))
    with pytest.raises(UserError, match=message):
        read_vocabulary(path)
