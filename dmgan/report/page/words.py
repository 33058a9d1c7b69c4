"""Lists, counts and durations in words."""

from collections.abc import Mapping, Sequence


def listed(words: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun, such as "1 epoch" or "8 epochs"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def grouped(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names by their text, in the order of the first name of each text."""
    found: dict[str, list[str]] = {}
    for name, text in texts.items():
        found.setdefault(text, []).append(name)
    return found


def duration(seconds: float) -> str:
    """Return seconds, minutes or hours, with three digits."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
