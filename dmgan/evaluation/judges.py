"""Who says whether an image shows its caption: DAMSMs and CLIP (R-precision), a classifier (attribute accuracy)."""

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dmgan.data.dataset import PreparedDataset
from dmgan.data.vocabulary import fit_caption
from dmgan.errors import UserError
from dmgan.evaluation import attributes, metrics
from dmgan.evaluation.attributes import TrainedAttributes
from dmgan.evaluation.controls import sentences
from dmgan.evaluation.features import StoredFeatures
from dmgan.evaluation.images import ImageSet
from dmgan.evaluation.networks import DamsmCodes, FeatureNetwork, resized
from dmgan.evaluation.rprecision import (
    CANDIDATES,
    MISMATCHED,
    counted_images,
    distinct,
    mismatched_blocks,
    pool_of_test_captions,
    precision_of_folds,
    retrieval_hits,
)
from dmgan.evaluation.uncertainty import Bootstrap, bootstrap_share
from dmgan.options import EvaluationOptions
from dmgan.runtime.randomness import generator
from dmgan.storage import files
from dmgan.storage.weights import load_state, load_weights, read_state_dict
from dmgan.text.damsm import Damsm

TRAINING, HELD_OUT, RELEASED = "training DAMSM", "held-out DAMSM", "released DAMSM"
_KINDS = {
    TRAINING: "DAMSM, the one that trained the generators",
    HELD_OUT: "DAMSM of another seed, which no generator was trained with",
    RELEASED: "DAMSM, the released one (imported)",
}


class Verdict(NamedTuple):
    """One metric of an image set by a judge of captions, with what each image adds to it."""

    score: metrics.Score
    bootstrap: Bootstrap
    protocol: dict[str, object]
    hits: np.ndarray  # (N,) how much of its caption each image shows
    counts: np.ndarray  # (N,) how much there was to show
    chance: float  # percent that guessing would get
    num_images: int  # that the score counts


class CaptionJudge(Protocol):
    """Judges images by their captions; reads them through a network whose rows are stored."""

    metric: str  # key in metrics.json
    network: FeatureNetwork

    def verdict(
        self, subject: ImageSet, stored: StoredFeatures, dataset: PreparedDataset, options: EvaluationOptions
    ) -> Verdict:
        """The metric of an image set whose rows are stored."""


def caption_verdicts(
    judges: Sequence[CaptionJudge],
    subject: ImageSet,
    stored: Mapping[str, StoredFeatures],
    dataset: PreparedDataset,
    options: EvaluationOptions,
) -> dict[str, Verdict]:
    """Every judge's metric by its key; `stored` by the name of the judge's network."""
    return {each.metric: each.verdict(subject, stored[each.network.name], dataset, options) for each in judges}


# R-precision.


