"""Sampled images: missing and corrupt files are named."""

import shutil
import zlib

import pytest

from dmgan.errors import UserError
from dmgan.evaluation.image_sets import ImageFiles, sampled_images


def test_a_missing_or_corrupt_image_is_named(images_folder, dataset, tmp_path):
    copy = tmp_path / "images"
    shutil.copytree(images_folder, copy)
    (copy / "000007.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match="000007.png: is not a readable image"):
        sampled_images(copy, dataset).read(7)
    (copy / "000007.png").unlink()
    with pytest.raises(UserError, match="1 of 40 images are missing, the first is 000007.png"):
        sampled_images(copy, dataset)
    (copy / "manifest.json").unlink()
    with pytest.raises(UserError, match="manifest.json: cannot be read"):
        sampled_images(copy, dataset)


def test_a_png_whose_header_is_cut_is_named(tmp_path):
    path = tmp_path / "000000.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + (5).to_bytes(4, "big")
        + b"IHDR"
        + bytes(5)
        + zlib.crc32(b"IHDR" + bytes(5)).to_bytes(4, "big")
    )
    with pytest.raises(UserError, match="000000.png: is not a readable image .*Truncated IHDR.*; fix it"):
        ImageFiles([path], 8, "fix it")(0)
