"""Attributes of the birds of the embedded data set, and the species as attribute templates."""

from functools import lru_cache

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (208, 28, 36),
    "orange": (246, 128, 16),
    "yellow": (250, 220, 36),
    "green": (36, 148, 60),
    "blue": (34, 84, 208),
    "purple": (118, 44, 160),
    "pink": (248, 150, 190),
    "brown": (122, 72, 34),
    "black": (28, 28, 32),
    "white": (248, 248, 244),
    "grey": (142, 144, 150),
}
HORN_COLOURS = ("red", "orange", "yellow", "pink", "brown", "black", "grey")  # of bills and legs
PATTERNS = ("solid", "striped", "spotted")
LARGE_PARTS = ("crown", "throat", "breast", "belly", "back", "wing", "tail")

_ANY = tuple(COLOURS)
SPECIES_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(LARGE_PARTS, _ANY),
    "bill": HORN_COLOURS,
    "legs": HORN_COLOURS,
    "wing_pattern": PATTERNS,
    "wing_mark": ("none", *_ANY),  # second colour of the pattern, "none" on a solid part
    "breast_pattern": PATTERNS,
    "breast_mark": ("none", *_ANY),
    "bill_shape": ("cone", "medium", "needle", "hooked"),
    "eye_ring": ("none", "white", "yellow", "red"),
    "size": ("small", "medium", "large"),
    "body": ("mixed", *_ANY),  # common colour of at least three of breast, belly, back and wing
}
IMAGE_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "pose": ("wings folded", "wings raised"),
    "background": ("sky", "foliage", "water", "meadow", "snow", "sand"),
}
ATTRIBUTES: dict[str, tuple[str, ...]] = {**SPECIES_ATTRIBUTES, **IMAGE_ATTRIBUTES}

# Derived from other attributes, so it is ignored when species are compared.
_DERIVED = ("body",)
MIN_DIFFERENCE = 4  # attributes in which any two species differ
_MAX_DRAWS = 1000

# Plumage as field guides describe it, with three colours: "upper" for the back, "under" for the belly, and "accent".
# The other parts take one of these colours; a value that is listed n times is n times as probable.
_PLUMAGE = {
    "back": ("upper",),
    "belly": ("under",),
    "crown": ("upper", "upper", "upper", "accent", "accent", "accent", "under"),
    "throat": ("under", "under", "under", "accent", "accent", "upper"),
    "breast": ("under", "under", "under", "accent", "accent", "upper"),
    "wing": ("upper", "upper", "upper", "accent", "accent", "under"),
    "tail": ("upper", "upper", "upper", "accent", "accent", "under"),
}
_PATTERN_CHANCES = ("solid", "solid", "solid", "striped", "spotted")
_MIN_CONTRAST = 250  # sum of absolute RGB differences between a pattern and the part under the pattern

ROLES = {"species": 1, "split": 2, "image": 3, "drawing": 4, "captions": 5}


def stream(seed: int, role: str, index: int = 0) -> np.random.Generator:
    """Return a random generator that depends only on (seed, role, index).

    `role` is a key of ROLES; 0 <= seed < 2**64, 0 <= index < 2**40. The data set uses only `.integers` and `.random`,
    which give the same bits on every platform.
    """
    key = np.array([seed, (ROLES[role] << 40) + index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def pick(rng: np.random.Generator, values):
    """Return one of the values, drawn uniformly."""
    return values[int(rng.integers(len(values)))]


@lru_cache(maxsize=16)
def species_templates(num_species: int, seed: int) -> tuple[dict[str, str], ...]:
    """Return the attribute templates of all species; any two differ in at least MIN_DIFFERENCE drawn attributes.

    The first n templates do not depend on num_species. RuntimeError if too few different species are found.
    """
    drawn = [name for name in SPECIES_ATTRIBUTES if name not in _DERIVED]
    codes = np.zeros((num_species, len(drawn)), dtype=np.int8)
    templates = []
    for class_id in range(num_species):
        rng = stream(seed, "species", class_id)
        for _ in range(_MAX_DRAWS):
            template = _draw_template(rng)
            code = np.array([SPECIES_ATTRIBUTES[name].index(template[name]) for name in drawn], dtype=np.int8)
            differences = (codes[:class_id] != code).sum(axis=1)
            if (differences >= MIN_DIFFERENCE).all():
                break
        else:
            raise RuntimeError(
                f"species {class_id} could not be drawn: no template differs enough from the other species"
            )
        codes[class_id] = code
        templates.append(template)
    return tuple(templates)


def draw_image_attributes(template: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
    """Return the species' template with a random pose and background added."""
    return {**template, **{name: pick(rng, values) for name, values in IMAGE_ATTRIBUTES.items()}}


@lru_cache(maxsize=16)
def held_out_species(num_species: int, test_share: float, seed: int) -> frozenset[int]:
    """Return the class ids of the test split: round(num_species * test_share) random species, at least one."""
    draws = stream(seed, "split").integers(2**62, size=num_species)
    order = np.argsort(draws, kind="stable")
    count = min(max(int(num_species * test_share + 0.5), 1), num_species - 1)
    return frozenset(int(class_id) for class_id in order[:count])


def _draw_template(rng: np.random.Generator) -> dict[str, str]:
    palette = {}
    for role in ("upper", "under", "accent"):
        palette[role] = pick(rng, tuple(colour for colour in _ANY if colour not in palette.values()))
    template = {part: palette[pick(rng, roles)] for part, roles in _PLUMAGE.items()}
    for name in ("bill", "legs", "bill_shape", "eye_ring", "size"):
        template[name] = pick(rng, SPECIES_ATTRIBUTES[name])
    for part in ("wing", "breast"):
        pattern, mark = pick(rng, _PATTERN_CHANCES), pick(rng, _contrasting(template[part]))
        template[f"{part}_pattern"] = pattern
        template[f"{part}_mark"] = "none" if pattern == "solid" else mark
    template["body"] = _body_colour(template)
    return {name: template[name] for name in SPECIES_ATTRIBUTES}


def _contrasting(colour: str) -> tuple[str, ...]:
    def distance(other):
        return sum(abs(a - b) for a, b in zip(COLOURS[colour], COLOURS[other]))

    return tuple(other for other in COLOURS if distance(other) >= _MIN_CONTRAST)


def _body_colour(template: dict[str, str]) -> str:
    colours = [template[part] for part in ("breast", "belly", "back", "wing")]
    return next((colour for colour in colours if colours.count(colour) >= 3), "mixed")
