"""PNG files: every compression level keeps the pixels."""

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
