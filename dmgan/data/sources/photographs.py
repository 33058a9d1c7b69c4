"""Decoding of photograph files to RGB pixels, with a documented rule for every irregular kind of file."""

import hashlib
import io
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from dmgan.storage.reading import read_regular_file

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # Pillow decodes these without external programs
_ORIENTATION = 0x0112  # EXIF tag
_LARGEST_FILE = 512 << 20  # bytes; 100 megapixels of 32 bits, uncompressed
_ROUNDING = 2  # px by which a box may reach beyond the image, because both were rounded when the image was resized
_LARGEST = 100_000_000  # pixels; larger images are refused as decompression bombs
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L")
# Exceptions that Pillow's decoders raise for damaged data.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
)


class Found(NamedTuple):
    """One irregularity of a file, and the decision on it."""

    found: str
    decision: str
    detail: str = ""


class Photograph(NamedTuple):
    """Result of reading one file."""

    pixels: np.ndarray | None  # uint8 (H, W, 3), resized if a shorter side was requested; None: the file is left out
    sha256: str  # of the file's bytes; "" if the file could not be read
    found: tuple[Found, ...]
    enlarged: bool = False  # the crop was smaller than the requested side


class _LeftOut(Exception):
    """Raised with the reason why a file is left out."""


def read_photograph(path: Path, box: tuple[int, int, int, int] | None, shorter_side: int | None) -> Photograph:
    """Read one file, crop it to the square about `box` (left, top, width, height), rotate and resize it.

    Order: crop in stored pixels, which the box refers to; EXIF rotation; conversion to RGB; resizing to the shorter
    side with PIL's bilinear filter, as in the papers' preprocessing (None: not resized). Never raises an exception for
    a damaged file.
    """
    try:
        data = read_regular_file(path, _LARGEST_FILE)
    except OSError as error:
        return Photograph(None, "", (Found("unreadable file", "image left out", str(error.strerror)),))
    sha256, found = hashlib.sha256(data).hexdigest(), []
    try:
        pixels, enlarged = _decode(data, box, shorter_side, found)
    except _LeftOut as reason:
        return Photograph(None, sha256, (Found(str(reason), "image left out"),))
    return Photograph(pixels, sha256, tuple(found), enlarged)


def _decode(data: bytes, box, shorter_side: int | None, found: list[Found]) -> tuple[np.ndarray, bool]:
    image, turn = _load(data, found)
    if box is not None:
        image = _crop(image, box, found)
    if turn != 1:
        found.append(Found("EXIF rotation", "turned upright", f"orientation {turn}"))
        image = _upright(image, turn)
    image = _to_rgb(image, found)
    if shorter_side is None:
        return np.asarray(image), False
    width, height = image.size
    if width < height:
        size = shorter_side, int(shorter_side * height / width)
    else:
        size = int(shorter_side * width / height), shorter_side
    if size[0] * size[1] > _LARGEST:
        raise _LeftOut("too long and narrow an image")
    resized = image if image.size == size else image.resize(size, Image.BILINEAR)
    return np.asarray(resized), min(width, height) < shorter_side


def _load(data: bytes, found: list[Found]) -> tuple[Image.Image, int]:
    """Return the decoded image as stored, and its EXIF orientation; _LeftOut if the file is damaged or truncated."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > _LARGEST:
            raise _LeftOut("more than 100 megapixels")
        if getattr(image, "n_frames", 1) > 1:
            found.append(Found("several frames", "first one kept"))
        if any(";16" in str(tile.args) for tile in image.tile):
            found.append(Found("16-bit image", "upper 8 bits kept"))
        elif (
            image.format == "PPM" and image.mode == "RGB" and any(_ppm_maximum(tile.args) > 255 for tile in image.tile)
        ):
            found.append(Found("16-bit colour PPM", "scaled to 8 bits"))
        turned_by_pillow = image.format == "TIFF"  # load() rotates a TIFF and drops its orientation
        turn = _orientation(image, found) if turned_by_pillow else 1
        image.load()
    except UnidentifiedImageError:
        raise _LeftOut("no image file of a known kind") from None
    except _DAMAGE:
        raise _LeftOut("truncated or corrupt file") from None
    if turned_by_pillow:
        return _upright(image, _INVERSE_TURNS.get(turn, turn)), turn
    return image, _orientation(image, found)


def _ppm_maximum(arguments: object) -> int:
    """Return the largest value of a PPM file, from the arguments of Pillow's decoder."""
    last = arguments[-1] if isinstance(arguments, tuple) else arguments
    return last if isinstance(last, int) else 0


def _orientation(image: Image.Image, found: list[Found]) -> int:
    """Return the EXIF orientation; 1 (upright) if it is missing, 0 (unset), unreadable or undefined."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except _DAMAGE:
        found.append(Found("EXIF that cannot be read", "taken as upright"))
        return 1
    if orientation in (1, *_TURNS):
        return orientation
    if orientation == 0:  # cameras write it for "not set"
        return 1
    found.append(Found("EXIF orientation without a meaning", "taken as upright", f"orientation {orientation}"))
    return 1


def papers_crop(width: int, height: int, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the papers' square crop about the centre of `box`, clipped to the image.

    Half of the square's side is int(0.75 * max(box width, box height)).
    """
    left, top, box_width, box_height = box
    half = int(0.75 * max(box_width, box_height))
    x, y = int((2 * left + box_width) / 2), int((2 * top + box_height) / 2)
    return max(0, x - half), max(0, y - half), min(width, x + half), min(height, y + half)


def _crop(image: Image.Image, box: tuple[int, int, int, int], found: list[Found]) -> Image.Image:
    left, top, width, height = box
    detail = f"box {left} {top} {width} {height}, image {image.width}x{image.height}"
    outside = left >= image.width or top >= image.height or left + width <= 0 or top + height <= 0
    if outside or width <= 0 or height <= 0:
        found.append(Found("box outside the image or empty", "whole image kept", detail))
        return image
    if max(-left, -top, left + width - image.width, top + height - image.height) > _ROUNDING:
        found.append(Found("box that reaches beyond the image", "crop clipped to the image", detail))
    edges = papers_crop(image.width, image.height, box)
    if edges[2] <= edges[0] or edges[3] <= edges[1]:
        found.append(Found("box outside the image or empty", "whole image kept", detail))
        return image
    return image.crop(edges)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_INVERSE_TURNS = {6: 8, 8: 6}  # orientation that undoes an orientation; all others undo themselves


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, found: list[Found]) -> Image.Image:
    """Convert an image to RGB with 8 bits per channel; record every lossy conversion in `found`."""
    if image.mode in _DEEP_MODES:
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 0xFFFF:
            raise _LeftOut("more than 16 bits a channel")
        if not any(each.found == "16-bit image" for each in found):
            found.append(Found("16-bit image", "upper 8 bits kept"))
        image = Image.fromarray((levels.astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "F":
        raise _LeftOut("pixels of floating point")
    if image.mode == "P":
        found.append(Found("palette image", "colours looked up"))
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or image.has_transparency_data:
        found.append(Found("transparency", "laid on white"))
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode in ("L", "1"):
        found.append(Found("grey image", "repeated in three channels"))
    elif image.mode == "CMYK":
        found.append(Found("CMYK image", "converted to RGB without a profile"))
    elif image.mode != "RGB":
        found.append(Found("another colour space", "converted to RGB without a profile", image.mode))
    return image.convert("RGB")
