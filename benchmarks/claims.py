"""False claims and found differences of a table of models, simulated, with and without the correction for the family.

Every table has some models, each trained with several seeds and measured by several correlated metrics. The values over
seeds are drawn from normal distributions: of equal means for false claims, also with unequal spreads over seeds, which
the test does not know; and with one model ahead for the differences that are found.
"""

import argparse
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks import plot, record
from dmgan.evaluation.statistics.claims import ALPHA, difference_over_seeds, holm

CORRELATION = 0.5  # of two metrics over seeds


class Setting(NamedTuple):
    """One kind of table."""

    models: int
    seeds: int
    metrics: int
    spread: float = 1.0  # standard deviation over seeds of the first model over that of the others
    lead: float = 0.0  # of the first model, in standard deviations over seeds

    @property
    def name(self) -> str:
        pairs = self.models * (self.models - 1) // 2
        return f"{pairs} pairs, {self.metrics} metrics, {self.seeds} seeds"


EQUAL = [Setting(*each) for each in ((6, 2, 1), (6, 3, 1), (6, 5, 1), (12, 3, 1), (6, 3, 6), (12, 3, 6), (6, 5, 6))]
UNEQUAL = [Setting(6, 3, 6, spread) for spread in (1 / 3, 3.0, 0.1, 10.0)]
LEADING = [Setting(6, seeds, 6, lead=lead) for seeds, lead in ((3, 6.0), (3, 12.0), (5, 3.0), (5, 6.0))]


class Rates(NamedTuple):
    """Shares of simulated tables, or of the differences that are there."""

    uncorrected: float  # of tables with a false claim
    corrected: float
    found: float  # of the pairs with the leading model, by any metric


def simulate(setting: Setting, tables: int, random: np.random.Generator) -> Rates:
    """Return the rates of one kind of table, by the tests that `compare` makes over seeds."""
    pairs = list(combinations(range(setting.models), 2))
    equal = np.array([setting.lead == 0 or 0 not in pair for pair in pairs])
    uncorrected = corrected = found = 0
    for _ in range(tables):
        shape = (setting.models, setting.metrics, setting.seeds)
        shared = random.normal(size=(setting.models, 1, setting.seeds))
        values = np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * random.normal(size=shape)
        values[0] = values[0] * setting.spread + setting.lead
        p_values = np.array(
            [
                [difference_over_seeds(*both).p_value for both in zip(values[i], values[j], strict=True)]
                for i, j in pairs
            ]
        )
        claims = holm(p_values.ravel()).reshape(p_values.shape) < ALPHA
        uncorrected += bool((p_values[equal] < ALPHA).any())
        corrected += bool(claims[equal].any())
        found += claims[~equal].mean() if setting.lead else 0.0
    return Rates(uncorrected / tables, corrected / tables, found / tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=1000, help="simulated tables of every kind (default 1000)")
    arguments = parser.parse_args()
    machine, random = record.machine(), np.random.default_rng(0)
    # The largest count that a chance of 5 % exceeds in fewer than 1 % of the simulations.
    most = float(stats.binom.ppf(0.99, arguments.tables, ALPHA)) / arguments.tables
    figures, details, panel = [], {}, {}
    for setting in (*EQUAL, *UNEQUAL, *LEADING):
        rates = simulate(setting, arguments.tables, random)
        spread = "" if setting.spread == 1 else f", one model varies {setting.spread:.2g} times as much"
        lead = f", one model leads by {setting.lead:g} standard deviations" if setting.lead else ""
        details[f"{setting.name}{spread}{lead}"] = rates._asdict() | setting._asdict()
        if setting in EQUAL:
            name, corrected, uncorrected = setting.name, 100 * rates.corrected, 100 * rates.uncorrected
            panel[name] = {"uncorrected": uncorrected, "corrected": corrected}
            figures += [
                record.Figure(f"false claims, {name}", corrected, "% of tables", at_most=100 * most),
                record.Figure(f"the same, uncorrected, {name}", uncorrected, "% of tables"),
            ]
        elif setting in UNEQUAL:  # no bound: Welch's test is approximate where spreads are very unequal
            figures.append(record.Figure(f"false claims, {setting.name}{spread}", 100 * rates.corrected, "% of tables"))
        else:
            figures.append(record.Figure(f"found, {setting.name}{lead}", 100 * rates.found, "% of pairs and metrics"))
    record.write("claims", "False claims of equal models", figures, machine, {"tables": arguments.tables, **details})
    bars = {name: values for name, values in panel.items() if "6 metrics" in name}
    plot.bars(record.RESULTS / "claims.png", "Tables of equal models with a false claim, %", bars, ["corrected"])


if __name__ == "__main__":
    main()
