"""Model card of a run folder: README.md with the metadata that model hubs read.

It is written when a training or an import is finished, and again when the generator's images are evaluated. All facts
come from options.json, dataset.json, metrics.json and the registry.
"""

from collections.abc import Mapping
from pathlib import Path
from string import Template

import yaml

from dmgan.data.sources.table import SOURCES, citations_of, find_source
from dmgan.errors import UserError, one_line
from dmgan.models.registry import Entry, find
from dmgan.runtime.bibliography import LIBRARIES, SOFTWARE, bibtex
from dmgan.runtime.bibliography import find as find_references
from dmgan.runtime.progress import log
from dmgan.storage import files
from dmgan.storage.reading import check_entries, read_object
from dmgan.training.run_folder import OPTIONS, WEIGHTS

CARD = "README.md"
METRICS = "metrics.json"  # that `evaluate` writes
_ENCODERS = "xu2018attngan"  # paper of the DAMSM
_EVALUATION = {  # entries of metrics.json that are read, as in dmgan.storage.reading.read_object
    "inputs": dict, "subject": {"dataset": str}, "metrics": dict, "provenance": {"commit": str},
}  # fmt: skip
_METRIC = {"value": float, "interval": [float], "num_images": int, "protocol": dict}
_SHOWN_OPTIONS = ("architecture", "training", "gammas")  # entries of options.json
_OPEN_LICENCE = "mit"  # of weights that were trained on images of this project; other images have terms of their own
_TEXT = Template("""
# $title, trained on $data

A generator of images from text, trained and measured by dmgan-reproduction: $sizes px, $stages.

**Paper.** $paper

## Training

$training

| option | value |
|---|---|
$options

## Metrics

$metrics

## Limits

$limits

## How to load

```python
import dmgan

model = dmgan.load("$address")
image = model.generate("$caption")[0].image
```

$encoder

## Citation

```bibtex
$bibtex```
""")
_LIMITS = """\
- Images of other things than those of the training data, and words outside the encoder's vocabulary, are not learned:
  unknown words are left out.
- One training with one seed: the intervals say nothing of the spread over seeds.
- Numbers compare only with numbers of the same protocol: feature network, reference images, number of images, resize.
- R-precision by the DAMSM that trained the generator favours the generator.
- Not for decisions about people, and not for images that are presented as photographs."""


_INCLUDED = "The folder `damsm/` holds the text encoder that the model was trained with."
_PUBLISH = Template(
    "The model also needs the text encoder that it was trained with, which `options.json` names. `python -m dmgan "
    "hub-push $run OWNER/NAME` publishes both; then load `hub:OWNER/NAME`."
)


def write_model_card(run: Path) -> None:
    """Write README.md of a finished run folder of a generator, atomically."""
    files.write_text(Path(run) / CARD, model_card(run))


def model_card(run: Path, repository: str | None = None) -> str:
    """Return the text of a run's model card; repository: OWNER/NAME on a hub that the folder is published as.

    UserError if options.json is missing or damaged.
    """
    run = Path(run)
    hint = "give the folder of a finished training, such as results/synthbirds/dmgan/seed0"
    written = read_object(run / OPTIONS, hint, {})
    try:
        return _text(run, written, repository)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{run / OPTIONS}: was not written by training ({error!r}); {hint}") from error


def _text(run: Path, written: Mapping, repository: str | None) -> str:
    """Return the card of a run with these options."""
    entry, dataset, evaluation = find(written["model"]), _dataset(run, written), _evaluation(run)
    metadata = yaml.safe_dump(_metadata(written, dataset, evaluation), sort_keys=False, allow_unicode=True, width=1000)
    architecture = written["architecture"]
    sides = [architecture["base_size"] << stage for stage in range(architecture["stages"])]
    keys = {SOFTWARE, _ENCODERS, *LIBRARIES, *filter(None, [entry.citation]), *_published(dataset)}
    stages = "1 stage" if len(sides) == 1 else f"{len(sides)} stages of {', '.join(map(str, sides))} px"
    text = _TEXT.substitute(
        title=entry.title + (" (released weights)" if written.get("imported") else ""),
        data=_cell(_data_name(written, dataset, evaluation)),
        sizes=f"{sides[-1]} × {sides[-1]}",
        stages=stages,
        paper=_paper(entry),
        training=_training(written, dataset),
        options="\n".join(f"| {name} | {_cell(value)} |" for name, value in _options(written).items()),
        metrics=_metrics(evaluation),
        limits=_LIMITS,
        address=run.as_posix() if repository is None else f"hub:{repository}",
        encoder=_PUBLISH.substitute(run=run.as_posix()) if repository is None else _INCLUDED,
        caption="a small red bird with a white belly",
        bibtex=bibtex(keys),
    )
    return f"---\n{metadata}---\n{text}"


def _metadata(written: Mapping, dataset: Mapping | None, evaluation: Mapping | None) -> dict[str, object]:
    """Return the metadata block, in the format of Hugging Face's model cards."""
    name = _data_name(written, dataset, evaluation)
    own_images = dataset is not None and dataset["source"]["name"] in SOURCES and _is_own(dataset)
    licence = {"license": _OPEN_LICENCE}
    if not own_images:
        licence = {"license": "other", "license_name": "terms-of-the-training-images"}
    found = {
        **licence,
        "language": ["en"],
        "library_name": "dmgan",
        "pipeline_tag": "text-to-image",
        "tags": ["text-to-image", "gan", written["model"]],
        "datasets": [name],
    }
    if evaluation is None:
        return found
    metrics = evaluation["metrics"].items()
    subject = evaluation["subject"]
    result = {
        "task": {"type": "text-to-image", "name": "text-to-image generation"},
        "dataset": {"type": subject["dataset"], "name": subject["dataset"], "split": "test"},
        "metrics": [
            {"type": _kind(key), "name": key, "value": each["value"], "verified": False}
            for key, each in metrics
            if each is not None
        ],
    }
    found["metrics"] = list(dict.fromkeys(_kind(key) for key, _ in metrics))
    return {**found, "model-index": [{"name": f"{written['model']} on {name}", "results": [result]}]}


