"""The birds of source `synthbirds` as a sequence of examples, drawn on demand."""

import operator
from dataclasses import dataclass

from dmgan.data.sources.example import Example
from dmgan.data.sources.synthbirds.attributes import (
    draw_image_attributes,
    held_out_species,
    species_templates,
    stream,
)
from dmgan.data.sources.synthbirds.captions import write_captions
from dmgan.data.sources.synthbirds.drawing import draw_bird
from dmgan.errors import UserError

# option -> (smallest, largest) value
_LIMITS = {
    "num_species": (2, 10_000),
    "images_per_species": (1, 10_000),
    "captions_per_image": (1, 100),
    "image_size": (38, 1024),
    "seed": (0, 2**64 - 1),
}


@dataclass(frozen=True)
class SynthBirds:
    """The embedded data set as a sequence of Examples; item i is a pure function of these options and i.

    Items are ordered by species, class ids run from 0 to num_species - 1. The test split is a seeded choice of
    round(num_species * test_share) whole species, at least one and not all. UserError for an option out of range.
    """

    num_species: int = 200
    images_per_species: int = 16
    captions_per_image: int = 10
    image_size: int = 76  # side of the image in pixels
    test_share: float = 0.25  # share of the species in the test split
    seed: int = 0

    def __post_init__(self):
        for option, (least, most) in _LIMITS.items():
            value = getattr(self, option)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise UserError(f"synthbirds: {option} is {value!r}; give a whole number from {least} to {most}")
        if (
            isinstance(self.test_share, bool)
            or not isinstance(self.test_share, (int, float))
            or not 0 < self.test_share < 1
        ):
            raise UserError(
                f"synthbirds: test_share is {self.test_share!r}; give a share between 0 and 1, such as 0.25"
            )

    def __len__(self) -> int:
        return self.num_species * self.images_per_species

    def __getitem__(self, index: int) -> Example:
        """Return the Example of image `index`, uint8 (image_size, image_size, 3); IndexError if out of range."""
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"synthbirds: no image {index} among {len(self)}")
        class_id, number = divmod(index, self.images_per_species)
        key = class_id * _LIMITS["images_per_species"][1] + number  # independent of images_per_species
        attributes = draw_image_attributes(self.species(class_id), stream(self.seed, "image", key))
        return Example(
            name=f"species_{class_id:04d}/image_{number:04d}",
            image=draw_bird(attributes, self.image_size, stream(self.seed, "drawing", key)),
            captions=write_captions(attributes, self.captions_per_image, stream(self.seed, "captions", key)),
            class_id=class_id,
            split="test" if class_id in held_out_species(self.num_species, self.test_share, self.seed) else "train",
            attributes=attributes,
        )

    def species(self, class_id: int) -> dict[str, str]:
        """Return the attributes that all images of a species share; IndexError for an unknown species."""
        class_id = operator.index(class_id)
        if not 0 <= class_id < self.num_species:
            raise IndexError(f"synthbirds: no species {class_id} among {self.num_species}")
        return dict(species_templates(self.num_species, self.seed)[class_id])
