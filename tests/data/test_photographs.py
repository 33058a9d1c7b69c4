"""Photographs: conversion of unusual files, crops and EXIF rotation."""

import os

import numpy as np
import pytest
from PIL import Image

from dmgan.data.sources import photographs
from dmgan.data.sources.listing import SUFFIXES, UNREAD_SUFFIXES
from dmgan.data.sources.photographs import papers_crop, read_photograph
from dmgan.storage.files import file_sha256
from tests.data.made_photographs import GREY, PHOTOGRAPHS, RED, jpeg, turned


def test_the_crop_around_a_box_is_that_of_the_papers():
    assert papers_crop(500, 400, (60, 27, 325, 304)) == (0, 0, 465, 400)  # half side 243 about (222, 179), clipped
    assert papers_crop(500, 400, (200, 150, 40, 60)) == (175, 135, 265, 225)  # half side 45 about (220, 180)


@pytest.mark.parametrize("kind", PHOTOGRAPHS)
def test_every_kind_of_file_is_converted_or_left_out_and_recorded(kind, tmp_path):
    make, kinds, colour = PHOTOGRAPHS[kind]
    (tmp_path / "image").write_bytes(make())
    photograph = read_photograph(tmp_path / "image", None, 38)
    assert [decision.found for decision in photograph.found] == kinds
    assert all(decision.decision and "0x" not in decision.detail for decision in photograph.found)
    assert photograph.sha256 == file_sha256(tmp_path / "image")
    if kind.startswith("EXIF rotation"):
        assert photograph.pixels.shape == (45, 38, 3)  # rotated: 50 wide, 60 high
        assert np.abs(photograph.pixels[22, -5].astype(int) - RED).max() < 6  # the upper half is on the right
        assert np.abs(photograph.pixels[22, 5].astype(int) - GREY).max() < 6
    elif colour is None:
        assert photograph.pixels is None and photograph.found[-1].decision == "image left out"
    else:
        assert photograph.pixels.shape == (38, 45, 3) and photograph.pixels.dtype == np.uint8
        assert np.abs(photograph.pixels.astype(int) - colour).max() < 4


@pytest.mark.parametrize(
    ("box", "kinds", "shape"),
    [
        ((10, 12, 30, 24), [], (38, 38)),
        ((-2, -1, 64, 53), [], (38, 45)),  # by rounding
        ((-5, 12, 30, 24), ["box that reaches beyond the image"], (52, 38)),
        ((100, 12, 30, 24), ["box outside the image or empty"], (38, 45)),
        ((10, 12, 0, 24), ["box outside the image or empty"], (38, 45)),
        ((59, 12, 1, 1), ["box outside the image or empty"], (38, 45)),  # half side 0
    ],
)
def test_boxes_outside_the_image_are_recorded(box, kinds, shape, tmp_path):
    (tmp_path / "image").write_bytes(jpeg())
    photograph = read_photograph(tmp_path / "image", box, 38)
    assert [decision.found for decision in photograph.found] == kinds and photograph.pixels.shape[:2] == shape


def test_pipes_and_huge_files_are_left_out(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with open(tmp_path / "sparse.jpg", "wb") as file:
        file.truncate(3 << 30)
    for name, reason in (("pipe", "it is not a regular file"), ("sparse", "it holds 3,221,225,472 bytes, more than")):
        photograph = read_photograph(tmp_path / f"{name}.jpg", None, 38)
        assert photograph.pixels is None and photograph.found[0].found == "unreadable file"
        assert photograph.found[0].detail.startswith(reason)


def test_every_file_name_of_the_supported_formats_is_an_image():
    registered = Image.registered_extensions().items()
    assert sorted(SUFFIXES) == sorted(end for end, kind in registered if kind in photographs.FORMATS)
    assert not set(SUFFIXES) & set(UNREAD_SUFFIXES)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_in_stored_pixels_and_exif_rotation_is_applied_once(orientation, tmp_path):
    """Pillow does not rotate a PNG but rotates a TIFF while it loads: both must have the same pixels."""
    (tmp_path / "a.png").write_bytes(turned("PNG", orientation))
    (tmp_path / "a.tiff").write_bytes(turned("TIFF", orientation))
    png, tiff = (read_photograph(tmp_path / f"a.{kind}", (30, 5, 20, 10), 24) for kind in ("png", "tiff"))
    assert np.array_equal(png.pixels, tiff.pixels) and png.found == tiff.found
