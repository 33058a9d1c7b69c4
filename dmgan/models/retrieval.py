"""The memory bank of a semi-parametric model: keys and values of training images, and retrieval by captions.

MDSP (Li, Torr and Lukasiewicz, BMVC 2022) names the features that its retrieval compares; the formulas are in a
supplement that is not public. This module uses the DAMSM's features as keys, because VGG's features are not in the
text's feature space. The values are the features that the generator reads. cos is the cosine similarity, z(score) the
score standardised over the compared entries:

    S-S   max over an entry's captions c of cos(e_S, e_c)         sentence to sentences
    S-I   cos(e_S, f)                                             sentence to the image embedding
    S-R   cos(e_S, sum_r alpha_r v_r),                            sentence to the image's regions: W-I of one word. Of
          alpha = softmax_r(gamma1 cos(e_S, v_r))                 one word Eq. 8's softmax is 1: the cosine replaces it
    W-W   max_c 1/T sum_t max_u cos(w_t, w_cu)                    words to words
    W-I   1/gamma2 log sum_t exp(gamma2 cos(w_t, context_t))      words to the image's regions, AttnGAN Eq. 8-10
    S-SI  z(S-S) + z(S-I)          W-WI  z(W-W) + z(W-I)

The entry with the highest score is retrieved; of scores that are equal to six decimals, the first entry. S-R and the W
methods compare only the 200 best entries of S-S; the other methods compare all entries. The methods `random` and
`oracle` (the captioned test image itself) are lower and upper bounds.
"""

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, reduce
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dmgan.data.batches import centre_crop, to_tensor
from dmgan.data.dataset import PreparedDataset
from dmgan.data.vocabulary import fit_caption
from dmgan.errors import UserError
from dmgan.models.vgg import FeatureNetwork
from dmgan.options import MatchingOptions
from dmgan.runtime.device import to_device
from dmgan.runtime.progress import log
from dmgan.runtime.randomness import generator
from dmgan.storage import files
from dmgan.text.damsm import Damsm, EncodedCaptions

RERANKED = 200  # entries that S-R and the W methods compare
REGION_SIDE = 8  # larger region maps are averaged to this side: COCO's keys need 2.7 GB instead of 12.2 GB
_QUERIES = 128  # compared with all entries at a time
_BLOCK = {"cpu": 256, "cuda": 16384}  # entries scored at a time; small on a CPU, so that the scores stay in its cache
_KEYS_READ = {  # keys that each method compares
    "S-S": ("caption_rows", "sentences"),
    "S-I": ("embeddings",),
    "S-R": ("caption_rows", "sentences", "regions"),
    "S-SI": ("caption_rows", "sentences", "embeddings"),
    "W-W": ("caption_rows", "sentences", "words"),
    "W-I": ("caption_rows", "sentences", "regions"),
    "W-WI": ("caption_rows", "sentences", "words", "regions"),
}
_DECIMALS = 6
_BATCH = 64


class Keys(Protocol):
    """Keys of N entries with C captions each; E is embedding_dim."""

    caption_rows: Tensor  # (N, C) rows among the M distinct captions; entries with fewer captions repeat the first
    sentences: Tensor  # (M, E) float32, unit vectors
    words: Tensor  # (M, U, E) bfloat16, unit vectors; a shorter caption repeats its last word
    embeddings: Tensor  # (N, E) float32, unit vectors
    regions: Tensor  # (N, R, E) bfloat16


# Search.


def search(method: str, captions: EncodedCaptions, keys: Keys, gammas: MatchingOptions) -> Tensor:
    """Return the retrieved entry (B,) of B captions.

    On a CPU the captions are distributed over threads, because the matrix products of word methods are too small to be
    split.
    """
    for name in _KEYS_READ[method]:
        getattr(keys, name)  # compute lazily created keys before the threads start
    count, threads = len(captions.sentence), torch.get_num_threads()
    if captions.sentence.device.type != "cpu" or min(count, threads) == 1:
        return torch.cat([_search(method, part, keys, gammas) for part in _parts(captions, _QUERIES)])
    parts = _parts(captions, min(_QUERIES, math.ceil(count / threads)))
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return torch.cat(list(pool.map(lambda part: _search(method, part, keys, gammas), parts)))
    finally:
        torch.set_num_threads(threads)


def _parts(captions: EncodedCaptions, size: int) -> list[EncodedCaptions]:
    return [captions.rows(slice(start, start + size)) for start in range(0, len(captions.sentence), size)]