class RetrievalJudge:
    """R-precision by whatever encodes images and captions into one space.

    An image's own caption and the mismatched ones are read alike, whatever its generator read of them: so all models
    and control rows are asked one question.
    """

    def __init__(self, name: str, network: FeatureNetwork):
        self.metric, self.network = f"R-precision({name})", network

    def caption(self, dataset: PreparedDataset, image: int, caption: int, options: EvaluationOptions) -> Hashable:
        """A test caption in the form that `encode` takes."""
        raise TypeError(f"{type(self).__name__} reads no captions")

    def reading(self, options: EvaluationOptions) -> str:
        """What it reads of a caption."""
        raise TypeError(f"{type(self).__name__} reads no captions")

    def shown(self, subject: ImageSet, dataset: PreparedDataset, options: EvaluationOptions) -> list[Hashable]:
        """Each image's own caption."""
        places = zip(subject.test_images, subject.captions, strict=True)
        return [self.caption(dataset, *each, options) for each in places]

    def encode(self, captions: list[Hashable]) -> np.ndarray:
        """Codes (N, E) of captions."""
        raise TypeError(f"{type(self).__name__} encodes no captions")

    def verdict(
        self, subject: ImageSet, stored: StoredFeatures, dataset: PreparedDataset, options: EvaluationOptions
    ) -> Verdict:
        """R-precision (R = 1) in percent over ten folds."""
        pool, pool_classes = pool_of_test_captions(dataset)
        own = self.shown(subject, dataset, options)
        captions, rows = distinct([*own, *(self.caption(dataset, *each, options) for each in pool)])
        candidates = np.empty((len(own), CANDIDATES), rows.dtype)
        candidates[:, 0] = rows[: len(own)]
        own_classes, rivals = dataset.class_ids[subject.test_images], rows[len(own) :]
        for some, mismatched in mismatched_blocks(own_classes, pool_classes, options.seed):
            candidates[some, 1:] = rivals[mismatched]
        places = [*zip(subject.test_images, subject.captions, strict=True), *pool]
        images, sentences = stored["codes"].all(), self.encode(captions)
        self._refuse_unusable(images, subject.read.name)
        self._refuse_unusable(sentences, lambda row: _caption_name(dataset, *places[np.flatnonzero(rows == row)[0]]))
        hits = retrieval_hits(images, sentences, candidates)
        order = metrics.fold_order(len(subject), options.seed)
        folds = metrics.fold_of_each(len(subject), order)
        counts = np.ones(len(hits))
        clustered = metrics.clustered_folds(subject.test_images, options.seed)
        return Verdict(
            score=metrics.mean_over_folds(
                precision_of_folds(hits, folds, order, options.fold_rule),
                np.array([100 * hits[rows].mean() for rows in clustered]),
            ),
            bootstrap=bootstrap_share(hits, counts, subject.test_images, options.seed),
            protocol={
                **self.network.protocol,
                "captions": self.reading(options),
                "candidates": CANDIDATES,
                "mismatched": MISMATCHED,
                "caption_seed": options.seed,
                "fold_seed": options.seed,
                "fold_rule": options.fold_rule,
            },
            hits=hits.astype(np.int64),
            counts=counts.astype(np.int64),
            chance=100 / CANDIDATES,
            num_images=int(counted_images(folds, order, options.fold_rule).sum()),
        )

    def _refuse_unusable(self, codes: np.ndarray, name: Callable[[int], str]) -> None:
        """UserError naming the first of codes (N, E) that has no cosine: it would count as a miss, or tie with all."""
        lengths = np.linalg.norm(codes.astype(np.float64), axis=1)
        bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if len(bad):
            what = "has length 0" if lengths[bad[0]] == 0 else "is not finite"
            raise UserError(
                f"{name(int(bad[0]))}: its code by {self.network.name} {what} ({len(bad)} of {len(codes)} so), so that "
                f"{self.metric} has no meaning; the judge's weights are broken, make or fetch them again"
            )


def _caption_name(dataset: PreparedDataset, image: int, caption: int) -> str:
    return f"{dataset.folder}: caption {caption} of {dataset.name(image)}"


class DamsmJudge(RetrievalJudge):
    """A DAMSM. It reads whole captions, or as many words as it is told."""

    def __init__(self, name: str, encoders: Damsm, dataset: PreparedDataset, folder: Path):
        network = DamsmCodes(encoders, name.replace(" ", "-").lower())
        network.protocol["feature_network"] = _KINDS[name]
        super().__init__(name, network)
        self._encoders, self._anew = encoders, encoders.vocabulary != dataset.vocabulary
        self._tokens_of = encoders.caption_reader(
            dataset, f"{folder}: its vocabulary is not that of {dataset.folder}; give the encoders of this data set"
        )

    def caption(self, dataset: PreparedDataset, image: int, caption: int, options: EvaluationOptions) -> Hashable:
        tokens = self._tokens_of(image, caption)
        if options.caption_words:
            tokens = fit_caption(tokens, options.caption_words, generator(options.seed, "judged words", image, caption))
        return tuple(tokens.tolist())

    def reading(self, options: EvaluationOptions) -> str:
        words = f"{options.caption_words} words at most of each" if options.caption_words else "whole"
        return f"{words}, encoded anew in the encoders' own vocabulary, unknown words left out" if self._anew else words

    def shown(self, subject: ImageSet, dataset: PreparedDataset, options: EvaluationOptions) -> list[Hashable]:
        """Of a caption that is cut, the very words its generator read, where these are as many: as in the release."""
        captions = super().shown(subject, dataset, options)
        if subject.inputs.get("vocabulary_sha256") != self._encoders.sha256["vocabulary.json"]:
            return captions
        read = [tuple(tokens.tolist()) for tokens in subject.tokens]
        return [own if len(own) == len(cut) else cut for own, cut in zip(read, captions, strict=True)]

    def encode(self, captions: list[Hashable]) -> np.ndarray:
        return sentences(self._encoders, [np.array(each, dtype=np.int32) for each in captions]).numpy()


