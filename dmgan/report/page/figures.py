"""Figures of the page: those of the catalogue that were drawn, encoded so that the page stays small."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from dmgan.errors import UserError
from dmgan.report.figures.catalogue import FIGURES
from dmgan.report.page.content import Figure

_ALL_IMAGES = 9_000_000  # bytes of all figures together: 12 MB as data URIs, below the page's limit of 15 MB
_LARGEST = 1_200_000  # bytes of one figure
_QUALITIES = (90, 75, 60)  # of lossy WebP, tried in this order
_SMALLEST = 0.25  # scale below which no figure is reduced


def drawn_figures(folder: Path, group: str, dataset: str, models: Sequence[str]) -> Iterator[Figure]:
    """Yield the figures of a group of the catalogue whose PNG file is in `folder`, in the order of the catalogue."""
    drawn = [name for name in FIGURES if (folder / f"{name}.png").is_file()]
    for name in drawn:
        figure = FIGURES[name]
        if figure.group == group:
            limit = min(_LARGEST, _ALL_IMAGES // len(drawn))
            image, image_type, (width, height) = encode(folder / f"{name}.png", limit)
            yield Figure(
                name, figure.heading, figure.caption_text(dataset), figure.alt_text(dataset, models), image, image_type,
                width, height, figure.minimum_px,
            )  # fmt: skip


def encode(path: Path, limit: int) -> tuple[bytes, str, tuple[int, int]]:
    """Return the bytes of a PNG file as PNG or WebP, at most `limit`, with type and size.

    The pixels stay the same if a lossless file is small enough; otherwise the quality is lowered, then the size.
    """
    original = path.read_bytes()
    try:
        with Image.open(io.BytesIO(original)) as opened:
            image = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: is not a readable image ({error}); draw the figures again") from error
    if len(original) <= limit // 4:
        return original, "png", image.size
    lossless = _webp(image, lossless=True)
    if min(len(original), len(lossless)) <= limit:
        return (lossless, "webp", image.size) if len(lossless) < len(original) else (original, "png", image.size)
    scale = 1.0
    while True:
        side = tuple(max(1, round(length * scale)) for length in image.size)
        reduced = image if scale == 1 else image.resize(side, Image.LANCZOS)
        for quality in _QUALITIES:
            encoded = _webp(reduced, quality=quality)
            if len(encoded) <= limit or (scale <= _SMALLEST and quality == _QUALITIES[-1]):
                return encoded, "webp", reduced.size
        scale /= 2


def _webp(image: Image.Image, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **settings)
    return buffer.getvalue()
