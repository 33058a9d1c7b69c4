"""What every source of captioned images yields."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Example:
    """One captioned image of a source, before it is packed into a prepared folder."""

    name: str  # unique within the source
    image: np.ndarray  # uint8 (H, W, 3), RGB
    captions: tuple[str, ...]  # as written; tokenised later
    class_id: int  # species, or the image's own number where a set has no classes
    split: str  # "train" or "test"
    attributes: dict[str, str] = field(default_factory=dict)  # true attributes, where known
