"""The embedded data set: the same bits everywhere, true captions, colours that are really there."""

import hashlib
import itertools
import multiprocessing
import pickle
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from dmgan.data.sources.synthbirds import attributes
from dmgan.data.sources.synthbirds.attributes import ATTRIBUTES, COLOURS, LARGE_PARTS, MIN_DIFFERENCE, stream
from dmgan.data.sources.synthbirds.birds import SynthBirds
from dmgan.data.sources.synthbirds.captions import MAX_WORDS, MIN_WORDS, named_attributes
from dmgan.data.sources.synthbirds.drawing import draw_bird
from dmgan.errors import UserError

GOLDEN_INDICES = (0, 777, 3199)
GOLDEN_IMAGES = "cb375d27e7c0f72c09912f898620e174ca619ea1ba612b4313b5420006636916"
GOLDEN_CAPTIONS = "2504c0c4dba841e1216e2a0b17cb7c7656045d70a793ac8deb09808f3e30754c"


@pytest.fixture(scope="module")
def birds():
    """One image of each of the 200 species."""
    full = SynthBirds()
    return [full[class_id * 16 + class_id % 16] for class_id in range(200)]


def digests(options: SynthBirds, indices) -> tuple[str, str]:
    """sha256 of the images' bytes and of the captions' text."""
    examples = [options[index] for index in indices]
    images = b"".join(example.image.tobytes() for example in examples)
    captions = "\n".join(caption for example in examples for caption in example.captions)
    return hashlib.sha256(images).hexdigest(), hashlib.sha256(captions.encode()).hexdigest()


def distance(a, b) -> int:
    return sum(abs(int(x) - int(y)) for x, y in zip(a, b, strict=True))


# The same bits


def test_bits_are_pinned():
    assert digests(SynthBirds(), GOLDEN_INDICES) == (GOLDEN_IMAGES, GOLDEN_CAPTIONS)


@pytest.mark.slow
def test_a_fresh_process_draws_the_same_bits_in_any_order():
    options = pickle.loads(pickle.dumps(SynthBirds()))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        backwards = pool.apply(digests, (options, GOLDEN_INDICES[::-1]))
    assert backwards == digests(SynthBirds(), GOLDEN_INDICES[::-1])
    assert digests(SynthBirds(), GOLDEN_INDICES) == (GOLDEN_IMAGES, GOLDEN_CAPTIONS)


def test_another_seed_gives_another_set():
    images, captions = digests(SynthBirds(seed=1), GOLDEN_INDICES)
    assert images != GOLDEN_IMAGES and captions != GOLDEN_CAPTIONS


def test_an_image_does_not_hang_on_how_many_there_are():
    small, large = SynthBirds(num_species=20, images_per_species=2, captions_per_image=3), SynthBirds()
    ours, theirs = small[2 * 7 + 1], large[16 * 7 + 1]
    assert ours.name == theirs.name
    assert np.array_equal(ours.image, theirs.image)
    assert ours.captions == theirs.captions[:3]


# Species and split


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_species", "share", "expected"), [(200, 0.25, 50), (10, 0.3, 3), (2, 0.01, 1), (2, 0.99, 1)]
)
def test_split_is_by_species(num_species, share, expected):
    options = SynthBirds(num_species, images_per_species=2, captions_per_image=1, image_size=38, test_share=share)
    splits: dict[int, set[str]] = {}
    for example in options:
        splits.setdefault(example.class_id, set()).add(example.split)
    assert sorted(splits) == list(range(num_species))
    assert all(len(split) == 1 for split in splits.values())
    assert sum(split == {"test"} for split in splits.values()) == expected


def test_any_two_species_differ():
    options = SynthBirds()
    species = [options.species(class_id) for class_id in range(200)]
    drawn = [name for name in species[0] if name != "body"]  # body follows from the others
    codes = np.array([[ATTRIBUTES[name].index(each[name]) for name in drawn] for each in species])
    differences = (codes[:, None] != codes[None]).sum(axis=2)
    assert differences[~np.eye(200, dtype=bool)].min() >= MIN_DIFFERENCE


def test_species_are_drawn_again_until_they_differ(monkeypatch):
    def least_difference():
        templates = attributes.species_templates.__wrapped__(60, seed=0)  # past the cache
        drawn = [name for name in templates[0] if name != "body"]
        return min(sum(a[name] != b[name] for name in drawn) for a, b in itertools.combinations(templates, 2))

    by_chance = least_difference()
    monkeypatch.setattr(attributes, "MIN_DIFFERENCE", by_chance + 2)
    assert least_difference() == by_chance + 2


def test_every_colour_comes_on_every_large_part():
    options = SynthBirds()
    for part in LARGE_PARTS:
        assert {options.species(class_id)[part] for class_id in range(200)} == set(COLOURS)


def test_attributes_are_complete_and_known(birds):
    for bird in birds:
        assert bird.attributes.keys() == ATTRIBUTES.keys()
        assert all(value in ATTRIBUTES[name] for name, value in bird.attributes.items())
        assert SynthBirds().species(bird.class_id).items() <= bird.attributes.items()


# Captions


def test_every_caption_is_true_and_names_enough(birds):
    for bird in birds:
        for caption in bird.captions:
            named = named_attributes(caption)
            assert named.items() <= bird.attributes.items(), caption
            assert 3 <= len(named) <= 5, caption
            assert sum(part in named for part in LARGE_PARTS) >= 2, caption


