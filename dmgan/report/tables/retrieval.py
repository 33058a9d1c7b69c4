"""The table of a model that retrieves: metrics under each retrieval method, and memorisation of training images."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from dmgan.errors import UserError
from dmgan.evaluation.memorisation import read_memorisation
from dmgan.options import RETRIEVALS
from dmgan.report.evaluations import Evaluation, Measure, read_evaluation
from dmgan.report.tables.markdown import escape
from dmgan.report.tables.structure import typeset
from dmgan.storage import files
from dmgan.storage.reading import read_text

_BOUNDS = {"random": "random (lower bound)", "oracle": "oracle: the described test image itself (upper bound)"}


def write_retrieval(metrics: Sequence[Path], memorisation: Sequence[Path], out: Path, check: bool = True) -> None:
    """Write retrieval.{md,csv} into the folder `out` from metrics.json and memorisation.json files of one model.

    Raise UserError if files are of several models or data sets, or if two files are of one method and seed.
    check: as in `write_tables`.
    """
    evaluations = _by_method(metrics, check)
    checked = [read_memorisation(path, check) for path in memorisation]
    subjects = [(each.name, each.dataset) for each in evaluations.values()]
    subjects += [(each["subject"]["name"], each["subject"]["dataset"]) for each in checked]
    names = sorted({f"{name} on {dataset}" for name, dataset in subjects})
    if len(names) > 1:
        raise UserError(f"{metrics[0]} and other files: are of {' and '.join(names)}; make separate tables")
    files.write_text(out / "retrieval.md", _markdown(names[0], evaluations, checked))
    files.write_csv(out / "retrieval.csv", [*_metric_rows(evaluations), *_memorisation_rows(checked)])


def retrieval_files(folder: Path) -> tuple[dict[tuple[str, str], Path], list[Path]]:
    """Return the files that the retrieval.csv of a model's folder was made from.

    First {(method, seed as text): metrics.json}, then the memorisation.json files, both in the order of the table.
    Raise UserError if the table cannot be read.
    """
    text = read_text(folder / "retrieval.csv", "make it again: python -m dmgan retrieval-table")
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        methods = dict.fromkeys((row["method"], row["seed"]) for row in rows if row["part"] == "retrieval")
        seeds = dict.fromkeys(row["seed"] for row in rows if row["part"] == "distances")
    except (ValueError, KeyError, csv.Error) as error:
        raise UserError(f"{folder / 'retrieval.csv'}: is not a table of retrieval methods ({error!r})") from error
    found = {}
    for method, seed in methods:
        own = folder / f"seed{seed}" / "retrieval" / method / "metrics.json"
        found[method, seed] = own if own.exists() else folder / f"seed{seed}" / "metrics.json"
    return found, [folder / f"seed{seed}" / "memorisation.json" for seed in seeds]


def _by_method(metrics: Sequence[Path], check: bool) -> dict[tuple[str, int], Evaluation]:
    """Return the evaluations by method and training seed, in the order of the methods."""
    found: dict[tuple[str, int], Evaluation] = {}
    for path in metrics:
        evaluation = read_evaluation(path, check)
        used = evaluation.inputs.get("retrieval")
        if used is None:
            raise UserError(f"{path}: is of a model that does not retrieve; leave it out")
        key = used["method"], evaluation.seed
        if key[0] not in RETRIEVALS:
            raise UserError(f"{path}: its method of retrieval is none of {', '.join(RETRIEVALS)}; evaluate again")
        if key in found:
            raise UserError(f"{path}: another file is also of {key[0]}, seed {key[1]}; give only one file")
        found[key] = evaluation
    return dict(sorted(found.items(), key=lambda item: (RETRIEVALS.index(item[0][0]), item[0][1])))


def _markdown(subject: str, evaluations: dict[tuple[str, int], Evaluation], checked: Sequence[dict]) -> str:
    first = next(iter(evaluations.values()))
    names, used = list(first.metrics), first.inputs["retrieval"]
    lines = [
        f"**Retrieval.** {escape(subject)}: the same weights, captions and noises under each method of retrieval; "
        f"{first.num_images:,} images each, from a memory bank of {used['entries']:,} training images. "
        f"Features: {escape(used['feature_network'])}.",
        "",
        *_grid(
            ["Method", "seed", *names],
            [
                [_BOUNDS.get(method, method), str(seed), *(_shown(each.metrics.get(name)) for name in names)]
                for (method, seed), each in evaluations.items()
            ],
        ),
        "",
        f"± is over {escape(first.metrics[names[0]].spread_over)}. The paper does not print the retrieval formulas; "
        "those used here are in dmgan/models/retrieval.py.",
        "",
        "**Memorisation.** Mean distances; an output that is much nearer to its retrieved image than the real image "
        "would be a copy.",
        "",
    ]
    for each in checked:
        heading = f"{each['subject']['name']}, seed {each['subject']['seed']}, {each['retrieval']['method']}"
        lines += [f"{escape(heading)}:", ""]
        rows = [
            [name, f"{each[part]['mean']['pixels'][name]:.4f}", f"{each[part]['mean']['features'][name]:.4f}"]
            for part in ("distances", "diversity")
            for name in each[part]["mean"]["pixels"]
        ]
        lines += [*_grid(["Distance", "pixels (RMS, of white)", "features (1 - cos)"], rows), ""]
        duplicates = each["duplicates"]
        lines += [
            f"{duplicates['equal_hash']} of {duplicates['test_images']} test images have the hash of a training image "
            f"({escape(duplicates['hash'])}), {duplicates['equal_pixels']} are bit-identical to a training image.",
            "",
        ]
    return "\n".join(lines)


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(line)} |" for line in (map(escape, head), rule, *(map(escape, row) for row in rows))]


def _shown(measure: Measure | None) -> str:
    return "not defined" if measure is None else typeset(f"{measure.value:.4g} ± {measure.spread:.2g}")


_TIDY = dict.fromkeys(("part", "method", "seed", "name", "measure", "value", "spread", "spread_over", "num_images"), "")


def _metric_rows(evaluations: dict[tuple[str, int], Evaluation]) -> list[dict[str, object]]:
    return [
        _TIDY
        | {"part": "retrieval", "method": method, "seed": seed, "name": name, "measure": name}
        | {key: getattr(measure, key) for key in ("value", "spread", "spread_over", "num_images")}
        for (method, seed), each in evaluations.items()
        for name, measure in each.metrics.items()
        if measure is not None
    ]


def _memorisation_rows(checked: Sequence[dict]) -> list[dict[str, object]]:
    rows = []
    for each in checked:
        own = _TIDY | {"method": each["retrieval"]["method"], "seed": each["subject"]["seed"]}
        for part, count in (("distances", "images"), ("diversity", "captions")):
            for kind, values in each[part]["mean"].items():
                rows += [
                    own | {"part": part, "name": name, "measure": kind, "value": value, "num_images": each[part][count]}
                    for name, value in values.items()
                ]
        for name in ("share_equal_hash", "share_equal_pixels"):
            shares = {"value": each["duplicates"][name], "num_images": each["duplicates"]["test_images"]}
            rows.append(own | {"part": "duplicates", "name": name, "measure": "share of test images"} | shares)
    return rows
