"""R-precision: does an image find its own caption among 99 mismatched ones? (AttnGAN, section 4)"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dmgan.errors import UserError
from dmgan.randomness import generator

CANDIDATES = 100


def mismatched_captions(class_ids: np.ndarray, pool_classes: np.ndarray, seed: int) -> np.ndarray:
    """For each image, 99 positions in the pool of captions, drawn with replacement from other classes.

    class_ids (N,) of the images, pool_classes (P,) of the pool's captions; returns (N, 99) int64. Row i
    depends on `seed` and i alone.
    """
    order = np.argsort(pool_classes, kind="stable")
    ordered = pool_classes[order]
    starts, ends = np.searchsorted(ordered, class_ids, "left"), np.searchsorted(ordered, class_ids, "right")
    others = len(pool_classes) - (ends - starts)
    if not others.all():
        raise UserError(
            "R-precision: every caption is of one class, so there is no mismatched one; use a set with more classes"
        )
    draws = np.stack(
        [generator(seed, "mismatched captions", i).integers(n, size=CANDIDATES - 1) for i, n in enumerate(others)]
    )
    # A draw counts the pool without the image's own class: step over that class's block.
    draws += np.where(draws >= starts[:, None], (ends - starts)[:, None], 0)
    return order[draws]


def retrieval_hits(codes: Tensor, matching: Tensor, pool: Tensor, mismatched: np.ndarray) -> np.ndarray:
    """Whether each image's own caption has the greatest cosine of its 100; a tie goes to its own.

    codes (N, E) of the images, matching (N, E) of their captions, pool (P, E) of all captions,
    mismatched (N, 99) positions in the pool; returns (N,) bool.
    """
    codes, matching, pool = (F.normalize(each.double(), dim=1, eps=1e-8) for each in (codes, matching, pool))
    own = (codes * matching).sum(dim=1)
    rivals = torch.from_numpy(mismatched)
    best = torch.cat([_best_rival(codes[i : i + 1024], pool, rivals[i : i + 1024]) for i in range(0, len(codes), 1024)])
    return (own >= best).cpu().numpy()


def _best_rival(codes: Tensor, pool: Tensor, rivals: Tensor) -> Tensor:
    return (codes @ pool.t()).gather(1, rivals.to(pool.device)).max(dim=1).values
