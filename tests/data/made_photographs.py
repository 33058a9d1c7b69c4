"""Image files of every kind that a folder of photographs may hold."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

RED, GREY, WHITE = (200, 30, 40), (120, 120, 120), (255, 255, 255)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(colour=RED, mode="RGB", **options) -> bytes:
    return encoded(Image.new(mode, (60, 50), colour), "JPEG", quality=95, **options)


def deep_png(levels: np.ndarray) -> bytes:
    """Return a colour PNG of 16 bits a channel, which Pillow cannot write."""
    height, width, _ = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def palette_png(transparent: bool = False) -> bytes:
    image = Image.new("P", (60, 50), 1)
    image.putpalette([0, 0, 0, *RED])
    return encoded(image, "PNG", **({"transparency": 1} if transparent else {}))


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def turned(kind="JPEG", orientation=6, **options) -> bytes:
    """Return 60x50 pixels, red above and grey below; orientation 6 asks for a quarter turn to the right."""
    image = Image.new("RGB", (60, 50), RED)
    image.paste(GREY, (0, 25, 60, 50))
    return encoded(image, kind, exif=exif_of(orientation), **options)


def ppm(maximum: int) -> bytes:
    """Return a PPM file whose pixels are RED, scaled to the maximum."""
    levels = np.round(np.full((50, 60, 3), RED) / 255 * maximum)
    return f"P6\n60 50\n{maximum}\n".encode() + levels.astype(">u2" if maximum > 255 else np.uint8).tobytes()


# Kind -> maker of the file's bytes, decisions that are recorded, colour of the pixels that are read.
PHOTOGRAPHS = {
    "plain": (jpeg, [], RED),
    "grey": (lambda: jpeg(120, "L"), ["grey image"], GREY),
    "bilevel": (lambda: encoded(Image.new("1", (60, 50), 1), "PNG"), ["grey image"], WHITE),
    "cmyk": (lambda: jpeg((0, 255, 255, 0), "CMYK"), ["CMYK image"], (255, 0, 0)),
    "palette": (palette_png, ["palette image"], RED),
    "transparent palette": (lambda: palette_png(True), ["palette image", "transparency"], WHITE),
    "alpha": (lambda: encoded(Image.new("RGBA", (60, 50), (*RED, 0)), "PNG"), ["transparency"], WHITE),
    "grey alpha": (
        lambda: encoded(Image.new("LA", (60, 50), (120, 255)), "PNG"), ["transparency"], GREY
    ),
    "16-bit grey": (
        lambda: encoded(Image.fromarray(np.full((50, 60), 120 * 256 + 99, np.uint16)), "PNG"),
        ["16-bit image", "grey image"], GREY,
    ),
    "16-bit colour": (lambda: deep_png(np.full((50, 60, 3), RED) * 256 + 77), ["16-bit image"], RED),
    "floating point": (
        lambda: encoded(Image.new("F", (60, 50), 0.5), "TIFF"), ["pixels of floating point"], None
    ),
    "EXIF rotation": (lambda: turned(quality=95), ["EXIF rotation"], None),
    "EXIF rotation, TIFF": (lambda: turned("TIFF"), ["EXIF rotation"], None),
    "EXIF orientation 0": (lambda: jpeg(exif=exif_of(0)), [], RED),
    "EXIF orientation 9, TIFF": (
        lambda: encoded(Image.new("RGB", (60, 50), RED), "TIFF", exif=exif_of(9)),
        ["EXIF orientation without a meaning"], RED,
    ),
    "EXIF orientation 1": (lambda: jpeg(exif=exif_of(1)), [], RED),
    "PPM": (lambda: ppm(255), [], RED),
    "16-bit PPM": (lambda: ppm(65535), ["16-bit colour PPM"], RED),
    "10-bit PPM": (lambda: ppm(1023), ["16-bit colour PPM"], RED),
    "plain 16-bit PPM": (
        lambda: b"P3\n60 50\n1000\n" + b"784 118 157\n" * 3000, ["16-bit colour PPM"], RED
    ),
    "two frames": (
        lambda: encoded(
            Image.new("RGB", (60, 50), RED), "TIFF", save_all=True, append_images=[Image.new("RGB", (60, 50))]
        ),
        ["several frames"], RED,
    ),
    "truncated": (lambda: jpeg()[:500], ["truncated or corrupt file"], None),
    "truncated PNG": (lambda: palette_png()[:-30], ["truncated or corrupt file"], None),
    "damaged": (
        lambda: deep_png(np.zeros((50, 60, 3)))[:60] + b"x" * 40, ["truncated or corrupt file"], None
    ),
    "no image": (lambda: b"<html>not found</html>", ["no image file of a known kind"], None),
    "empty": (lambda: b"", ["no image file of a known kind"], None),
    "EPS": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ["no image file of a known kind"], None),
}  # fmt: skip