@torch.no_grad()  # a new thread does not inherit no_grad from its caller
def _search(method: str, captions: EncodedCaptions, keys: Keys, gammas: MatchingOptions) -> Tensor:
    e = F.normalize(captions.sentence, dim=1)
    if method == "S-I":
        return first_best(sentence_to_image(e, keys.embeddings))
    by_sentence = sentence_to_sentences(e, keys.sentences, keys.caption_rows)
    if method == "S-S":
        return first_best(by_sentence)
    if method == "S-SI":
        return first_best(standardised(by_sentence) + standardised(sentence_to_image(e, keys.embeddings)))
    chosen = best_entries(by_sentence, RERANKED)
    found = []
    for caption, entries in enumerate(chosen):
        words = captions.words[caption, :, : int(captions.lengths[caption])].t()  # (T, E)
        scores = torch.zeros(len(entries), device=entries.device)
        if method == "S-R":
            scores = sentence_to_regions(e[caption], keys.regions.index_select(0, entries), gammas)
        if method in ("W-W", "W-WI"):
            scores = standardised(words_to_words(words, keys.words, keys.caption_rows[entries]))
        if method in ("W-I", "W-WI"):
            scores = scores + standardised(words_to_regions(words, keys.regions.index_select(0, entries), gammas))
        found.append(entries[first_best(scores)])
    return torch.stack(found)


# S-S
def sentence_to_sentences(e: Tensor, sentences: Tensor, caption_rows: Tensor) -> Tensor:
    """Return scores (B, N) of unit sentences (B, E) with N entries: `sentences` (M, E), caption_rows (N, C)."""
    scores, start = e.new_empty(len(e), len(caption_rows)), 0
    for rows in caption_rows.split(_BLOCK[e.device.type]):
        by_caption = sentences.index_select(0, rows.flatten()) @ e.t()  # (n C, B)
        scores[:, start : start + len(rows)] = by_caption.view(*rows.shape, len(e)).amax(dim=1).t()
        start += len(rows)
    return scores


# S-I
def sentence_to_image(e: Tensor, embeddings: Tensor) -> Tensor:
    """Return scores (B, N) of sentences (B, E) with image embeddings (N, E), both unit vectors."""
    return e @ embeddings.t()


# S-R: AttnGAN Eq. 9 of one sentence and K images, with cosines
def sentence_to_regions(e: Tensor, v: Tensor, gammas: MatchingOptions) -> Tensor:
    """Return scores (K,) of one unit sentence (E,) with the regions (K, R, E) of K entries."""
    s = (v @ e.to(v.dtype)).float()  # (K, R)
    lengths = torch.linalg.vector_norm(v, dim=2, dtype=s.dtype).clamp_min(1e-8)
    alpha = (gammas.gamma1 * s / lengths).softmax(dim=1)
    context = (alpha.to(v.dtype).unsqueeze(1) @ v).squeeze(1)  # (K, E)
    return F.cosine_similarity(context.float(), e.unsqueeze(0), dim=1)


# W-W
def words_to_words(w: Tensor, words: Tensor, caption_rows: Tensor) -> Tensor:
    """Return scores (K,) of one caption's words (T, E) with K entries: unit `words` (M, U, E), caption_rows (K, C)."""
    theirs = words.index_select(0, caption_rows.flatten()).flatten(0, 1)  # (K C U, E)
    cosines = F.linear(theirs, F.normalize(w, dim=1).to(words.dtype))
    by_word = cosines.view(-1, words.shape[1], len(w)).unbind(dim=1)
    per_caption = reduce(torch.maximum, by_word).float().mean(dim=1)  # takes half the time of amax over short rows
    return per_caption.view(caption_rows.shape).amax(dim=1)


# W-I: AttnGAN Eq. 8-10 of one caption and K images
def words_to_regions(w: Tensor, v: Tensor, gammas: MatchingOptions) -> Tensor:
    """Return scores (K,) of one caption's words (T, E) with the regions (K, R, E) of K entries."""
    s = (w.to(v.dtype) @ v.flatten(0, 1).t()).view(len(w), *v.shape[:2]).float()  # (T, K, R)
    alpha = (gammas.gamma1 * s.softmax(dim=0)).softmax(dim=2)
    context = alpha.to(v.dtype).transpose(0, 1).contiguous() @ v  # (K, T, E)
    lengths = torch.linalg.vector_norm(context, dim=2, dtype=s.dtype) * w.norm(dim=1)
    cosines = (alpha * s).sum(dim=2).t() / lengths.clamp_min(1e-8)  # <w_t, context_t> = sum_r alpha_r s_r
    return (gammas.gamma2 * cosines).logsumexp(dim=1) / gammas.gamma2


