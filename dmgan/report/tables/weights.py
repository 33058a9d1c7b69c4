"""Which weights of a training a table row shows: of the last step, or selected on validation images."""

from collections.abc import Iterable, Iterator, Sequence

from dmgan.report.evaluations import RELEASED, Evaluation
from dmgan.report.results import Measured
from dmgan.report.tables.paper_tables import title_of
from dmgan.report.tables.structure import Note

_LAST, _AS_RELEASED, _UNKNOWN = "last step", "as released", "not recorded"
_WITHOUT_STEP = (_LAST, _AS_RELEASED, _UNKNOWN)


def weights_of(runs: Sequence[Evaluation]) -> str:
    """Return the rule by which the weights of a model's runs were chosen, with the chosen step of every seed.

    "" for images of another program, which have no weights here.
    """
    return "; ".join(_rules([run for run in runs if run.kind != "external"]))


def _rules(runs: Sequence[Evaluation]) -> list[str]:
    """Return the different rules of a model's runs, in the order of the seeds."""
    chosen: dict[str, list[int]] = {}
    for run in runs:
        chosen.setdefault(_rule(run), []).append((run.selection or {}).get("step"))
    return [rule if rule in _WITHOUT_STEP else f"{rule} ({_steps(steps)})" for rule, steps in chosen.items()]


def _rule(run: Evaluation) -> str:
    if run.selection is None:
        return _AS_RELEASED if run.name.endswith(RELEASED) else _UNKNOWN
    if run.selection["rule"] == "last":
        return _LAST
    return f"best of {run.selection['snapshots']} snapshots by {run.selection['metric']} on validation images"


def _steps(steps: Sequence[int]) -> str:
    return f"{'step' if len(steps) == 1 else 'steps'} {', '.join(f'{step:,}' for step in steps)}"


def weights_notes(measured: Measured, models: Iterable[str]) -> Iterator[Note]:
    """Yield the note on the weights of those of `models` that were run, grouped by rule."""
    titles: dict[str, list[str]] = {}
    for name in models:
        if weights := weights_of(measured.models.get(name, [])):
            titles.setdefault(weights, []).append(title_of(name))
    if titles:
        entries = "; ".join(f"{rule}: {', '.join(models)}" for rule, models in titles.items())
        of_validation = any("validation" in rule for rule in titles)
        held_out = " Validation images are held out of the training classes; none is a test image."
        yield Note("", f"Weights of this run's models. {entries}.{held_out if of_validation else ''}")
