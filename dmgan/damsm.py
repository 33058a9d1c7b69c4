"""DAMSM pretraining (AttnGAN, section 3.2), and the pair of encoders it leaves."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dmgan.checkpoints import Checkpoint, Fingerprints, describe_batch, exclusive, run_steps
from dmgan.data.batches import TrainingBatches
from dmgan.data.dataset import PreparedDataset
from dmgan.data.prefetch import PrefetchedBatches
from dmgan.data.vocabulary import Vocabulary, pad_captions
from dmgan.encoders import ImageEncoder, TextEncoder, build_image_encoder, padding_mask
from dmgan.errors import UserError
from dmgan.losses import MatchingLosses, matching_losses
from dmgan.options import DamsmOptions, MatchingOptions, from_dict
from dmgan.runtime.device import disable_tf32, set_deterministic, to_device
from dmgan.runtime.provenance import provenance
from dmgan.storage import files
from dmgan.storage.weights import load_weights, read_state_dict, save_weights
from dmgan.tracking import LabBook

ROW_EVERY = 20  # steps per row of history.csv
FILES = ("text_encoder.safetensors", "image_encoder.safetensors", "vocabulary.json", "history.csv", "options.json")


class EncodedCaptions(NamedTuple):
    """What a generator is told of B captions."""

    sentence: Tensor  # (B, E)
    words: Tensor  # (B, E, T)
    mask: Tensor  # (B, T) true at padding
    lengths: Tensor  # (B,)
    tokens: Tensor | None = None  # (B, T) ids of the words, where they were encoded from ids


class Damsm(NamedTuple):
    """A pretrained, frozen pair of encoders and the vocabulary that belongs to them."""

    text_encoder: TextEncoder
    image_encoder: ImageEncoder
    vocabulary: Vocabulary
    options: DamsmOptions
    sha256: dict[str, str]
    imported: bool = False  # released weights, with the vocabulary that they were trained with

    @classmethod
    def read(cls, folder: Path) -> "Damsm":
        """Read the folder that `pretrain` wrote; the encoders are in evaluation mode and frozen."""
        folder = Path(folder)
        hint = "pretrain the encoders: python -m dmgan pretrain --data FOLDER --out " + str(folder)
        written = files.read_json(folder / "options.json", hint)
        options = from_dict(DamsmOptions, written["options"], str(folder / "options.json"))
        vocabulary = Vocabulary.read(folder / "vocabulary.json")
        text_encoder = TextEncoder(len(vocabulary), options.embedding_dim, options.dropout)
        image_encoder = build_image_encoder(options.image_encoder, options.embedding_dim, options.width)
        load_weights(text_encoder, folder / FILES[0], hint)
        load_weights(image_encoder, folder / FILES[1], hint)
        for encoder in (text_encoder, image_encoder):
            encoder.eval().requires_grad_(False)
        sha256 = {name: files.file_sha256(folder / name) for name in FILES[:3]}
        return cls(text_encoder, image_encoder, vocabulary, options, sha256, written.get("imported", False))

    @classmethod
    def read_for(cls, dataset: PreparedDataset, folder: Path) -> "Damsm":
        """Read it for training on `dataset`; UserError where it was pretrained with another vocabulary."""
        damsm = cls.read(folder)
        if damsm.vocabulary != dataset.vocabulary:
            raise UserError(
                f"{folder}: its vocabulary is not that of {dataset.folder}; pretrain the encoders on this data set"
            )
        return damsm

    def to(self, device: torch.device) -> "Damsm":
        """Move both encoders."""
        self.text_encoder.to(device)
        self.image_encoder.to(device)
        return self

    def caption_reader(self, dataset: PreparedDataset, refusal: str) -> Callable[[int, int], np.ndarray]:
        """How these encoders read a data set: (image, caption) -> token ids (length,) int32 of their own vocabulary.

        Released encoders number the words as their own data set did: captions are encoded anew, words that they do
        not know are left out, a caption of which nothing stays is a UserError naming it. Encoders of this project
        belong to one data set: with another one it is a UserError saying `refusal`.
        """
        if self.vocabulary == dataset.vocabulary:
            return dataset.tokens
        if not self.imported:
            raise UserError(refusal)

        def read(image: int, caption: int) -> np.ndarray:
            text = dataset.caption(image, caption)
            tokens = self.vocabulary.encode(text)
            if not len(tokens):
                raise UserError(
                    f"{dataset.folder}: caption {caption} of {dataset.name(image)} ({text!r}) holds no word that the "
                    "imported encoders know; give the data set that they were trained on"
                )
            return tokens

        return read

    @torch.no_grad()
    def encode(self, tokens: Tensor, lengths: Tensor) -> EncodedCaptions:
        """Features of captions, tokens (B, T') padded with 0 and lengths (B,)."""
        device = self.text_encoder.encoder.weight.device
        tokens, mask = to_device(tokens, device), to_device(padding_mask(lengths), device)
        words, sentence = self.text_encoder(tokens, lengths)
        return EncodedCaptions(sentence, words, mask, lengths, tokens[:, : mask.shape[1]])

    def encode_captions(self, captions: list[np.ndarray]) -> EncodedCaptions:
        """Features of captions given as token arrays."""
        tokens, lengths = pad_captions(captions)
        return self.encode(torch.from_numpy(tokens), torch.from_numpy(lengths))


class Pretrainer:
    """Both encoders, their optimiser, and the step that moves them.

    Recipe of the released code: the loss is the unweighted sum of the four cross entropies; a class's
    other images do not compete; the text encoder's gradient is clipped, the image encoder's is not; an
    Inception trunk stays frozen but normalises with batch statistics.
    """

    def __init__(
        self,
        text_encoder: TextEncoder,
        image_encoder: ImageEncoder,
        options: DamsmOptions,
        gammas: MatchingOptions,
        device: torch.device,
    ):
        self.options, self.gammas, self.device = options, gammas, device
        disable_tf32()
        self.text_encoder = text_encoder.to(device).train()
        self.image_encoder = image_encoder.to(device).train()
        groups = [{"params": image_encoder.trained_parameters()}, {"params": list(text_encoder.parameters())}]
        self.adam = torch.optim.Adam(groups, lr=options.lr, betas=(0.5, 0.999))

    def stateful(self) -> dict[str, object]:
        """Everything a step changes, by name."""
        return {"text_encoder": self.text_encoder, "image_encoder": self.image_encoder, "adam": self.adam}

    def schedule(self, epoch: int, position: int) -> None:
        """Learning rates of a step, which stands at `position` in its epoch; what Adam forgets before it."""
        if position == 0 and self.options.new_adam_each_epoch:
            self.adam.state.clear()
        rate = max(self.options.lr * self.options.lr_decay**epoch, self.options.min_lr)
        for group, factor in zip(self.adam.param_groups, (1.0, self.options.text_lr_factor), strict=True):
            group["lr"] = factor * rate

    def losses(self, images: Tensor, tokens: Tensor, lengths: Tensor, class_ids: Tensor) -> MatchingLosses:
        """The four cross entropies of images (B, 3, s, s) and their captions, tokens (B, T) and lengths (B,)."""
        regions, code = self.image_encoder(images)
        words, sentence = self.text_encoder(to_device(tokens, self.device), lengths)
        class_ids = to_device(class_ids, self.device)
        return matching_losses(regions, code, words, sentence, lengths, class_ids, self.gammas)

    def step(self, images: Tensor, tokens: Tensor, lengths: Tensor, class_ids: Tensor) -> dict[str, Tensor]:
        """One update of both encoders."""
        losses = self.losses(images, tokens, lengths, class_ids)
        self.adam.zero_grad(set_to_none=True)
        sum(losses).backward()
        nn.utils.clip_grad_norm_(self.text_encoder.parameters(), self.options.gradient_clip)
        self.adam.step()
        return losses._asdict()


def pretrain(
    data: Path,
    out: Path,
    options: DamsmOptions,
    gammas: MatchingOptions,
    seed: int,
    device: torch.device,
    mlflow: str | None = None,
    inception_weights: Path | None = None,
    deterministic: bool = False,
) -> None:
    """Train both encoders to match images with their captions; writes FILES into `out`.

    deterministic: by algorithms that repeat their bits on a GPU too (the CPU always does).
    """
    set_deterministic(device, deterministic)
    dataset = PreparedDataset(data)
    torch.manual_seed(seed)
    text_encoder = TextEncoder(len(dataset.vocabulary), options.embedding_dim, options.dropout)
    image_encoder = build_image_encoder(options.image_encoder, options.embedding_dim, options.width)
    if options.image_encoder == "inception":
        _load_inception(image_encoder, inception_weights)
    pretrainer = Pretrainer(text_encoder, image_encoder, options, gammas, device)
    reading = TrainingBatches(dataset, [options.image_size], options.batch_size, options.max_words, seed)
    batches = PrefetchedBatches(reading, device)

    def step_function(step: int) -> dict[str, Tensor]:
        pretrainer.schedule(*divmod(step, batches.steps_per_epoch))
        batch = batches[step]
        torch.manual_seed((seed << 32) + step)  # dropout depends on the step alone
        return pretrainer.step(batch.images[0], batch.tokens, batch.lengths, batch.class_ids)

    inputs = {"data": dataset.sha256}
    if inception_weights is not None:
        inputs["inception"] = files.file_sha256(inception_weights)
    written = {"options": asdict(options), "gammas": asdict(gammas), "seed": seed, "inputs": inputs}
    fingerprints = Fingerprints.of(written, "options")
    with exclusive(out), batches:
        tags = {"stage": "pretrain", "dataset": dataset.description["source"]["name"], "model": "damsm"}
        tags |= {"seed": str(seed), "config": fingerprints.run[:12], "commit": provenance()["commit"]}
        lab_book = LabBook(mlflow, out, f"damsm seed{seed}", tags, asdict(options) | asdict(gammas))
        history = run_steps(
            step_function,
            pretrainer.stateful(),
            options.epochs * batches.steps_per_epoch,
            ROW_EVERY,
            Checkpoint(out, "damsm", fingerprints.steps),
            options.checkpoint_every,
            lab_book,
            partial(describe_batch, reading, seed),
        )
        save_weights(text_encoder, out / FILES[0])
        save_weights(image_encoder, out / FILES[1])
        dataset.vocabulary.write(out / FILES[2])
        files.write_csv(out / FILES[3], history)
        files.write_json(out / FILES[4], {**written, "provenance": provenance()})
        lab_book.file(out / FILES[4])
        lab_book.close()


def _load_inception(encoder: ImageEncoder, path: Path | None) -> None:
    """ImageNet weights (torchvision's inception_v3 state dict) into the trunk."""
    if path is None:
        raise UserError(
            "image_encoder inception: needs ImageNet weights; give --inception-weights inception_v3_google-*.pth "
            "(torchvision's file), or use --image-encoder small"
        )
    state = read_state_dict(path, "fetch torchvision's inception_v3 again")
    wanted = encoder.state_dict()
    trunk = {key: value for key, value in state.items() if key in wanted}
    missing = [key for key in wanted if key not in trunk and not key.startswith(("emb_",))]
    if missing:
        raise UserError(f"{path}: is not an inception_v3 state dict (no {missing[0]}); fetch torchvision's file")
    encoder.load_state_dict(trunk, strict=False)