def read_damsm_judges(
    training: Damsm, folder: Path, held_out: Path | None, dataset: PreparedDataset, device: torch.device
) -> list[DamsmJudge]:
    """The DAMSM that trained the generators (or came with them), and one of another seed where there is one."""
    judges = [DamsmJudge(RELEASED if training.imported else TRAINING, training, dataset, folder)]
    if held_out is not None:
        encoders = Damsm.read(held_out).to(device)
        if encoders.sha256["image_encoder.safetensors"] == training.sha256["image_encoder.safetensors"]:
            raise UserError(f"{held_out}: is the DAMSM of {folder}; a held-out judge must be of another seed")
        judges.append(DamsmJudge(HELD_OUT, encoders, dataset, held_out))
    return judges


class ClipCodes(FeatureNetwork):
    """CLIP's image embeddings; the image is resized as CLIP's own transform does it (Pillow bicubic, 8 bits)."""

    packages = ("torch", "pillow", "open-clip-torch")

    def __init__(self, name: str, model: torch.nn.Module, sha256: str, device: torch.device):
        self.name = "clip"
        visual = model.visual
        size = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
        self.prepare = functools.partial(_bicubic, size=size)
        self._model = model
        self._mean, self._sd = (
            torch.tensor(each, device=device)[:, None, None] for each in (visual.image_mean, visual.image_std)
        )
        protocol = {
            "feature_network": f"CLIP {name}",
            "feature_network_sha256": sha256,
            "resize": f"to {size} px, Pillow bicubic, rounded to 8 bits",
            "codec": "8-bit RGB, lossless",
        }
        super().__init__({"codes": model.text_projection.shape[-1]}, protocol)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        images = (batch.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._sd
        return {"codes": self._model.encode_image(images)}


def _bicubic(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.BICUBIC))


class ClipJudge(RetrievalJudge):
    """CLIP, trained by others on other images: no generator here has seen it."""

    def __init__(self, model: str, weights: Path, device: torch.device):
        """`model`: a name that open_clip knows, or one of its JSON configurations; `weights`: its state dict."""
        name, network, tokenizer, sha256 = _read_clip(model, weights)
        network.to(device).eval().requires_grad_(False)
        super().__init__(f"CLIP {name}", ClipCodes(name, network, sha256, device))
        self._model, self._tokenizer, self._device = network, tokenizer, device

    def caption(self, dataset: PreparedDataset, image: int, caption: int, options: EvaluationOptions) -> Hashable:
        return dataset.caption(image, caption)

    def reading(self, options: EvaluationOptions) -> str:
        return f"whole, up to CLIP's {self._tokenizer.context_length} tokens"

    @torch.no_grad()
    def encode(self, captions: list[Hashable]) -> np.ndarray:
        batches = (captions[start : start + 64] for start in range(0, len(captions), 64))
        codes = [self._model.encode_text(self._tokenizer(batch).to(self._device)) for batch in batches]
        return torch.cat(codes).float().cpu().numpy()


