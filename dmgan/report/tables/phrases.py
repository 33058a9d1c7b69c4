"""Lists in words, for captions and notes."""

from collections.abc import Sequence

from dmgan.report.tables.paper_tables import Results, title_of


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def listed_models(results: Results, metric: str, names: Sequence[str]) -> str:
    """Return the titles of models; "every model" if `names` are all models, three or more."""
    if len(names) > 2 and len(names) == len(results.model_values(metric)):
        return "every model"
    return listed([title_of(name) for name in names])
