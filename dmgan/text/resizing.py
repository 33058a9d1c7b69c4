"""Resizing of batches of images for the image encoders."""

import torch
from torch import Tensor
from torch.nn import functional as F


def resized(images: Tensor, side: int) -> Tensor:
    """Resize images (B, C, h, w) to a square of another side: bilinear, antialiased.

    Computed as matrix products with the weights of torch's resizing, because the gradient of torch's resizing is not
    bit-exact on a GPU.
    """
    if images.shape[-2:] == (side, side):
        return images
    rows, columns = (_resizing_weights(images, length, side) for length in images.shape[-2:])
    with torch.autocast(images.device.type, enabled=False):  # autocast would compute the products in half precision
        return rows @ images @ columns.t()


def _resizing_weights(images: Tensor, length: int, side: int) -> Tensor:
    """Return the weights (side, length) of torch's resizing from `length` to `side` pixels."""
    identity = torch.eye(length, dtype=images.dtype, device=images.device)[None, None]
    return F.interpolate(identity, size=(side, length), mode="bilinear", antialias=True)[0, 0]
