"""Estimate the cost of a configuration before a run: steps, hours by measured rates, disk space.

python workflow/plan.py [--configfile FILE] [--rates FILE] [--tflops SPEED]
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # a script only finds modules in its own folder

from dmgan.errors import UserError
from dmgan.runtime.output import exit_at_closed_pipe
from workflow.configuration import read_configuration
from workflow.costs import Cost, costs
from workflow.rates import RATES, Rate, measured_name, read_rates

_FASTEST = 1_000_000  # TFLOP/s of no device


def hours(cost: Cost, rates: dict[tuple[str, str], Rate]) -> float | None:
    """Return the hours of a rule's jobs in sequence, by the rate of network and engine; None if not measured."""
    rate = rates.get((cost.stage, measured_name(cost.network, cost.engine)))
    return None if rate is None else cost.images / rate.images_per_second / 3600


def extrapolated(cost: Cost, rates: Iterable[dict[tuple[str, str], Rate]], tflops: float) -> float | None:
    """Return the hours by counted operations at an assumed speed; None if no operations were counted.

    The operations of the plain network are used if counted, whatever engine is configured.
    """
    rates = list(rates)
    for name in (cost.network, measured_name(cost.network, cost.engine)):
        for each in rates:
            rate = each.get((cost.stage, name))
            if rate is not None and rate.gflop_per_image:
                return cost.images * rate.gflop_per_image / (1e3 * tflops) / 3600
    return None


def plan(configfile: Path, rates_file: Path, tflops: float) -> str:
    """Return the plan as text: one row per rule, totals, and notes on the columns."""
    if tflops <= 0:
        raise UserError(f"--tflops {tflops}: must be above 0")
    config, rates = read_configuration(configfile), read_rates(rates_file)
    sizes = {
        name.split("; ")[0]: rate.checkpoint_bytes for each in rates.values() for (_, name), rate in each.items()
        if rate.checkpoint_bytes
    }  # fmt: skip
    rows = costs(config, sizes)
    heads = [f"[{number}]" for number in range(1, len(rates) + 2)]
    table = [["data set", "rule", "what", "jobs", "steps", "images", *[f"h {head}" for head in heads], "GB"]]
    columns = [[hours(cost, each) for cost in rows] for each in rates.values()]
    columns.append([extrapolated(cost, rates.values(), tflops) for cost in rows])
    for number, cost in enumerate(rows):
        times = [_hours(column[number]) for column in columns]
        if cost.rule == "prepare":  # no network, so no operations to extrapolate from
            times[-1] = "-"
        steps = f"{cost.steps:,}" if cost.steps else "-"
        disk = "?" if cost.disk is None else f"{cost.disk / 1e9:,.1f}" if cost.disk else "-"
        table.append(
            [cost.dataset, cost.rule, cost.what, f"{cost.jobs}", steps, f"{cost.images:,}", *times, disk]
        )  # fmt: skip
    timed = [cost.rule != "prepare" for cost in rows]
    columns[-1] = [value for value, of_network in zip(columns[-1], timed, strict=True) if of_network]
    sums = [_total(column, _hours) for column in columns]
    total = _total([cost.disk for cost in rows], lambda disk: f"{disk / 1e9:,.1f}")
    jobs = sum(cost.jobs for cost in rows)
    table.append(["total", "", "", f"{jobs}", f"{sum(cost.steps for cost in rows):,}", "", *sums, total])
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    left = 3  # the columns of words
    lines = [
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(len(lines) - 1, lines[1])
    notes = [
        f"[{number}] measured on {device}, in batches of {_batches(each)} images"
        for number, (device, each) in enumerate(rates.items(), 1)
    ]
    notes.append(
        f"[{len(rates) + 1}] extrapolated: operations counted in the plain step at {tflops:g} TFLOP/s sustained, "
        "an assumption (--tflops), not a measurement"
    )
    if any("?" in row for row in table):
        notes.append(
            "?: no measured rate of this network and engine, or no size. python -m benchmarks.rates --configfile FILE "
            "[--device cuda] measures them, except models that read loss networks or retrieved features. A total that "
            'leaves out unknown values is marked "at least".'
        )
    notes += [
        "Hours are of jobs in sequence on one device, without reading, PNG encoding, checkpoints and start-up, and "
        "without imports, memorisation, tables and figures (minutes).",
        "GB: prepared images, encoded captions if trainings store them, two checkpoints per training and at most a "
        "quarter of it for each snapshot of evaluate_every, images at 1.87 bytes per pixel (3 more if packed), float32 "
        "features of Inception.",
    ]
    return "\n".join([f"{configfile}, from nothing:", "", *map(str.rstrip, lines), "", *notes])


def _hours(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"


def _total(values: Iterable[float | None], write: Callable[[float], str]) -> str:
    """Return the sum of the known values, as a lower bound if a value is unknown."""
    values = list(values)
    known = [value for value in values if value is not None]
    if not known:
        return "?"
    return write(sum(known)) if len(known) == len(values) else f"at least {write(sum(known))}"


def _batches(rates: dict[tuple[str, str], Rate]) -> str:
    """Return the batch sizes that rates were measured at; rates of the preparation have no batch size."""
    return ", ".join(map(str, sorted({rate.batch for rate in rates.values() if rate.batch}))) or "0"


def _speed(text: str) -> float:
    """Return a speed in TFLOP/s."""
    speed = float(text)
    if not 0 < speed < _FASTEST:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0 and below {_FASTEST:,}")
    return speed


_speed.__name__ = "float"  # named in argparse's message for other text


def main(arguments: list[str] | None = None) -> int:
    """Print the plan of a configuration; print a UserError as one line on standard error and return 1."""
    parser = argparse.ArgumentParser(prog="python workflow/plan.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--configfile", type=Path, default=Path("workflow/config/config.yaml"),
        help="configuration to estimate (default workflow/config/config.yaml)",
    )  # fmt: skip
    parser.add_argument(
        "--rates", type=Path, default=RATES, help="table of measured rates (default benchmarks/results/rates.csv)"
    )
    parser.add_argument(
        "--tflops", type=_speed, default=40.0,
        help="assumed sustained speed of the device in the extrapolated column, TFLOP/s (default 40)",
    )  # fmt: skip
    with exit_at_closed_pipe():
        given = parser.parse_args(arguments)
        try:
            print(plan(given.configfile, given.rates, given.tflops))
        except UserError as error:
            print(f"plan: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
