"""The DAMSM loss (AttnGAN Eq. 7-13), computed for all pairs of images and captions at once.

The words of J captions have one of two layouts, in which no matrix product copies the regions:

- PackedWords, on the CPU: the first words of all captions, longest caption first, then the second words of all captions
  with at least two words, and so on. No time is spent on padding, and a softmax over the words of a caption needs only
  a few operations on whole blocks.
- PaddedWords, on a GPU: T words of every caption, with a mask. The shapes do not depend on the captions, and the host
  reads no value of the device, so that a CUDA graph can hold the loss.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from dmgan.options import MatchingOptions
from dmgan.runtime.device import to_device
from dmgan.text.damsm import EncodedCaptions


class PackedWords(NamedTuple):
    """The n words of J captions, packed by position; within a position, longer captions come first."""

    e: Tensor  # (n, E) word features
    counts: list[int]  # numbers of captions that have a first word, a second word, ...; the sum is n
    captions: Tensor  # (n,) index of the word's caption
    positions: Tensor  # (n,) position of the word in its caption

    def softmax(self, s: Tensor) -> Tensor:
        """Return the softmax of s (I, n, R) over the words of each caption."""
        blocks = s.split(self.counts, dim=1)
        largest = blocks[0].clone()
        for block in blocks[1:]:
            torch.maximum(largest[:, : block.shape[1]], block, out=largest[:, : block.shape[1]])
        exps = [(block - largest[:, : block.shape[1]]).exp_() for block in blocks]
        totals = _sums_over_words(exps)
        return torch.cat([each.div_(totals[:, : each.shape[1]]) for each in exps], dim=1)

    def subtract_sums_(self, x: Tensor, p: Tensor) -> None:
        """Subtract from x (I, n, R), in place, p times the sum of x over the words of each caption."""
        sums = _sums_over_words(x.split(self.counts, dim=1))
        for block, of_block in zip(x.split(self.counts, dim=1), p.split(self.counts, dim=1), strict=True):
            block.addcmul_(of_block, sums[:, : of_block.shape[1]], value=-1)

    def by_caption(self, x: Tensor) -> Tensor:
        """Return x (I, n) as (I, J, T), -inf at padding."""
        found = x.new_full((len(x), self.counts[0], len(self.counts)), -torch.inf)
        found[:, self.captions, self.positions] = x
        return found


class PaddedWords(NamedTuple):
    """The n = J T words of J captions of T words each, some of which are padding."""

    e: Tensor  # (n, E) word features
    mask: Tensor  # (J, T) true at padding

    def softmax(self, s: Tensor) -> Tensor:
        """Return the softmax of s (I, n, R) over the words of each caption, 0 at padding."""
        by_word = s.unflatten(1, self.mask.shape).masked_fill(self.mask[:, :, None], -torch.inf)
        return by_word.softmax(dim=2).flatten(1, 2)

    def subtract_sums_(self, x: Tensor, p: Tensor) -> None:
        """Subtract from x (I, n, R), in place, p times the sum of x over the words of each caption."""
        by_word, p = x.unflatten(1, self.mask.shape), p.unflatten(1, self.mask.shape)
        by_word.addcmul_(p, by_word.sum(dim=2, keepdim=True), value=-1)

    def by_caption(self, x: Tensor) -> Tensor:
        """Return x (I, n) as (I, J, T), -inf at padding."""
        return x.unflatten(1, self.mask.shape).masked_fill(self.mask, -torch.inf)


def pack_words(words: Tensor, lengths: Tensor) -> PackedWords:
    """Pack the words (J, E, T) of captions of `lengths` (J,), without padding."""
    order = lengths.cpu().argsort(descending=True, stable=True)
    there = torch.arange(int(lengths.max()))[:, None] < lengths.cpu()[order]  # (T, J)
    positions, captions = there.nonzero(as_tuple=True)
    positions, captions = to_device(positions, words.device), to_device(order[captions], words.device)
    return PackedWords(words.permute(2, 0, 1)[positions, captions], there.sum(dim=1).tolist(), captions, positions)


def pad_words(words: Tensor, mask: Tensor) -> PaddedWords:
    """Return the words (J, E, T) with their mask (J, T), true at padding, as PaddedWords."""
    return PaddedWords(words.transpose(1, 2).flatten(0, 1), mask)


def _sums_over_words(blocks: list[Tensor]) -> Tensor:
    """Return sums (I, J, R) over the words of each caption; blocks (I, count, R): one per word position."""
    sums = blocks[0].clone()
    for block in blocks[1:]:
        sums[:, : block.shape[1]] += block
    return sums


# AttnGAN Eq. 7-9
def word_attention(v: Tensor, words: PackedWords | PaddedWords, gamma1: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return similarity s, its softmax over words, and attention alpha, all (I, n, R), for regions v (I, E, R)."""
    s = torch.bmm(words.e.expand(len(v), -1, -1), v)  # Eq. 7
    s_bar = words.softmax(s)  # Eq. 8
    return s, s_bar, (gamma1 * s_bar).softmax(dim=2)  # Eq. 9: over regions


