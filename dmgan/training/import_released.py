"""Import of released weights: write the run folder and the encoders as training would write them."""

import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dmgan.data.vocabulary import Vocabulary, read_vocabulary
from dmgan.errors import UserError
from dmgan.models.registry import build_model
from dmgan.options import ArchitectureOptions, DamsmOptions, TrainingOptions
from dmgan.runtime.cost import Cost
from dmgan.runtime.progress import log
from dmgan.runtime.provenance import provenance
from dmgan.storage import files
from dmgan.storage.reading import read_object
from dmgan.storage.seals import write_sealed_json
from dmgan.storage.weights import load_state, read_state_dict, save_weights
from dmgan.text.damsm import HASHED, IMAGE_ENCODER, TEXT_ENCODER, VOCABULARY
from dmgan.text.encoders import WORD_EMBEDDING_DIM, TextEncoder, build_image_encoder
from dmgan.training.mlflow_run import RUN_FILE
from dmgan.training.model_card import CARD, write_model_card
from dmgan.training.run_folder import HISTORY, OPTIONS, WEIGHTS

_MARKERS = {  # entries of the state dict that identify a model
    "dmgan": {"h_net2.A.weight"},
    "attngan": {"h_net2.att.conv_context.weight", "img_net1.img.0.weight"},
    "attngan-dcgan": {"h_net2.att.conv_context.weight", "img_net.img.0.weight"},
}
_COUNTER = "num_batches_tracked"  # missing in batch norms of torch before 0.4.1
_INCEPTION_SIZE = 299
_FILES = "|".join(map(re.escape, (WEIGHTS, *HASHED, HISTORY, OPTIONS, CARD, RUN_FILE)))
_IMPORTED = files.OwnFiles("import", ("options.json",), rf"(.*/)?({_FILES})")
_KNOWN = {"generator": ("max_words",), "encoders": ("image_encoder", "image_size", "embedding_dim")}


class ReleasedFiles(NamedTuple):
    """The released files of one model."""

    generator: Path  # netG_epoch_*.pth
    text_encoder: Path  # text_encoder*.pth
    image_encoder: Path  # image_encoder*.pth
    captions_pickle: Path  # captions.pickle


def import_released(
    model: str, released: ReleasedFiles, out: Path, damsm_out: Path | None, word_mask: str, max_words: int
) -> None:
    """Write the run folder `out` and the encoders (`damsm_out`, else a sub-folder of `out`) atomically.

    Sizes are inferred from the shapes, then every entry is loaded strictly under its released name. UserError if a file
    is damaged, of another kind, or does not match the other files. No code in a file is executed.
    """
    cost = Cost()
    if max_words < 1:
        raise UserError(f"--max-words {max_words}: must be 1 or more")
    out = Path(out)
    damsm_out = out / "damsm" if damsm_out is None else Path(damsm_out)
    for folder in (out, damsm_out):
        files.refuse_overwrite(folder, _IMPORTED)
        _refuse_training(folder)

    state = read_state_dict(released.generator)
    architecture, embedding_dim = infer_architecture(model, state, released.generator)
    text_encoder = _text_encoder(released.text_encoder, embedding_dim)
    image_encoder = _image_encoder(released.image_encoder, embedding_dim)
    vocabulary = read_vocabulary(released.captions_pickle)
    rows = text_encoder.encoder.num_embeddings
    if len(vocabulary) != rows:
        raise UserError(
            f"{released.captions_pickle}: has {len(vocabulary)} words, the text encoder {released.text_encoder} has "
            f"{rows}; give the captions.pickle that was released with the text encoder"
        )
    generator = _filled(build_model(model, architecture, embedding_dim, word_mask=word_mask), state, released.generator)

    origin = {
        role: {"file": Path(path).name, "sha256": files.file_sha256(path)} for role, path in released._asdict().items()
    }
    with ExitStack() as stack:
        run = stack.enter_context(files.atomic_folder(out, _IMPORTED))
        inside = damsm_out.resolve().is_relative_to(out.resolve())
        if inside:
            damsm = run / damsm_out.resolve().relative_to(out.resolve())
            damsm.mkdir(parents=True)
        else:
            damsm = stack.enter_context(files.atomic_folder(damsm_out, _IMPORTED))
        damsm_sha256 = _write_encoders(damsm, text_encoder, image_encoder, vocabulary, embedding_dim, origin, cost)
        save_weights(generator, run / WEIGHTS)
        written = {
            "model": model,
            "variant": {"word_mask": word_mask},
            "architecture": asdict(architecture),
            "training": asdict(TrainingOptions(max_words=max_words)),
            "not_known": ["architecture.discriminator_width", *_not_known(TrainingOptions, "generator", "training.")],
            "seed": None,
            "inputs": {"data": None, "damsm": damsm_sha256},
            "imported": True,
            "imported_from": origin,
        }
        folders = {"damsm_folder": os.path.relpath(damsm_out, out)}
        fingerprint = {"config_sha256": files.json_sha256(written)}
        content = {**written, **folders, **fingerprint, "provenance": provenance(cost.measured())}
        write_sealed_json(run / OPTIONS, content, [WEIGHTS])
    write_model_card(out)
    log(
        f"{out}: {model}, {architecture.stages} stages to {architecture.image_size} px, width "
        f"{architecture.generator_width}, {len(vocabulary)} words; encoders in {damsm_out}"
    )


