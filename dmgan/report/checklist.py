"""The machine learning reproducibility checklist (Pineau et al., version 2.0), answered from the facts of what was run.

`checklist_items` returns the items as data, for any page; `write_checklist` writes them as Markdown.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.evaluation.metrics.table import facts_of
from dmgan.models.registry import MODELS
from dmgan.report.citations import citation_keys
from dmgan.report.evaluations import RELEASED, Evaluation, metric_of, read_evaluation
from dmgan.runtime.bibliography import find
from dmgan.storage import files
from dmgan.storage.reading import read_object

CHECKLIST = "checklist.md"
YES, PARTLY, NO = "yes", "partly", "no"
_SIGNS = {YES: "[x]", PARTLY: "[~]", NO: "[ ]"}
_HINT = "make the results again"


class Item(NamedTuple):
    """A question of the checklist, its answer, and the facts behind the answer."""

    section: str
    question: str
    answer: str  # YES, PARTLY or NO
    facts: str


class _Facts:
    """What the results record: evaluations, the options.json of their runs, and dataset.json."""

    def __init__(self, metrics: Sequence[Path], data: Path):
        self.evaluations = [read_evaluation(Path(path)) for path in metrics]
        self.dataset = read_object(Path(data) / "dataset.json", "prepare the data set again", {})
        self.measured = [read_object(each.file, _HINT, {}) for each in self.evaluations]
        self.runs = [run for each in self.models if (run := _options_of(each.file)) is not None]

    @property
    def models(self) -> list[Evaluation]:
        """Evaluations of models."""
        return [each for each in self.evaluations if each.kind == "model"]

    @property
    def seeds(self) -> dict[str, list[int | None]]:
        """Seeds of training by model."""
        found: dict[str, list[int | None]] = {}
        for each in self.models:
            if not each.made_for:
                found.setdefault(each.name, []).append(each.seed)
        return found

    def provenance(self) -> list[Mapping]:
        """Return the provenance of every run and every evaluation."""
        return [each["provenance"] for each in [*self.runs, *self.measured] if each.get("provenance")]


def _options_of(metrics: Path) -> Mapping | None:
    """Return options.json of the run whose images were measured; None if it is not beside metrics.json."""
    for path in (metrics.parent / "options.json", metrics.parent / "run" / "options.json"):
        if path.exists():
            return read_object(path, _HINT, {})
    return None


def write_checklist(metrics: Sequence[Path], data: Path, out: Path) -> None:
    """Write checklist.md of metrics.json files of one data set into the folder `out`."""
    lines, section = ["# Reproducibility checklist", ""], None
    lines += ["Answered from the files of this run; [x] yes, [~] partly, [ ] no.", ""]
    for item in checklist_items(metrics, data):
        if item.section != section:
            section = item.section
            lines += [*([""] if lines[-1] else []), f"## {section}", ""]
        lines.append(f"- {_SIGNS[item.answer]} **{item.question}** {item.facts}")
    files.write_text(Path(out) / CHECKLIST, "\n".join(lines) + "\n")


def checklist_items(metrics: Sequence[Path], data: Path) -> list[Item]:
    """Return the items of the checklist; UserError if a file is missing or damaged."""
    facts = _Facts(metrics, data)
    try:
        return [*_of_models(facts), *_of_data(facts), *_of_code(facts), *_of_results(facts)]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{data}: a result has no entry {error}; {_HINT}") from error


def _of_models(facts: _Facts) -> list[Item]:
    papers = [each.plain() for each in find(_cited_models(facts))]
    return [
        Item(
            "Models and algorithms", "A clear description of the models?", YES,
            f"{', '.join(_titles(facts))}; equations in docs/models.md. Papers: {' '.join(papers)}",
        ),
        Item(
            "Models and algorithms", "A clear explanation of the assumptions?", YES,
            "Differences between paper and released code are in docs/paper-and-release.md and baselines/README.md.",
        ),
        Item("Models and algorithms", "An analysis of the complexity?", *_cost(facts)),
    ]  # fmt: skip


def _of_data(facts: _Facts) -> list[Item]:
    dataset, images = facts.dataset, facts.dataset["images"]
    decisions = dataset.get("decisions", [])
    held_out = {run["training"].get("validation_images", 0) for run in facts.runs if _validates(run)}
    validation = f"{max(held_out):,} training images are held out for validation" if held_out else "none is held out"
    source = ", ".join(f"{name} {value}" for name, value in dataset["source"].items() if value is not None)
    hashes = ", ".join(f"{name} {sha256[:12]}" for name, sha256 in dataset["sha256"].items())
    return [
        Item(
            "Data", "The relevant statistics, such as number of examples?", YES,
            f"{images['train']:,} training and {images['test']:,} test images, {dataset['captions']:,} captions, "
            f"{dataset['vocabulary']:,} words, {dataset['image_size']} px.",
        ),
        Item(
            "Data", "The details of train, validation and test splits?", YES,
            f"Split by {_split_rule(dataset)}; of the training images {validation}.",
        ),
        Item(
            "Data", "An explanation of excluded data, and of all pre-processing?", YES,
            f"{len(decisions):,} decisions on irregular images in dataset.json; docs/data.md says how images are read.",
        ),
        Item("Data", "A link to a downloadable version?", YES, f"Source: {source}. SHA-256: {hashes}."),
    ]  # fmt: skip


def _of_code(facts: _Facts) -> list[Item]:
    commits = sorted({str(each["commit"]) for each in facts.provenance()})
    changed = [each for each in commits if each.endswith("+changes") or each == "unknown"]
    commands = [" ".join(run["provenance"]["command"]) for run in facts.runs]
    return [
        Item("Code", "The dependencies?", YES, f"requirements.lock, with hashes; used: {_versions(facts)}."),
        Item(
            "Code", "Training code and evaluation code?",
            YES if commits and not changed else PARTLY,
            f"Commits: {', '.join(commits) or 'not recorded'}."
            + (" Files of some jobs differed from the commit, or it is not known." if changed else ""),
        ),
        Item(
            "Code", "Trained models?", YES if facts.runs else NO,
            f"generator.safetensors of {len(facts.runs)} runs, with README.md, options.json and SHA-256.",
        ),
        Item(
            "Code", "The command that gives the results?", YES if commands else PARTLY,
            f"`{commands[0]}`, and the same in options.json and metrics.json of every other result."
            if commands
            else "The command is in metrics.json; the run folders are not beside it.",
        ),
    ]  # fmt: skip


def _of_results(facts: _Facts) -> list[Item]:
    seeds = facts.seeds
    fewest = min(map(len, seeds.values()), default=0)
    names = dict.fromkeys(metric_of(key) for each in facts.evaluations for key in each.metrics)
    measures = ", ".join(f"{name} ({facts_of(name).library})" for name in names)
    rules = sorted({(run.get("selection") or {"rule": "last"})["rule"] for run in facts.runs})
    counts = ", ".join(f"{name} {len(each)}" for name, each in seeds.items())
    return [
        Item(
            "Results", "The range of hyperparameters considered, and how the best were chosen?",
            PARTLY,
            "Every value is in options.json. The project did not search for values; they are those of the papers' "
            f"releases or of the configuration. Weights: {', '.join(rules) or 'not recorded'}.",
        ),
        Item("Results", "The exact number of training and evaluation runs?", YES, f"Trainings: {counts or 'none'}."),
        Item("Results", "A clear definition of the measures?", YES, f"{measures}; protocol in metrics.json."),
        Item(
            "Results", "Central tendency and variation?", YES if fewest > 1 else PARTLY,
            f"Folds and a 95 % interval of every image set; {_over_seeds(fewest)}",
        ),
        Item("Results", "The average run time, or the energy cost?", *_cost(facts)),
        Item("Results", "A description of the computing infrastructure?", *_machines(facts)),
    ]  # fmt: skip


def _over_seeds(fewest: int) -> str:
    if fewest > 1:
        return f"spread over the seeds of training, {fewest} or more of every model."
    return "a model has one seed of training only, so nothing is said of the spread over trainings."


def _titles(facts: _Facts) -> list[str]:
    """Return the titles of the models that were run."""
    names = dict.fromkeys(each.name.removesuffix(RELEASED) for each in facts.models)
    return [MODELS[name].title if name in MODELS else name for name in names]


def _cited_models(facts: _Facts) -> set[str]:
    """Return the bibliography's keys of the models' papers."""
    return {entry.citation for entry in MODELS.values()} & citation_keys(facts.models)


def _validates(run: Mapping) -> bool:
    return bool(run.get("training", {}).get("evaluate_every"))


def _split_rule(dataset: Mapping) -> str:
    classes = dataset["classes"]
    if classes is None:
        return "image"
    return f"class ({classes['train']:,} training and {classes['test']:,} test classes)"


def _versions(facts: _Facts) -> str:
    found: dict[str, set[str]] = {}
    for each in facts.provenance():
        for package, version in each["versions"].items():
            found.setdefault(package, set()).add(version)
    return ", ".join(f"{package} {' or '.join(sorted(each))}" for package, each in found.items()) or "not recorded"


def _cost(facts: _Facts) -> tuple[str, str]:
    """Return answer and facts on time."""
    costs = [run["provenance"]["cost"] for run in facts.runs if "cost" in run.get("provenance", {})]
    if not costs:
        return NO, "The cost of the trainings is not recorded; trainings of this version record it."
    hours = [each["device_hours"] for each in costs]
    text = (
        f"{len(costs)} trainings, {statistics.mean(hours):.3g} device-hours on average, {sum(hours):.3g} together; "
        f"peak RAM {max(each['peak_memory']['ram_bytes'] for each in costs) / 1e9:.2g} GB"
    )
    gpu = [each["peak_memory"]["gpu_bytes"] for each in costs if "gpu_bytes" in each["peak_memory"]]
    text += f", peak GPU memory {max(gpu) / 1e9:.2g} GB." if gpu else "."
    return (YES if len(costs) == len(facts.runs) else PARTLY), text


def _machines(facts: _Facts) -> tuple[str, str]:
    """Return answer and facts on devices and systems."""
    devices = sorted({f"{c['devices']} × {c['device']}" for each in facts.provenance() if (c := each.get("cost"))})
    systems = sorted({" ".join(each["machine"].values()) for each in facts.provenance()})
    if not devices:
        return PARTLY, f"{', '.join(systems) or 'Not recorded'}; the devices are not recorded."
    return YES, f"{', '.join(devices)}; {', '.join(systems)}."