def test_a_caption_with_another_colour_is_not_true(birds):
    following = dict(zip(COLOURS, (*list(COLOURS)[1:], "red"), strict=True))
    for bird in birds:
        for caption in bird.captions:
            caption = caption.replace("gray", "grey")
            colour = next(colour for colour in COLOURS if re.search(rf"\b{colour}\b", caption))
            changed = re.sub(rf"\b{colour}\b", following[colour], caption)
            assert not named_attributes(changed).items() <= bird.attributes.items(), changed


@pytest.mark.parametrize(
    ("caption", "named"),
    [
        ("This bird has a bright red crown, a white belly and a short pointed orange beak.",
         {"crown": "red", "belly": "white", "bill_shape": "cone", "bill": "orange"}),
        ("a small black bird with yellow wingbars and a gray chest",
         {"size": "small", "body": "black", "wing_pattern": "striped", "wing_mark": "yellow", "breast": "grey"}),
        ("the head and wings of this big bird are deep blue, and it has a yellow breast with black spots",
         {"size": "large", "crown": "blue", "wing": "blue", "breast": "yellow", "breast_pattern": "spotted",
          "breast_mark": "black"}),
        ("a bird whose tail is green, with a white eye ring and a pink back and throat.",
         {"tail": "green", "eye_ring": "white", "back": "pink", "throat": "pink"}),
    ],
)  # fmt: skip
def test_captions_are_read_back(caption, named):
    assert named_attributes(caption) == named


def test_captions_are_of_one_manner(birds):
    captions = [caption for bird in birds for caption in bird.captions]
    words = [caption.lower().replace(",", "").rstrip(".").split() for caption in captions]
    assert all(MIN_WORDS <= len(each) <= MAX_WORDS for each in words)
    vocabulary = {word for each in words for word in each}
    assert 80 <= len(vocabulary) <= 150
    assert not {"left", "right"} & vocabulary  # training flips the images
    assert not any(re.search(r"\ba [aeiou]|\ban [^aeiou]", caption.lower()) for caption in captions)
    for bird in birds:
        assert len({caption.lower().rstrip(".") for caption in bird.captions}) == 10


def test_an_image_can_have_a_hundred_captions():
    captions = SynthBirds(num_species=2, images_per_species=1, captions_per_image=100)[0].captions
    assert len(set(captions)) == 100


# Images


@pytest.mark.parametrize("part", LARGE_PARTS)
def test_a_part_shows_its_colour(birds, part):
    """What another colour of the part would change is, at 64 px, 40 pixels or more, the most of them as named."""
    for bird in birds[::20]:
        true = bird.attributes[part]
        other = max(COLOURS, key=lambda colour: distance(COLOURS[colour], COLOURS[true]))
        # The two drawings share all their random numbers.
        shown, changed = (
            draw_bird({**bird.attributes, part: colour}, 64, stream(0, "drawing", bird.class_id)).astype(int)
            for colour in (true, other)
        )
        pixels = shown[np.abs(shown - changed).sum(axis=2) > 100]
        assert len(pixels) >= 40, bird.name
        nearest = Counter(min(COLOURS, key=lambda colour: distance(COLOURS[colour], pixel)) for pixel in pixels)
        (colour, count), *_ = nearest.most_common()
        assert colour == true and count >= 25, (bird.name, nearest)


def test_colours_stay_apart():
    for one, other in itertools.combinations(COLOURS, 2):
        assert distance(COLOURS[one], COLOURS[other]) >= 100, (one, other)


@pytest.mark.parametrize("image_size", [38, 77, 304])
def test_any_size_shows_the_same_bird(image_size):
    images = [SynthBirds(image_size=size)[5].image for size in (image_size, 76)]
    assert images[0].shape == (image_size, image_size, 3) and images[0].dtype == np.uint8
    at_38 = [np.asarray(Image.fromarray(image).resize((38, 38), Image.BOX), dtype=float) for image in images]
    assert np.abs(at_38[0] - at_38[1]).mean() < 4
    other = np.asarray(Image.fromarray(SynthBirds()[6].image).resize((38, 38), Image.BOX), dtype=float)
    assert np.abs(at_38[0] - other).mean() > 10


def test_images_of_a_species_vary():
    options = SynthBirds(num_species=2)
    examples = [options[index] for index in range(16)]
    assert len({example.image.tobytes() for example in examples}) == 16
    assert len({example.attributes["background"] for example in examples}) > 2
    assert {example.attributes["pose"] for example in examples} == set(ATTRIBUTES["pose"])


# Options


@pytest.mark.parametrize(
    ("option", "value"),
    [("num_species", 1), ("num_species", 2.5), ("images_per_species", 0), ("captions_per_image", 0), ("image_size", 37),
     ("image_size", True), ("seed", -1), ("test_share", 0.0), ("test_share", 1), ("test_share", "half")],
)  # fmt: skip
def test_an_option_out_of_range_is_named(option, value):
    with pytest.raises(UserError, match=f"{option} is {value!r}; give"):
        SynthBirds(**{option: value})


def test_an_index_out_of_range_is_refused():
    options = SynthBirds(num_species=2, images_per_species=3)
    assert len(options) == 6
    for index in (-1, 6):
        with pytest.raises(IndexError):
            options[index]
    with pytest.raises(IndexError):
        options.species(2)