def standardised(scores: Tensor) -> Tensor:
    """Return the scores (..., N), standardised to mean 0 and standard deviation 1 over N."""
    centred = scores - scores.mean(dim=-1, keepdim=True)
    return centred / centred.square().mean(dim=-1, keepdim=True).sqrt().clamp_min(1e-8)


def first_best(scores: Tensor) -> Tensor:
    """Return the position (...,) of the highest of scores (..., N); of equal scores, the first position."""
    return scores.round(decimals=_DECIMALS).argmax(dim=-1)


def best_entries(scores: Tensor, count: int) -> Tensor:
    """Return the positions of the `count` highest scores (B, N), ascending; of equal scores, the first positions."""
    count = min(count, scores.shape[1])
    scores = scores.round(decimals=_DECIMALS)
    values, places = scores.topk(count, dim=1)
    least = values[:, -1:]
    cut = (scores >= least).sum(dim=1) > count  # topk chooses arbitrarily among scores equal to the last
    for row in cut.nonzero().flatten():
        above, equal = scores[row] > least[row], scores[row] == least[row]
        places[row] = torch.cat([above.nonzero(), equal.nonzero()]).flatten()[:count]
    return places.sort(dim=1).values


# Memory bank.


class MemoryBank:
    """Training images of a data set with keys for retrieval, and values: the features that a generator reads.

    Keys are computed at the first use, values at every read, rounded to 16 bits. If the folder `cache` is given, keys
    and the values of all entries are stored there at the first use and memory-mapped.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        damsm: Damsm,
        features: FeatureNetwork,
        gammas: MatchingOptions,
        max_words: int,
        cache: Path | None = None,
    ):
        self.dataset, self.damsm, self.features = dataset, damsm, features
        self.gammas, self.max_words, self.cache = gammas, max_words, cache
        self.images = dataset.indices("train")  # (N,) image index of every entry; only training images
        self._device = damsm.text_encoder.encoder.weight.device
        made_of = {"data": dataset.sha256, "damsm": damsm.sha256, "features": features.sha256, "max_words": max_words}
        if dataset.held_out:
            made_of["held_out"] = dataset.held_out
        self._fingerprint = files.json_sha256(made_of)[:16]

    def search(self, method: str, captions: EncodedCaptions) -> np.ndarray:
        """Return the indices in the data set (B,) of the images that B captions retrieve."""
        return self.images[search(method, captions, self, self.gammas).cpu().numpy()]

    def random(self, numbers: Sequence[int], seed: int) -> np.ndarray:
        """Return random image indices (B,) for the sampled images `numbers`, independent of the captions."""
        return np.array([generator(seed, "random memory", each).choice(self.images) for each in numbers])

    def values(self, images: Sequence[int]) -> Tensor:
        """Return the features (B, C, h, w) of the centre crops of images, given by index, rounded to 16 bits."""
        if self.cache is not None and np.isin(images, self.images).all():
            return to_device(self._all_values[np.searchsorted(self.images, images)], self._device).float()
        return self._features_of(images).float()

    @torch.inference_mode()
    def _features_of(self, images: Sequence[int]) -> Tensor:
        crops = [centre_crop(self.dataset, int(image), self.dataset.image_size) for image in images]
        return self.features(to_device(to_tensor(crops), self._device)).half()

    @cached_property
    def _all_values(self) -> Tensor:
        shape = (len(self.images), *self._features_of(self.images[:1]).shape[1:])
        return self._cached("values", shape, torch.float16, (self._features_of(some) for some in _batches(self.images)))

    # Keys.

    @cached_property
    def _captions(self) -> tuple[list[np.ndarray], Tensor]:
        """Distinct captions as tokens, and the rows (N, C) of every entry's captions among them."""
        rows, different = [], {}
        most = max(self.dataset.caption_count(image) for image in self.images)
        for image in self.images:
            own = []
            for caption in range(self.dataset.caption_count(image)):
                random = generator(0, "caption of a memory", image, caption)
                tokens = fit_caption(self.dataset.tokens(image, caption), self.max_words, random)
                own.append(different.setdefault(tokens.tobytes(), len(different)))
            rows.append(own + own[:1] * (most - len(own)))
        tokens = [np.frombuffer(each, dtype=np.int32) for each in different]
        return tokens, torch.tensor(rows, device=self._device)

    @property
    def caption_rows(self) -> Tensor:
        return self._captions[1]

    @cached_property
    def sentences(self) -> Tensor:
        tokens = self._captions[0]
        encoded = (self.damsm.encode_captions(some).sentence for some in _batches(tokens))
        pieces = (F.normalize(each, dim=1) for each in encoded)
        shape = (len(tokens), self.damsm.options.embedding_dim)
        return self._cached("sentences", shape, torch.float32, pieces).to(self._device)

    @cached_property
    def words(self) -> Tensor:
        tokens = self._captions[0]
        longest = max(len(each) for each in tokens)
        shape = (len(tokens), longest, self.damsm.options.embedding_dim)
        pieces = (self._words(some, longest) for some in _batches(tokens))
        return self._cached("words", shape, torch.bfloat16, pieces).to(self._device)

    def _words(self, tokens: list[np.ndarray], longest: int) -> Tensor:
        encoded = self.damsm.encode_captions(tokens)
        words = F.normalize(encoded.words, dim=1).transpose(1, 2)  # (B, T, E)
        last = (encoded.lengths - 1).clamp_max(longest - 1)
        places = torch.arange(longest)[None, :].minimum(last[:, None]).to(words.device)
        return words.gather(1, places[:, :, None].expand(-1, -1, words.shape[2]))

    @cached_property
    def embeddings(self) -> Tensor:
        pieces = (F.normalize(self._encoded(some)[1], dim=1) for some in _batches(self.images))
        shape = (len(self.images), self.damsm.options.embedding_dim)
        return self._cached("embeddings", shape, torch.float32, pieces).to(self._device)

    @cached_property
    def regions(self) -> Tensor:
        count = self._regions(self.images[:1]).shape[1]
        shape = (len(self.images), count, self.damsm.options.embedding_dim)
        pieces = (self._regions(some) for some in _batches(self.images))
        return self._cached("regions", shape, torch.bfloat16, pieces).to(self._device)

    def _regions(self, images: Sequence[int]) -> Tensor:
        regions = self._encoded(images)[0]
        if regions.shape[-1] > REGION_SIDE:
            regions = F.adaptive_avg_pool2d(regions, REGION_SIDE)
        return regions.flatten(2).transpose(1, 2)

    @torch.inference_mode()
    def _encoded(self, images: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return regions and embeddings of images, given by index."""
        crops = to_tensor([centre_crop(self.dataset, int(i), self.dataset.image_size) for i in images])
        return self.damsm.encode_images(crops.to(self._device))

    def _cached(self, kind: str, shape: tuple[int, ...], dtype: torch.dtype, pieces: Iterable[Tensor]) -> Tensor:
        """Return the concatenated pieces as a tensor of `shape`, memory-mapped from a file if there is a cache."""
        if self.cache is None:
            return torch.cat([each.to(dtype) for each in pieces])
        path = self.cache / f"{kind}-{self._fingerprint}.bin"
        if not path.exists():
            log(f"{path}: storing the memory bank's {kind}")
            sha256 = hashlib.sha256()
            with files.atomic_file(path) as file:
                for each in pieces:
                    content = each.to(dtype).cpu().contiguous().view(torch.uint8).numpy().tobytes()
                    sha256.update(content)
                    file.write(content)
                file.write(sha256.digest())  # behind the values, which are mapped from the start of the file
        _check_cached(path, math.prod(shape) * dtype.itemsize)
        return torch.from_file(str(path), shared=False, size=math.prod(shape), dtype=dtype).view(shape)


def _check_cached(path: Path, size: int) -> None:
    """Raise UserError unless a file holds `size` bytes and, behind them, their SHA-256.

    A file of an earlier version has no hash.
    """
    with files.user_error_for_disk_errors(path, "delete it"), open(path, "rb") as file:
        found = os.fstat(file.fileno()).st_size
        if found not in (size, size + hashlib.sha256().digest_size):
            raise UserError(f"{path}: holds {found:,} bytes, not {size:,}; delete it")
        if found == size:
            return
        sha256, left = hashlib.sha256(), size
        while left and (block := file.read(min(left, 1 << 24))):
            sha256.update(block)
            left -= len(block)
        if file.read() != sha256.digest():
            raise UserError(f"{path}: its bytes changed after they were written; delete it")


def _batches(items: Sequence) -> Iterator[Sequence]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