def _kind(key: str) -> str:
    """Return the metric of a key of metrics.json in lower case, such as fid of FID(species)."""
    return key.partition("(")[0].lower().replace(" ", "-")


def _is_own(dataset: Mapping) -> bool:
    """Return whether this project made the images: a source that reads no file."""
    return not any(flag.is_input for flag in find_source(dataset["source"]["name"]).flags.values())


def _dataset(run: Path, written: Mapping) -> Mapping | None:
    """Return dataset.json of the training data; None if it is not there, or was made again."""
    if "data_folder" not in written:
        return None
    path = run / written["data_folder"] / "dataset.json"
    if not path.exists():
        return None
    try:
        found = files.read_json(path, "prepare it again")
    except UserError as error:
        log(f"{error}; the model card leaves the data set out")
        return None
    return found if isinstance(found, dict) and found.get("sha256") == written["inputs"]["data"] else None


def _evaluation(run: Path) -> Mapping | None:
    """Return metrics.json of this generator: in the run folder, or beside an imported one; None if there is none."""
    for path in (run / METRICS, run.parent / METRICS):
        if not path.exists():
            continue
        hint = "evaluate again"
        try:
            found = read_object(path, hint, _EVALUATION)
            measured = [each for each in found["metrics"].values() if each is not None]
            check_entries(measured, [_METRIC], path, hint)
            if any(len(each["interval"]) != 2 for each in measured):
                raise UserError(f"{path}: is damaged (an interval has not two ends); {hint}")
        except UserError as error:
            log(f"{error}; the model card leaves its metrics out")
            continue
        if found["inputs"].get("generator_sha256") == files.file_sha256(run / WEIGHTS):
            return found
    return None


def _data_name(written: Mapping, dataset: Mapping | None, evaluation: Mapping | None) -> str:
    if dataset is not None:
        return dataset.get("name") or dataset["source"]["name"]
    if evaluation is not None and not written.get("imported"):
        return evaluation["subject"]["dataset"]
    return "the data of its release" if written.get("imported") else "an unnamed data set"


def _published(dataset: Mapping | None) -> tuple[str, ...]:
    """Return the bibliography's keys of the data set."""
    published = None if dataset is None else find_source(dataset["source"]["name"]).published
    return () if published is None else citations_of(published.title)


def _paper(entry: Entry) -> str:
    return find_references([entry.citation])[0].plain() if entry.citation else "A model of this project's user."


def _training(written: Mapping, dataset: Mapping | None) -> str:
    """Return the paragraph on data, seed, code and cost."""
    if written.get("imported"):
        origin = written["imported_from"]["generator"]
        return f"Not trained here: imported from `{origin['file']}` (SHA-256 `{origin['sha256']}`)."
    words = []
    if dataset is not None:
        images = dataset["images"]
        words.append(
            f"{images['train']:,} training and {images['test']:,} test images of the source "
            f"`{dataset['source']['name']}`, {dataset['captions']:,} captions, {dataset['vocabulary']:,} words."
        )
    made = written["provenance"]
    words.append(f"Seed {written['seed']}; code of commit `{made['commit']}`.")
    if "cost" in made:
        cost = made["cost"]
        words.append(f"{cost['devices']} × {cost['device']}, {cost['device_hours']:.3g} device-hours.")
    selection = written.get("selection") or {"rule": "last"}
    words.append(f"Weights: `{selection['rule']}`" + (f", step {selection['step']:,}." if "step" in selection else "."))
    return " ".join(words)


def _options(written: Mapping) -> dict[str, object]:
    """Return the options to show by name; of imported weights only those that are known."""
    unknown = set(written.get("not_known", ()))
    blocks = {name: written.get(name) or {} for name in _SHOWN_OPTIONS}
    return {
        f"`{option}`": value
        for name, block in blocks.items()
        for option, value in block.items()
        if f"{name}.{option}" not in unknown
    }


def _metrics(evaluation: Mapping | None) -> str:
    """Return the table of metrics with their protocol."""
    if evaluation is None:
        return "Not measured yet: `python -m dmgan sample` and `python -m dmgan evaluate` add them here."
    rows = [
        "| metric | value | 95 % interval | images | feature network | compared with |",
        "|---|---|---|---|---|---|",
    ]
    for key, each in evaluation["metrics"].items():
        if each is not None:
            low, high = each["interval"]
            protocol = each["protocol"]
            cells = [key, f"{each['value']:.4g}", f"{low:.4g} to {high:.4g}", f"{each['num_images']:,}"]
            cells += [protocol.get("feature_network", "-"), protocol.get("reference", "-")]
            rows.append(f"| {' | '.join(map(_cell, cells))} |")
    made = evaluation["provenance"]
    return "\n".join([*rows, "", f"Measured by commit `{made['commit']}`; `{METRICS}` holds the whole protocol."])


def _cell(value: object) -> str:
    """Return a value for Markdown: a cell of a table, or a part of a line; it begins no element of HTML."""
    return one_line(str(value).replace("\n", " ").replace("|", "\\|").replace("<", "\\<"))