class _Contexts(torch.autograd.Function):
    """Autograd function: <c, e> and |c|^2, both (I, n), of every word's context c = sum_r alpha_r v_r.

    The gradient is implemented by hand: autograd needs as many matrix products, but twice as many passes over
    (I, n, R) tensors, which take most of the remaining time.
    """

    @staticmethod
    def forward(ctx, v: Tensor, e: Tensor, words: PackedWords | PaddedWords, gamma1: float) -> tuple[Tensor, Tensor]:
        s, s_bar, alpha = word_attention(v, words._replace(e=e), gamma1)
        c = torch.bmm(alpha, v.transpose(1, 2))
        inner, squared = (alpha * s).sum(dim=2), c.square().sum(dim=2)  # <c, e> = sum_r alpha_r s_r
        ctx.save_for_backward(v, e, s, s_bar, alpha, c, inner, squared)
        ctx.words, ctx.gamma1 = words._replace(e=None), gamma1  # e is saved above
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
        ctx.words.subtract_sums_(weighted, s_bar)
        d_s = weighted.mul_(ctx.gamma1).addcmul_(alpha, d_inner)
        d_v = d_e = None
        if ctx.needs_input_grad[0]:
            d_v = torch.bmm(d_c.transpose(1, 2), alpha).baddbmm_(e.t().expand(len(v), -1, -1), d_s)
        if ctx.needs_input_grad[1]:
            d_e = torch.bmm(d_s, v.transpose(1, 2)).sum(dim=0)
        return d_v, d_e, None, None


# AttnGAN Eq. 10
def word_scores(regions: Tensor, words: PackedWords | PaddedWords, gamma1: float, gamma2: float) -> Tensor:
    """Return R(Q_i, D_j) for every image i and caption j, (I, J), before gamma3.

    regions (I, E, h, w); words of J captions. Second derivatives are not supported.
    """
    inner, squared = _Contexts.apply(regions.flatten(2), words.e, words, gamma1)
    norms = squared.clamp_min(1e-16).sqrt() * words.e.norm(dim=1)
    cosines = inner / norms.clamp_min(1e-8)
    return words.by_caption(gamma2 * cosines).logsumexp(dim=2)


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
    regions: Tensor, embedding: Tensor, captions: EncodedCaptions, gammas: MatchingOptions
) -> tuple[Tensor, Tensor]:
    """Return word and sentence scores (I, J) of I images with J captions, times gamma3.

    regions (I, E, h, w), embedding (I, E).
    """
    if regions.is_cuda or captions.lengths is None:
        words = pad_words(captions.words, captions.mask)
    else:
        words = pack_words(captions.words, captions.lengths)
    by_word = gammas.gamma3 * word_scores(regions, words, gammas.gamma1, gammas.gamma2)
    return by_word, gammas.gamma3 * sentence_scores(embedding, captions.sentence)


def losses_of_scores(by_word: Tensor, by_sentence: Tensor, class_ids: Tensor | None) -> MatchingLosses:
    """Return the DAMSM's four cross entropies from the scores (B, B) of a whole batch; class_ids (B,) or None."""
    return MatchingLosses(*cross_entropies(by_word, class_ids), *cross_entropies(by_sentence, class_ids))


def matching_losses(
    regions: Tensor, embedding: Tensor, captions: EncodedCaptions, class_ids: Tensor | None, gammas: MatchingOptions
) -> MatchingLosses:
    """Return the DAMSM's four cross entropies for B images and their B captions; class_ids (B,) or None."""
    return losses_of_scores(*matching_scores(regions, embedding, captions, gammas), class_ids)