def _refuse_training(folder: Path) -> None:
    """Raise UserError if the folder holds a training run, whose files have the same names as imported files."""
    options = folder / "options.json"
    if not options.exists():
        return
    if read_object(options, "give a new or empty folder", {}, check=False).get("imported") is not True:
        raise UserError(f"{folder}: holds a training run; give a new or empty folder")


def _not_known(kind: type, role: str, prefix: str) -> list[str]:
    """Return the names of the options that released files do not contain; their values are this project's defaults."""
    return [prefix + field.name for field in fields(kind) if field.name not in _KNOWN[role]]


def _write_encoders(
    folder: Path,
    text_encoder: TextEncoder,
    image_encoder: nn.Module,
    vocabulary: Vocabulary,
    embedding_dim: int,
    origin: dict[str, dict[str, str]],
    cost: Cost,
) -> dict[str, str]:
    """Write the same files as DAMSM pretraining, and return their hashes."""
    save_weights(text_encoder, folder / TEXT_ENCODER)
    save_weights(image_encoder, folder / IMAGE_ENCODER)
    vocabulary.write(folder / VOCABULARY)
    options = DamsmOptions(
        image_encoder="inception", image_size=_INCEPTION_SIZE, embedding_dim=embedding_dim, validation_images=0
    )
    content = {
        "options": asdict(options),
        "not_known": _not_known(DamsmOptions, "encoders", "options."),
        "gammas": None,
        "seed": None,
        "inputs": {"data": None},
        "imported": True,
        "imported_from": {role: each for role, each in origin.items() if role != "generator"},
        "provenance": provenance(cost.measured()),
    }
    write_sealed_json(folder / OPTIONS, content, HASHED)
    return {name: files.file_sha256(folder / name) for name in HASHED}


# State dicts.


def infer_architecture(model: str, state: Mapping[str, Tensor], path: Path) -> tuple[ArchitectureOptions, int]:
    """Return a generator's sizes and embedding dimension, inferred from the shapes of its state dict."""
    for name, markers in _MARKERS.items():
        if markers <= state.keys() and name != model:
            raise UserError(f"{path}: holds a generator of {name}; give --model {name}")
    condition, embedding_dim = _shape(state, "ca_net.fc.weight", 2, path, "generator")
    first, inputs = _shape(state, "h_net1.fc.0.weight", 2, path, "generator")
    doublings = _count(state, "h_net1.upsample{}.1.weight", 1)
    try:
        architecture = ArchitectureOptions(
            base_size=4 << doublings,
            stages=1 + _count(state, "h_net{}.upsample.1.weight", 2),
            generator_width=(first // 32) >> doublings,
            noise_dim=inputs - condition // 4,
            condition_dim=condition // 4,
            residual_blocks=_count(state, "h_net2.residual.{}.block.0.weight", 0),
        )
    except UserError as error:
        raise UserError(f"{path}: is not a generator of {model} ({error})") from error
    return architecture, embedding_dim


def _shape(state: Mapping[str, Tensor], key: str, dimensions: int, path: Path, role: str) -> torch.Size:
    if key not in state or state[key].dim() != dimensions:
        raise UserError(
            f"{path}: is not a {role} (no valid entry {key}, first entry {next(iter(state))}); give the released file"
        )
    return state[key].shape


def _count(state: Mapping[str, Tensor], pattern: str, first: int) -> int:
    """Count the consecutive entries pattern.format(first), pattern.format(first + 1), ... of the state dict."""
    number = first
    while pattern.format(number) in state:
        number += 1
    return number - first


def _filled(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> nn.Module:
    """Load a released file into the network, every entry under its own name."""
    counters = {key: value for key, value in network.state_dict().items() if key.endswith(_COUNTER)}
    load_state(network, {**counters, **state}, str(path), "give the released file of this model")
    return network


def _text_encoder(path: Path, embedding_dim: int) -> TextEncoder:
    state = read_state_dict(path)
    rows, word_dim = _shape(state, "encoder.weight", 2, path, "text encoder")
    own = 2 * _shape(state, "rnn.weight_hh_l0", 2, path, "text encoder")[1]
    _check_dims(path, "text encoder", word_dim == WORD_EMBEDDING_DIM, own, embedding_dim)
    return _filled(TextEncoder(rows, own), state, path)


def _image_encoder(path: Path, embedding_dim: int) -> nn.Module:
    state = read_state_dict(path)
    own = _shape(state, "emb_features.weight", 4, path, "image encoder")[0]
    _check_dims(path, "image encoder", "Mixed_7c.branch1x1.conv.weight" in state, own, embedding_dim)
    return _filled(build_image_encoder("inception", own, width=1), state, path)


def _check_dims(path: Path, role: str, released_kind: bool, own: int, embedding_dim: int) -> None:
    if not released_kind:
        raise UserError(f"{path}: is not the {role} that was released with AttnGAN or DM-GAN; give the released file")
    if own != embedding_dim:
        raise UserError(
            f"{path}: has features of {own} numbers, the generator reads {embedding_dim}; "
            f"give the {role} that the generator was trained with"
        )
