"""Many small images as one picture."""

from collections.abc import Sequence

import numpy as np


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], gap: int = 2) -> np.ndarray:
    """Rows of uint8 images (s, s, 3) of any sides as one (H, W, 3) on white.

    Smaller images are enlarged by whole factors to the side of the largest; sides must divide it.
    """
    side = max(image.shape[0] for row in rows for image in row)
    columns = max(len(row) for row in rows)
    sheet = np.full((len(rows) * (side + gap) - gap, columns * (side + gap) - gap, 3), 255, dtype=np.uint8)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            factor = side // image.shape[0]
            top, left = y * (side + gap), x * (side + gap)
            sheet[top : top + side, left : left + side] = image.repeat(factor, axis=0).repeat(factor, axis=1)
    return sheet
