"""The DAMSM loss (AttnGAN Eq. 7-13), computed for all pairs of images and captions at once.

The words of all captions are packed without padding: the first words of all captions, longest caption first, then the
second words of all captions with at least two words, and so on. Therefore a softmax over the words of a caption needs
only a few operations on whole blocks, and no matrix product copies the regions.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from dmgan.options import MatchingOptions
from dmgan.runtime.device import to_device


class PackedWords(NamedTuple):
    """The n words of J captions, packed by position; within a position, longer captions come first."""

    e: Tensor  # (n, E) word features
    counts: list[int]  # numbers of captions that have a first word, a second word, ...; the sum is n
    captions: Tensor  # (n,) index of the word's caption
    positions: Tensor  # (n,) position of the word in its caption


def pack_words(words: Tensor, lengths: Tensor) -> PackedWords:
    """Pack the words (J, E, T) of captions of `lengths` (J,), without padding."""
    order = lengths.cpu().argsort(descending=True, stable=True)
    there = torch.arange(int(lengths.max()))[:, None] < lengths.cpu()[order]  # (T, J)
    positions, captions = there.nonzero(as_tuple=True)
    positions, captions = to_device(positions, words.device), to_device(order[captions], words.device)
    return PackedWords(words.permute(2, 0, 1)[positions, captions], there.sum(dim=1).tolist(), captions, positions)


def _softmax_over_words(s: Tensor, counts: list[int]) -> Tensor:
    """Return the softmax of s (I, n, R) over the words of each caption."""
    blocks = s.split(counts, dim=1)
    largest = blocks[0].clone()
    for block in blocks[1:]:
        torch.maximum(largest[:, : block.shape[1]], block, out=largest[:, : block.shape[1]])
    exps = [(block - largest[:, : block.shape[1]]).exp_() for block in blocks]
    totals = _sums_over_words(exps)
    return torch.cat([each.div_(totals[:, : each.shape[1]]) for each in exps], dim=1)


def _sums_over_words(blocks: list[Tensor]) -> Tensor:
    """Return sums (I, J, R) over the words of each caption; blocks (I, count, R): one per word position."""
    sums = blocks[0].clone()
    for block in blocks[1:]:
        sums[:, : block.shape[1]] += block
    return sums


# AttnGAN Eq. 7-9
def word_attention(v: Tensor, words: PackedWords, gamma1: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return similarity s, its softmax over words, and attention alpha, all (I, n, R), for regions v (I, E, R)."""
    s = torch.bmm(words.e.expand(len(v), -1, -1), v)  # Eq. 7
    s_bar = _softmax_over_words(s, words.counts)  # Eq. 8
    return s, s_bar, (gamma1 * s_bar).softmax(dim=2)  # Eq. 9: over regions


class _Contexts(torch.autograd.Function):
    """Autograd function: <c, e> and |c|^2, both (I, n), of every word's context c = sum_r alpha_r v_r.

    The gradient is implemented by hand: autograd needs as many matrix products, but twice as many passes over
    (I, n, R) tensors, which take most of the remaining time.
    """

    @staticmethod
    def forward(ctx, v: Tensor, e: Tensor, words: PackedWords, gamma1: float) -> tuple[Tensor, Tensor]:
        s, s_bar, alpha = word_attention(v, words._replace(e=e), gamma1)
        c = torch.bmm(alpha, v.transpose(1, 2))
        inner, squared = (alpha * s).sum(dim=2), c.square().sum(dim=2)  # <c, e> = sum_r alpha_r s_r
        ctx.save_for_backward(v, e, s, s_bar, alpha, c, inner, squared)
        ctx.counts, ctx.gamma1 = words.counts, gamma1
        return inner, squared

    @staticmethod
    @once_differentiable
    def backward(ctx, d_inner: Tensor, d_squared: Tensor) -> tuple[Tensor | None, ...]:
        v, e, s, s_bar, alpha, c, inner, squared = ctx.saved_tensors
        along_alpha = d_inner * inner + 2 * d_squared * squared  # sum_r alpha_r d_alpha_r
        d_inner = d_inner[:, :, None]
        d_c = 2 * d_squared[:, :, None] * c
        d_alpha = torch.bmm(d_c, v).addcmul_(s, d_inner)
        # Backward of the softmax over regions, then of the softmax over words: d x = p (d p - sum p d p).
        weighted = d_alpha.sub_(along_alpha[:, :, None]).mul_(alpha).mul_(s_bar)
        sums = _sums_over_words(weighted.split(ctx.counts, dim=1))
        blocks = zip(weighted.split(ctx.counts, dim=1), s_bar.split(ctx.counts, dim=1), strict=True)
        for block, p in blocks:
            block.addcmul_(p, sums[:, : p.shape[1]], value=-1)
        d_s = weighted.mul_(ctx.gamma1).addcmul_(alpha, d_inner)
        d_v = d_e = None
        if ctx.needs_input_grad[0]:
            d_v = torch.bmm(d_c.transpose(1, 2), alpha).baddbmm_(e.t().expand(len(v), -1, -1), d_s)
        if ctx.needs_input_grad[1]:
            d_e = torch.bmm(d_s, v.transpose(1, 2)).sum(dim=0)
        return d_v, d_e, None, None


