"""Sheets and animations: whole images under their texts, nothing clipped."""

import numpy as np
from PIL import Image

from dmgan.inspection.drawings import draw_sheet, enlarged, rows_of_caption, stage_frames


def plain(side: int, level: int) -> np.ndarray:
    return np.full((side, side, 3), level, dtype=np.uint8)


def test_a_sheet_holds_every_image_enlarged_without_smoothing():
    images = [plain(64, 10 * number) for number in range(11)]
    rows = rows_of_caption("a red bird", [f"image {number}" for number in range(11)], images)
    assert [len(row.images) for row in rows] == [8, 3] and [row.text for row in rows] == ["a red bird", ""]
    pixels = np.asarray(draw_sheet("DM-GAN", rows))
    for number in range(11):
        column, row = number % 8, number // 8
        left = 16 + column * 134
        found = np.flatnonzero((pixels[:, left : left + 128] == 10 * number).all(axis=(1, 2)))
        assert len(found) == 128 and found[-1] - found[0] == 127, (number, row)


def test_a_long_caption_is_wrapped_within_the_sheet():
    text = f"{'a bird with wings ' * 20}{'w' * 200}"
    (row,) = rows_of_caption(text, ["image 0"], [plain(256, 0)])
    sheet = np.asarray(draw_sheet("DM-GAN", [row]))
    assert sheet.shape[1] == 480 and (sheet[:, :14] == 255).all() and (sheet[:, -4:] == 255).all()
    assert (sheet[-14:] == 255).all()


def test_images_of_two_sides_are_drawn_at_one_side():
    rows = rows_of_caption("a bird", ["8 px", "256 px"], [plain(8, 0), plain(256, 0)])
    sheet = np.asarray(draw_sheet("DM-GAN", rows))
    assert ((sheet == 0).all(axis=(1, 2)).sum() == 0) and (sheet == 0).all(axis=2).sum() >= 2 * 256 * 256
    assert enlarged(plain(64, 1)).shape == (128, 128, 3) and enlarged(plain(256, 1)).shape == (256, 256, 3)


def test_the_frames_of_an_animation_are_the_stages():
    stages = [plain(8, 10), plain(16, 120), plain(32, 250)]
    frames, times = stage_frames(stages)
    assert [frame.size for frame in frames] == [(128, 128)] * 3 and times == [800, 800, 2400]
    assert [np.asarray(frame.convert("RGB")).mean() for frame in frames] == [10, 120, 250]
    assert isinstance(frames[0], Image.Image)
