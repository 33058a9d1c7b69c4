"""PNG files: every compression level keeps the pixels."""

import os
import zlib

import numpy as np
import pytest

from dmgan.options import SamplingOptions
from dmgan.storage.png import is_whole_png, read_png, write_pngs


@pytest.mark.parametrize("level", [0, SamplingOptions.png_level, 9])
def test_a_level_changes_the_size_of_a_file_not_its_pixels(level, tmp_path):
    ramp = np.arange(32, dtype=np.uint8)
    pixels = np.stack([np.stack([ramp[:, None] + ramp + 8 * image] * 3, axis=-1) for image in range(2)])
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    write_pngs(paths, pixels, level)
    assert all(is_whole_png(path) and np.array_equal(read_png(path), pixels[n]) for n, path in enumerate(paths))
    assert (paths[0].stat().st_size > 32 * 32 * 3) == (level == 0)


def test_a_pipe_is_no_png_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert not is_whole_png(tmp_path / "pipe.png")
    with pytest.raises(OSError, match="not a regular file"):
        read_png(tmp_path / "pipe.png")


def test_the_size_that_a_png_states_is_checked_before_memory_is_reserved(tmp_path):
    """Pillow warns of such a file, or raises an exception of its own."""
    path = tmp_path / "bomb.png"
    write_pngs([path], np.zeros((1, 4, 4, 3), np.uint8), 1)
    content = path.read_bytes()
    for side in (10_000, 2**31 - 1):
        header = b"IHDR" + side.to_bytes(4) * 2 + content[24:29]
        path.write_bytes(content[:12] + header + zlib.crc32(header).to_bytes(4) + content[33:])
        with pytest.raises(ValueError, match=f"it states {side:,} x {side:,} pixels"):
            read_png(path)
