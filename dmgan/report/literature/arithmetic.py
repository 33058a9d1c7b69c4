"""The forms of claims: every form computes from printed numbers whether a claim holds.

A form is a line in FORMS with a function, which takes one part of a claim: its numbers, and the digits that the claim
prints. Numbers are exact decimals of the printed digits, so that 72.31 - 67.82 is 4.49. A gain is positive if the
second number is better by its metric.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from dmgan.evaluation.metrics.table import facts_of
from dmgan.report.literature.published import NO_DATASET, PLACEHOLDER, Published


class Part(NamedTuple):
    """One comparison of a claim, such as that of two methods on one data set by one metric."""

    terms: tuple[tuple[Published, ...], ...]  # a term is one number, or the numbers that a pattern finds
    printed: tuple[str, ...]  # digits that the claim prints

    @property
    def cells(self) -> tuple[Published, ...]:
        """The number of every term; only for forms without a pattern."""
        return tuple(rows[0] for rows in self.terms)

    @property
    def what(self) -> str:
        """Data set and metric of a part; data set and method if a pattern found several numbers; "" without numbers."""
        if not self.terms or not self.terms[0]:
            return ""
        first, last = self.terms[0][0], self.terms[-1][0]
        name = first.method if len(self.terms[0]) > 1 else (last if len(self.terms) > 2 else first).quantity
        datasets = " and ".join(each for each in first.datasets if each != NO_DATASET)
        return f"{datasets} {name}".strip()


class Outcome(NamedTuple):
    """Result of one part; `holds` is None if a number is missing."""

    holds: bool | None
    arithmetic: str


class Form(NamedTuple):
    """Function, meaning and number of terms of a form."""

    check: Callable[[Part], Outcome]
    meaning: str  # for the documentation and for error messages
    terms: tuple[int, int | None] = (2, 2)  # least and largest number
    printed: tuple[int, int] = (0, 0)
    patterns: bool = False  # the first term is a pattern, which may find any number of published numbers
    skips_missing: bool = False  # a part without one of its numbers is computed from the others
    allows_loss: bool = False  # the second may be worse by the printed percentage
    # From the number of terms, the pairs (behind, ahead) of terms whose second method the claim calls better.
    pairs: Callable[[int], Sequence[tuple[int, int]]] = lambda terms: ()


def _relative_gain(part: Part) -> Outcome:
    first, second = _values(part)
    gain = _sign(part) * 100 * (second - first) / abs(first)
    formula = f"({_shown(second)} − {_shown(first)}) / {_shown(first)} = {_signed(_sign(part) * gain)} %"
    return Outcome(_rounds_to(gain, part.printed[0]), f"{formula}, printed {part.printed[0]} %")


def _gain(part: Part) -> Outcome:
    first, second = _values(part)
    gain = _sign(part) * (second - first)
    relative = _signed(100 * (second - first) / abs(first))
    formula = f"{_shown(second)} − {_shown(first)} = {_signed(second - first)} ({relative} %)"
    return Outcome(_rounds_to(gain, part.printed[0]), f"{formula}, printed {part.printed[0]}")


def _change(part: Part) -> Outcome:
    first, second = _values(part)
    relative = f"{_signed(second - first)}, {_signed(100 * (second - first) / abs(first))} %"
    formula = f"{_shown(first)} → {_shown(second)} ({relative}), printed {' → '.join(part.printed)}"
    if PLACEHOLDER in part.printed:
        return Outcome(None, formula)
    same = (first, second) == tuple(map(Decimal, part.printed))
    return Outcome(same and _sign(part) * (second - first) > 0, formula)


def _same(part: Part) -> Outcome:
    values = [*_values(part), *map(Decimal, part.printed)]
    texts = [f"{_shown(value)} ({each.place})" for value, each in zip(values, part.cells)]
    texts += [f"{each} (claimed)" for each in part.printed]
    if len(set(values)) == 1:
        return Outcome(True, " = ".join(texts))
    difference = values[-1] - values[0]
    relative = f", {_signed(100 * difference / abs(values[0]))} %" if values[0] else ""
    return Outcome(False, f"{' ≠ '.join(texts)}: {_signed(difference)}{relative}")


def _order(part: Part) -> Outcome:
    values = _values(part)
    holds = all(_sign(part) * (second - first) > 0 for first, second in pairwise(values))
    text = _shown(values[0])
    for first, second in pairwise(values):
        text += f" {'<' if first < second else '>' if first > second else '='} {_shown(second)}"
    return Outcome(holds, text)


def _best(part: Part) -> Outcome:
    first, *others = part.cells
    reported = [each for each in others if each.is_number]
    if not first.is_number or not reported:
        return Outcome(None, "not reported")
    rival = max(reported, key=lambda each: _sign(part) * Decimal(each.value))
    holds = _sign(part) * (Decimal(first.value) - Decimal(rival.value)) > 0
    missing = [each.method for each in others if not each.is_number]
    text = f"{first.value} against {rival.value} ({rival.method}), the best of {len(reported)}"
    return Outcome(holds, text + (f"; not reported: {', '.join(missing)}" if missing else ""))


def _margin(part: Part) -> Outcome:
    (first, second), spreads = _values(part), [Decimal(each.std or "nan") for each in part.cells]
    if any(each.is_nan() for each in spreads):
        return Outcome(None, "the source prints no ±")
    both = sum(each**2 for each in spreads).sqrt()
    gain = _sign(part) * (second - first)
    squares = " + ".join(f"{each}²" for each in spreads)
    formula = f"({_shown(second)} − {_shown(first)}) / √({squares}) = {gain / both:.1f} standard deviations"
    return Outcome(gain / both >= Decimal(part.printed[0]), f"{formula}, limit {part.printed[0]}")


def _within(part: Part) -> Outcome:
    first, second = _values(part)
    loss = -_sign(part) * 100 * (second - first) / abs(first)
    side = "worse" if loss > 0 else "better"
    text = f"{_shown(second)} against {_shown(first)} ({part.cells[0].method}): {abs(loss):.2f} % {side}"
    return Outcome(loss <= Decimal(part.printed[0]), f"{text}, limit {part.printed[0]} %")


def _sum(part: Part) -> Outcome:
    *addends, total = _values(part)
    added = sum(addends)
    holds = added == total
    text = f"{' + '.join(map(_shown, addends))} = {_shown(added)}"
    return Outcome(holds, text if holds else f"{text} ≠ {_shown(total)}")


def _total(part: Part) -> Outcome:
    pattern, (printed,) = part.terms
    rows = [each for each in pattern if each != printed]
    added = sum(Decimal(each.value) for each in rows)
    sign = "=" if added == Decimal(printed.value) else "≠"
    return Outcome(sign == "=", f"sum of {len(rows)} numbers {_shown(added)} {sign} {_shown(Decimal(printed.value))}")


def _rounded(part: Part) -> Outcome:
    exact, rounded = _values(part)
    holds = _rounds_to(exact, part.cells[1].value)
    return Outcome(holds, f"{_shown(exact)} {'rounds' if holds else 'does not round'} to {_shown(rounded)}")


def _at_least(part: Part) -> Outcome:
    values = [*_values(part), *map(Decimal, part.printed)]
    holds = values[0] >= values[1]
    return Outcome(holds, f"{_shown(values[0])} {'≥' if holds else '<'} {_shown(values[1])}")


def _count(part: Part) -> Outcome:
    found = part.terms[0]
    names = f" ({', '.join(each.metric for each in found)})" if 0 < len(found) <= 3 else ""
    return Outcome(len(found) == int(part.printed[0]), f"{len(found)} found{names}, claimed {part.printed[0]}")


def _listed(part: Part) -> Outcome:
    return Outcome(bool(part.terms[0]), f"{len(part.terms[0])} numbers found in the source")


def _text(part: Part) -> Outcome:
    return Outcome(None, "")


def _one_step(terms: int) -> list[tuple[int, int]]:
    return list(pairwise(range(terms)))


def _first_leads(terms: int) -> list[tuple[int, int]]:
    return [(other, 0) for other in range(1, terms)]


FORMS = {
    "relative gain": Form(
        _relative_gain, "the second is better than the first by the printed percentage of the first", printed=(1, 1),
        pairs=_one_step,
    ),
    "gain": Form(
        _gain, "the second is better than the first by the printed difference", printed=(1, 1), pairs=_one_step
    ),
    "change": Form(
        _change, "the first and the second are the two printed numbers, and the second is better", printed=(2, 2),
        pairs=_one_step,
    ),
    "same": Form(_same, "all numbers, and the printed one if there is one, are equal", (1, None), (0, 1)),
    "order": Form(_order, "every number is better than the one before", (2, None), pairs=_one_step),
    "best": Form(
        _best, "the first is better than all others that are reported", (2, None), skips_missing=True,
        pairs=_first_leads,
    ),
    "margin": Form(
        _margin, "the second leads by at least the printed number of standard deviations, both ± combined",
        printed=(1, 1), pairs=_one_step,
    ),
    "within": Form(
        _within, "the second is at most the printed percentage worse than the first", printed=(1, 1),
        allows_loss=True, pairs=_one_step,
    ),
    "sum": Form(_sum, "the last is the sum of the others", (3, None)),
    "total": Form(_total, "the second is the sum of all numbers that the pattern finds", patterns=True),
    "rounded": Form(_rounded, "the first rounds to the digits of the second"),
    "at least": Form(_at_least, "the first is at least the second, or the printed one", (1, 2), (0, 1)),
    "count": Form(_count, "the pattern finds the printed number of rows", (1, 1), (1, 1), patterns=True),
    "listed": Form(_listed, "the pattern finds a row", (1, 1), patterns=True),
    "text": Form(_text, "no numbers: the claim was compared by reading", (0, 0)),
}  # fmt: skip


def outcome(form: str, part: Part) -> Outcome:
    """Return whether a part of a claim holds, with the arithmetic; without one of its numbers, None."""
    definition = FORMS[form]
    if not definition.patterns and not definition.skips_missing:
        missing = [each for each in part.cells if not each.is_number]
        if missing:
            return Outcome(None, f"{part.what}: {missing[0].method} not reported")
    holds, arithmetic = definition.check(part)
    return Outcome(holds, f"{part.what}: {arithmetic}" if part.what and arithmetic else arithmetic)


def _values(part: Part) -> list[Decimal]:
    return [Decimal(each.value) for each in part.cells]


def _sign(part: Part) -> int:
    """Return 1 if more is better by the metric of a part, -1 if less is."""
    return -1 if facts_of(part.cells[0].metric).better == "down" else 1


def _zeros(digits: str) -> int:
    """Return the number of zeros that end an integer: they are not significant."""
    return 0 if "." in digits else len(digits) - len(digits.rstrip("0"))


def _rounds_to(value: Decimal, printed: str) -> bool:
    """Return whether a value rounds to printed digits; the zeros that end an integer are not significant."""
    exponent = Decimal(printed).as_tuple().exponent + _zeros(printed)
    return abs(value - Decimal(printed)) <= Decimal(5).scaleb(exponent - 1)


def _shown(value: Decimal) -> str:
    return f"{value:f}".replace("-", "−")


def _signed(value: Decimal) -> str:
    """Return a computed number with its sign and at most three decimals."""
    text = f"{value:+.3f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")
