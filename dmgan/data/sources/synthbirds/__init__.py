"""Source `synthbirds`: drawings of birds, with captions and true attributes."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from dmgan.data.sources.table import CAPTIONS_PER_IMAGE_HELP, Flag, Source

if TYPE_CHECKING:
    from dmgan.data.sources.example import Drawn


def draw_synthbirds(options: dict, shorter_side: int) -> "Drawn":
    """Return the birds for `options` (the flags of SOURCE); an image is drawn when it is read."""
    from dmgan.data.sources.example import Drawn
    from dmgan.data.sources.synthbirds.birds import SynthBirds

    birds = SynthBirds(**options, image_size=shorter_side)
    return Drawn({"name": "synthbirds", **asdict(birds)}, birds)


def count_synthbirds(options: dict) -> tuple[int, int]:
    """Return the numbers of training and test images; a quarter of the species are test species."""
    species, images = options["num_species"], options["images_per_species"]
    test = min(max(1, round(species / 4)), species - 1)
    return (species - test) * images, test * images


SOURCE = Source(
    name="synthbirds",
    flags={
        "num_species": Flag(
            int, "species; a quarter of the species are test species", 200, {"minimum": 4, "maximum": 10_000}
        ),
        "images_per_species": Flag(int, "images of each species", 16, {"minimum": 1, "maximum": 10_000}),
        "captions_per_image": Flag(int, CAPTIONS_PER_IMAGE_HELP, 10, {"minimum": 1, "maximum": 100}),
        "seed": Flag(int, "seed of the drawing", 0, {"minimum": 0}),
    },
    collect=draw_synthbirds,
    input_files=lambda options: [],
    image_counts=count_synthbirds,
    aspect=1.0,
    captions_per_image=10,
    words_per_caption=12,
    rate="birds",
    extractors=("species",),
    image_sizes=(32, 863),  # stored at 38 to 1024 px, at which a bird can be drawn
    has_attributes=True,
)