# AttnGAN Eq. 10
def word_scores(regions: Tensor, words: Tensor, lengths: Tensor, gamma1: float, gamma2: float) -> Tensor:
    """Return R(Q_i, D_j) for every image i and caption j, (I, J), before gamma3.

    regions (I, E, h, w), words (J, E, T), lengths (J,). Second derivatives are not supported.
    """
    packed = pack_words(words, lengths)
    inner, squared = _Contexts.apply(regions.flatten(2), packed.e, packed, gamma1)
    norms = squared.clamp_min(1e-16).sqrt() * packed.e.norm(dim=1)
    cosines = inner / norms.clamp_min(1e-8)
    by_caption = cosines.new_full((len(regions), len(words), len(packed.counts)), -torch.inf)
    by_caption[:, packed.captions, packed.positions] = gamma2 * cosines
    return by_caption.logsumexp(dim=2)


class MatchingLosses(NamedTuple):
    """The DAMSM's four cross entropies; 0: over the captions of an image, 1: over the images of a caption."""

    word0: Tensor
    word1: Tensor
    sentence0: Tensor
    sentence1: Tensor


def sentence_scores(embeddings: Tensor, sentences: Tensor) -> Tensor:
    """Return the cosine similarities (B_i, B_j) of image embeddings (B_i, E) and sentences (B_j, E)."""
    return F.normalize(embeddings, dim=1, eps=1e-8) @ F.normalize(sentences, dim=1, eps=1e-8).t()


# AttnGAN Eq. 11-13
def cross_entropies(scores: Tensor, class_ids: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the cross entropies over rows and over columns; pairs with other samples of the same class are masked."""
    labels = torch.arange(len(scores), device=scores.device)
    if class_ids is not None:
        same = class_ids[:, None] == class_ids[None, :]
        same.fill_diagonal_(False)
        scores = scores.masked_fill(same, -torch.inf)
    return F.cross_entropy(scores, labels), F.cross_entropy(scores.t(), labels)


def matching_scores(
    regions: Tensor, embedding: Tensor, words: Tensor, sentence: Tensor, lengths: Tensor, gammas: MatchingOptions
) -> tuple[Tensor, Tensor]:
    """Return word and sentence scores (I, J) of I images with J captions, times gamma3."""
    by_word = gammas.gamma3 * word_scores(regions, words, lengths, gammas.gamma1, gammas.gamma2)
    return by_word, gammas.gamma3 * sentence_scores(embedding, sentence)


def losses_of_scores(by_word: Tensor, by_sentence: Tensor, class_ids: Tensor | None) -> MatchingLosses:
    """Return the DAMSM's four cross entropies from the scores (B, B) of a whole batch; class_ids (B,) or None."""
    return MatchingLosses(*cross_entropies(by_word, class_ids), *cross_entropies(by_sentence, class_ids))


def matching_losses(
    regions: Tensor,
    embedding: Tensor,
    words: Tensor,
    sentence: Tensor,
    lengths: Tensor,
    class_ids: Tensor | None,
    gammas: MatchingOptions,
) -> MatchingLosses:
    """Return the DAMSM's four cross entropies for B images and their B captions; class_ids (B,) or None."""
    scores = matching_scores(regions, embedding, words, sentence, lengths, gammas)
    return losses_of_scores(*scores, class_ids)