def _read_clip(model: str, weights: Path) -> tuple[str, torch.nn.Module, Callable, str]:
    """Name, network, tokenizer and SHA-256 of the weights."""
    if not Path(weights).is_file():
        raise UserError(
            f"{weights}: is not there; give --clip-weights the state dict of CLIP {model}, such as "
            f"open_clip_model.safetensors, from the address in open_clip.get_pretrained_cfg({model!r}, TAG), where "
            f"TAG is one of open_clip.list_pretrained_tags_by_model({model!r}); no hash of it is known here, the "
            "file's own is written into metrics.json"
        )
    try:
        import open_clip
    except ImportError as error:
        raise UserError(f"--clip: open_clip cannot be imported ({error}); pip install open_clip_torch") from error
    if model.endswith(".json"):
        files.read_json(Path(model), "give --clip a name that open_clip knows, or one of its JSON configurations")
        open_clip.add_model_config(Path(model))
    name = Path(model).name.removesuffix(".json")
    if name not in open_clip.list_models():
        raise UserError(f"--clip {model}: is not known to open_clip; see open_clip.list_models()")
    network = open_clip.create_model(name, pretrained=None)
    hint = f"give the weights of CLIP {name}"
    if Path(weights).suffix == ".safetensors":
        load_weights(network, weights, hint)
    else:
        load_state(network, read_state_dict(weights, hint), str(weights), hint)
    return name, network, open_clip.get_tokenizer(name), files.file_sha256(weights)


# Attribute accuracy.


class AttributeLogits(FeatureNetwork):
    """The attribute classifier's logits."""

    name = "attribute-classifier"
    packages = ("torch",)

    def __init__(self, judge: TrainedAttributes):
        self._judge = judge
        protocol = {
            **judge.protocol,
            "resize": f"to {judge.options.image_size} px, bilinear with antialiasing, where the side differs",
            "codec": "8-bit RGB, lossless",
        }
        super().__init__({"logits": sum(attributes.SIZES)}, protocol)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        images = batch.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
        return {"logits": self._judge.network(resized(images, self._judge.options.image_size))[1]}


class AttributeJudge:
    """The share of the attributes named in the captions that the images show."""

    metric = attributes.METRIC

    def __init__(self, folder: Path, dataset: PreparedDataset, device: torch.device):
        if not attributes.has_named_attributes(dataset):
            raise UserError(f"{dataset.folder}: its captions name no known attributes; leave --attributes out")
        self._judge = TrainedAttributes.read(folder, device)
        self.network = AttributeLogits(self._judge)

    def values(self, stored: StoredFeatures) -> np.ndarray:
        """The value (N, attributes) it sees in each image."""
        return self._judge.predicted(stored["logits"].all())

    def verdict(
        self, subject: ImageSet, stored: StoredFeatures, dataset: PreparedDataset, options: EvaluationOptions
    ) -> Verdict:
        """Hits over named attributes in percent, over ten folds."""
        texts = [dataset.caption(*each) for each in zip(subject.test_images, subject.captions, strict=True)]
        wanted = attributes.wanted_values(texts)
        hits, counts = attributes.shown_attributes(self.values(stored), wanted)
        guessed, _ = attributes.shown_attributes(np.broadcast_to(self._judge.majority, wanted.shape), wanted)
        single = metrics.fold_rows(metrics.fold_order(len(subject), options.seed))
        clustered = metrics.clustered_folds(subject.test_images, options.seed)
        shares = (
            np.array([100 * hits[rows].sum() / counts[rows].sum() for rows in each]) for each in (single, clustered)
        )
        return Verdict(
            score=metrics.mean_over_folds(*shares),
            bootstrap=bootstrap_share(hits, counts, subject.test_images, options.seed),
            protocol={**self.network.protocol, "fold_seed": options.seed},
            hits=hits,
            counts=counts,
            chance=float(100 * guessed.sum() / counts.sum()),
            num_images=len(subject),
        )
