"""The table of a model that retrieves: its metrics under each method of retrieval, and what it copies."""

from collections.abc import Sequence
from pathlib import Path

from dmgan.errors import UserError
from dmgan.options import RETRIEVALS
from dmgan.storage import files

_HINT = "sample and evaluate the images again"
_BOUNDS = {"random": "random (lower bound)", "oracle": "oracle: the described test image itself (upper bound)"}


def write_retrieval(metrics: Sequence[Path], memorisation: Sequence[Path], out: Path) -> None:
    """Write retrieval.{md,csv} into the folder `out` from metrics.json and memorisation.json files of one model.

    UserError where they are of several models or data sets, or two are of one method and seed.
    """
    evaluated = _evaluated(metrics)
    checked = [files.read_json(path, _HINT) for path in memorisation]
    subjects = [each["subject"] for each in (*evaluated.values(), *checked)]
    names = sorted({f"{each['name']} on {each['dataset']}" for each in subjects})
    if len(names) > 1:
        raise UserError(f"{metrics[0]} and others: are of {' and '.join(names)}; make a table of each")
    files.write_text(out / "retrieval.md", _markdown(names[0], evaluated, checked))
    files.write_csv(out / "retrieval.csv", [*_metric_rows(evaluated), *_memorisation_rows(checked)])


def _evaluated(metrics: Sequence[Path]) -> dict[tuple[str, int], dict]:
    """Contents of metrics.json files by method and training seed, in the order of the methods."""
    found: dict[tuple[str, int], dict] = {}
    for path in metrics:
        content = files.read_json(path, _HINT)
        used = content["inputs"].get("retrieval")
        if used is None:
            raise UserError(f"{path}: is of a model that retrieves nothing; leave it out")
        key = used["method"], content["subject"]["seed"]
        if key in found:
            raise UserError(f"{path}: another file is of {key[0]}, seed {key[1]} too; give one of them")
        found[key] = content
    return dict(sorted(found.items(), key=lambda item: (RETRIEVALS.index(item[0][0]), item[0][1])))


def _markdown(subject: str, evaluated: dict[tuple[str, int], dict], checked: Sequence[dict]) -> str:
    first = next(iter(evaluated.values()))
    names = list(first["metrics"])
    used, count = first["inputs"]["retrieval"], first["subject"]["num_images"]
    lines = [
        f"**Retrieval.** {subject}: the same weights, captions and noises under each method of retrieval; {count:,} "
        f"images each, from a memory of {used['entries']:,} training images. Features: {used['feature_network']}.",
        "",
        *_grid(
            ["Method", "seed", *names],
            [
                [_BOUNDS.get(method, method), str(seed), *(_shown(content["metrics"].get(name)) for name in names)]
                for (method, seed), content in evaluated.items()
            ],
        ),
        "",
        f"± is over {first['metrics'][names[0]]['spread_over']}. The formulas, which the paper does not print, are in "
        "dmgan/models/retrieval.py.",
        "",
        "**Memorisation.** Mean distances; an output much nearer to its retrieved image than a real image is would be "
        "a copy.",
        "",
    ]
    for each in checked:
        lines += [f"{each['subject']['name']}, seed {each['subject']['seed']}, {each['retrieval']['method']}:", ""]
        rows = [
            [name, f"{each[part]['mean']['pixels'][name]:.4f}", f"{each[part]['mean']['features'][name]:.4f}"]
            for part in ("distances", "diversity")
            for name in each[part]["mean"]["pixels"]
        ]
        lines += [*_grid(["Distance", "pixels (RMS, of white)", "features (1 - cos)"], rows), ""]
        twice = each["duplicates"]
        lines += [
            f"{twice['equal_hash']} of {twice['test_images']} test images have the hash of a training image "
            f"({twice['hash']}), {twice['equal_pixels']} are equal to one to the last bit.",
            "",
        ]
    return "\n".join(lines)


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(line)} |" for line in (head, rule, *rows)]


def _shown(metric: dict | None) -> str:
    return "not defined" if metric is None else f"{metric['value']:.4g} ± {metric['spread']:.2g}"


_TIDY = dict.fromkeys(("part", "method", "seed", "name", "measure", "value", "spread", "spread_over", "num_images"), "")


def _metric_rows(evaluated: dict[tuple[str, int], dict]) -> list[dict[str, object]]:
    return [
        _TIDY
        | {"part": "retrieval", "method": method, "seed": seed, "name": name, "measure": name}
        | {key: metric[key] for key in ("value", "spread", "spread_over", "num_images")}
        for (method, seed), content in evaluated.items()
        for name, metric in content["metrics"].items()
        if metric is not None
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
