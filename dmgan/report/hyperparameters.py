"""Hyperparameters in which compared models differ, as the options.json of their runs recorded them.

`sample` copies the options of a run into the manifest of its images, and `evaluate` into metrics.json.
"""

from collections.abc import Callable, Mapping, Sequence

from dmgan.models.registry import MODELS, Entry
from dmgan.report.evaluations import RELEASED, Evaluation

_NO_EFFECT = ("checkpoint_every",)  # on the trained weights
_OTHERS = 4  # so many models or more with one value are "the others"
# Options that some models do not use, by the facts of the registry; a value that is not used is no difference.
_USED_IF: dict[str, Callable[[Entry], bool]] = {
    "damsm_weight": lambda entry: entry.losses.matching,
    "kl_weight": lambda entry: entry.has_augmentation,
    "perceptual": lambda entry: "perceptual" in entry.needs,
    "perceptual_weight": lambda entry: "perceptual" in entry.needs,
    "caption_weight": lambda entry: "captioner" in entry.needs,
    "r1_gamma": lambda entry: entry.losses.r1,
    "feature_network": lambda entry: entry.retrieves,
    **dict.fromkeys(("gamma1", "gamma2", "gamma3"), lambda entry: entry.losses.matching),
}


def recorded_options(model: str, run: Evaluation) -> dict[str, object]:
    """Return the options by which a model was trained and sampled; empty if its metrics.json has none.

    model: its name in the registry, with suffix RELEASED if imported.
    """
    entry = MODELS.get(model.removesuffix(RELEASED))
    options = run.inputs.get("hyperparameters", {})
    unused = {name for name, used in _USED_IF.items() if entry is not None and not used(entry)}
    return {name: value for name, value in options.items() if name not in unused and name not in _NO_EFFECT}


def differences(models: Mapping[str, Sequence[Evaluation]], title: Callable[[str], str]) -> list[str]:
    """Return the hyperparameters that differ between models, one line per group that divides the models alike.

    models: the evaluations of each model, one per seed of training; title: a model's name -> its title.
    """
    options = {name: _over_seeds([recorded_options(name, run) for run in runs]) for name, runs in models.items()}
    groups: dict[tuple, list[str]] = {}  # models by value -> options
    for option in dict.fromkeys(option for each in options.values() for option in each):
        values = {name: each[option] for name, each in options.items() if option in each}
        if len(set(values.values())) > 1:
            kinds = list(dict.fromkeys(values.values()))
            division = tuple(tuple(name for name, value in values.items() if value == kind) for kind in kinds)
            groups.setdefault(division, []).append(option)
    return [_line(division, names, options, title) for division, names in groups.items()]


def hyperparameter_notes(models: Mapping[str, Sequence[Evaluation]], title: Callable[[str], str]) -> list[str]:
    """Return the notes on hyperparameters under a table of models; arguments as in `differences`.

    Methods whose images another program made have no hyperparameters here, and are left out.
    """
    models = {name: runs for name, runs in models.items() if runs[0].kind != "external"}
    if len(models) < 2:
        return []
    lines = [f"Hyperparameters that differ: {each}." for each in differences(models, title)]
    unknown = without_record(models)
    if unknown:
        lines.append(f"Hyperparameters not recorded, or not all: {', '.join(map(title, unknown))}.")
    return lines or ["All models of this table have the same hyperparameters."]


def without_record(models: Mapping[str, Sequence[Evaluation]]) -> list[str]:
    """Return the models of whose training options none, or not all, are recorded."""
    names = {name: [set(run.inputs.get("hyperparameters", {})) for run in runs] for name, runs in models.items()}
    every = set().union(*(each for runs in names.values() for each in runs))
    return [name for name, runs in names.items() if any(not each or each < every for each in runs)]


def _over_seeds(runs: Sequence[Mapping[str, object]]) -> dict[str, tuple[str, ...]]:
    """Return the different values of each option over the seeds of a model, as they are printed."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: tuple(dict.fromkeys(_shown(run[name]) for run in runs if name in run)) for name in names}


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _line(
    division: tuple[tuple[str, ...], ...],
    names: Sequence[str],
    options: Mapping[str, Mapping[str, tuple[str, ...]]],
    title: Callable[[str], str],
) -> str:
    """Return a line such as "discriminator_lr 0.001 (DM-GAN); discriminator_lr 0.0004 (AttnGAN)"."""
    parts, largest = [], max(division, key=len)
    others = largest if len(largest) >= _OTHERS else None
    for models in sorted(division, key=lambda each: each is others):  # stable: the others last
        values = ", ".join(f"{name} {' and '.join(options[models[0]][name])}" for name in names)
        parts.append(f"{values} ({'the others' if models is others else ', '.join(map(title, models))})")
    return "; ".join(parts)
