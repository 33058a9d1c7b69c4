"""Released weights become a run like a trained one; invalid files are refused and never executed."""

import collections
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from dmgan.errors import UserError
from dmgan.models.registry import build_model
from dmgan.options import ArchitectureOptions
from dmgan.sampling.trained_model import load_run
from dmgan.text.damsm import Damsm
from dmgan.training.import_released import ReleasedFiles, infer_architecture
from tests.commands.test_command_line import error_line
from tests.conftest import CPU
from tests.data.made_sources import write_captions_pickle
from tests.golden.recipe import load
from tests.storage.pickled_command import PickledCommand
from tests.training.released_files import EMBEDDING, SMALL, import_files


def file_names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_an_imported_run_holds_the_released_weights_and_their_hashes(imported, released):
    encoders = {"text_encoder.safetensors", "image_encoder.safetensors", "vocabulary.json", "options.json"}
    assert file_names(imported) == {
        "README.md",
        "generator.safetensors",
        "options.json",
        *(f"damsm/{name}" for name in encoders),
    }
    trained = load_run(imported, CPU)
    assert trained.model.architecture == SMALL and trained.max_words == 12
    state = torch.load(released.generator)
    assert all(torch.equal(tensor, state[key]) for key, tensor in trained.model.state_dict().items())
    options = json.loads((imported / "options.json").read_text())
    assert options["imported"] is True and options["seed"] is None
    assert options["imported_from"]["generator"]["file"] == "netG.pth"
    assert all(len(file["sha256"]) == 64 for file in options["imported_from"].values())
    assert "training.epochs" in options["not_known"] and "training.max_words" not in options["not_known"]
    damsm = json.loads((imported / "damsm" / "options.json").read_text())
    assert damsm["imported_from"].keys() == {"text_encoder", "image_encoder", "captions_pickle"}


def test_the_word_mask_is_an_option_of_the_import(released, tmp_path):
    run_folder = import_files(released, tmp_path / "run", word_mask="released", damsm_out=tmp_path / "encoders")
    assert load_run(run_folder, CPU).model.memory.word_mask == "released"
    assert Damsm.read(tmp_path / "encoders").imported and not (run_folder / "damsm").exists()


def test_files_of_old_versions_of_torch_load(released, tmp_path):
    """torch before 1.6 wrote another format, batch norm before 0.4.1 had no counter, DataParallel adds a prefix."""
    state = torch.load(released.generator)
    old = collections.OrderedDict((f"module.{k}", v) for k, v in state.items() if "num_batches" not in k)
    torch.save(old, tmp_path / "netG.pth", _use_new_zipfile_serialization=False)
    run_folder = import_files(released._replace(generator=tmp_path / "netG.pth"), tmp_path / "run")
    assert torch.equal(load_run(run_folder, CPU).model.state_dict()["h_net2.A.weight"], state["h_net2.A.weight"])


@pytest.mark.parametrize("name", ["dmgan_bird", "dmgan_coco", "attngan_bird", "attngan_coco", "attngan_birddcgan"])
def test_the_architecture_is_inferred_from_the_shapes_of_the_released_generators(name):
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


def test_attngan_and_attndcgan_are_distinguished_by_their_weights():
    for name, other in (("attngan", "attngan-dcgan"), ("attngan-dcgan", "attngan")):
        state = build_model(name, SMALL, EMBEDDING).state_dict()
        assert infer_architecture(name, state, Path("netG.pth")) == (SMALL, EMBEDDING)
        with pytest.raises(UserError, match=f"holds a generator of {name}; give --model {name}$"):
            infer_architecture(other, state, Path("netG.pth"))


def wrong_files(released: ReleasedFiles, folder: Path) -> dict[str, tuple[str, object, str]]:
    """Return case -> role of the invalid file, its content or path, and the message."""
    generator, text = torch.load(released.generator), torch.load(released.text_encoder)
    shallow = {k: v for k, v in torch.load(released.image_encoder).items() if not k.startswith("Mixed_7c")}
    attngan = build_model("attngan", SMALL, EMBEDDING).state_dict()
    key = "h_net2.A.weight"
    wide = build_model("dmgan", SMALL, 2 * EMBEDDING).state_dict()
    lacking = {name: value for name, value in generator.items() if name != "h_net3.B.weight"}
    claimed = generator | {key: torch.zeros(1).expand(10**5, 10**5)}
    other = write_captions_pickle(folder / "other.pickle", ["<end>", "a", "boat", "at", "sea"])
    weights = released.generator.read_bytes()
    return {
        "html": ("generator", b"<!DOCTYPE html><html>Google Drive - Virus scan", "is a web page"),
        "empty": ("text_encoder", b"", "is empty"),
        "truncated": ("generator", weights[: len(weights) // 2], "damaged, truncated or not weights"),
        "random": ("image_encoder", os.urandom(999), "damaged, truncated or not weights"),
        "code": ("generator", {"a": PickledCommand(folder / "ran")}, "imports posix.system"),
        "pickle with code": ("text_encoder", pickle.dumps(PickledCommand(folder / "ran"), 2), "imports posix.system"),
        "other model": ("generator", attngan, "holds a generator of attngan; give --model attngan"),
        "other role": ("generator", text, "is not a generator (no valid entry ca_net.fc.weight"),
        "other width": ("generator", wide, "has features of 16 numbers, the generator reads 32"),
        "entry missing": ("generator", lacking, "1 entries missing, 0 unexpected"),
        "not finite": ("generator", generator | {key: generator[key] * torch.nan}, "not finite"),
        "claims more": ("generator", claimed, "has 10,000,000,000 numbers, more than fit into the file"),
        "checkpoint": ("generator", {"epoch": 3, "netG": generator}, "epoch is int, not a tensor"),
        "list": ("generator", [1, 2], "is not a state dict"),
        "no inception": ("image_encoder", shallow, "is not the image encoder that was released"),
        "other captions": ("captions_pickle", other, "has 5 words, the text encoder"),
        "missing": ("generator", folder / "no.pth", "cannot be read"),
    }


@pytest.mark.slow
def test_an_invalid_file_is_one_error_line_and_leaves_no_output(released, tmp_path, capsys):
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


def test_a_folder_with_other_files_is_not_replaced(released, imported, run_folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for folder in (tmp_path, run_folder):
        with pytest.raises(UserError, match="give a new or empty folder"):
            import_files(released, folder)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    copy = tmp_path / "again"
    shutil.copytree(imported, copy)
    assert file_names(import_files(released, copy)) == file_names(imported)


def test_a_failed_import_leaves_no_output(released, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dmgan.training.import_released.save_weights", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        import_files(released, tmp_path / "run", damsm_out=tmp_path / "encoders")
    assert list(tmp_path.iterdir()) == []
