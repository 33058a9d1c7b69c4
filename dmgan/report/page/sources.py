"""The source of every number: its entry in a metrics.json, its protocol, and whether the file matches its run."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dmgan.options import CONTROLS
from dmgan.report.evaluations import Evaluation, Measure
from dmgan.report.page.content import Source, SourceFile
from dmgan.report.results import Measured
from dmgan.report.tables.paper_tables import CONTROL_TITLES, title_of
from dmgan.report.verify import ALTERED, STALE, UNSEALED, Finding


class Sources:
    """The sources of a page; a number that several tables show has one source."""

    def __init__(self, evaluations: Iterable[Evaluation], findings: Iterable[Finding], page: Path):
        """findings: of `verify`, on all results of the data set; page: folder of the page, which links start from."""
        self._evaluations: dict[tuple[Path, str], tuple[Evaluation, Measure]] = {}
        for each in evaluations:
            for metric, measure in each.metrics.items():
                if measure is not None:
                    self._evaluations[measure.file, each.key_in_file.get(metric, metric)] = (each, measure)
                    self._evaluations[measure.file, metric] = (each, measure)
        self._page = Path(page)
        findings = list(findings)
        self._bad = bad_files(findings)
        self._unsealed = {each.path.resolve() for each in findings if each.state == UNSEALED}
        self._found: dict[tuple[str, tuple[Path, ...]], Source] = {}

    @property
    def all(self) -> tuple[Source, ...]:
        """Every source that a number of the page has."""
        return tuple(self._found.values())

    def of_files(self, metric: str, files: Sequence[Path]) -> Source:
        """Return the source of a metric in the metrics.json files of one model or control."""
        key = (metric, tuple(files))
        if key not in self._found:
            entries = [self._evaluations[file, metric] for file in files]
            self._found[key] = Source(
                anchor=f"source-{len(self._found) + 1}",
                metric=metric,
                subject=_subject(entries[0][0]),
                files=tuple(self._file(*entry, metric) for entry in entries),
                protocol=tuple((name, _text(value)) for name, value in entries[0][1].protocol.items()),
            )
        return self._found[key]

    def _file(self, evaluation: Evaluation, measure: Measure, metric: str) -> SourceFile:
        ends = measure.interval
        return SourceFile(
            file=str(measure.file),
            link=os.path.relpath(measure.file, self._page),
            key=evaluation.key_in_file.get(metric, metric),
            value=measure.value,
            spread=f"{measure.spread:.6g} over {measure.spread_over}",
            interval="" if ends is None else f"{ends[0]:.6g} to {ends[1]:.6g}, over {measure.interval_over}",
            num_images=measure.num_images,
            bootstrap=_bootstrap(measure),
            finding=self._bad.get(measure.file.resolve(), ""),
            sealed=measure.file.resolve() not in self._unsealed,
        )


def bad_files(findings: Iterable[Finding]) -> dict[Path, str]:
    """Return the files that do not match their run, with the reasons."""
    found: dict[Path, list[str]] = {}
    for each in findings:
        if each.state in (ALTERED, STALE):
            found.setdefault(each.path.resolve(), []).append(each.what)
    return {path: "; ".join(reasons) for path, reasons in found.items()}


def evaluations_of(measured: Measured) -> list[Evaluation]:
    """Return all evaluations of a data set: models, external methods and controls."""
    return [each for runs in measured.models.values() for each in runs] + list(measured.controls.values())


def _subject(evaluation: Evaluation) -> str:
    if evaluation.kind == "control" and evaluation.name in CONTROLS:
        return CONTROL_TITLES[evaluation.name]
    return title_of(evaluation.name)


def _bootstrap(measure: Measure) -> str:
    if measure.bootstrap is None:
        return ""
    value, low, high = measure.bootstrap
    return f"{value:.6g}, {low:.6g} to {high:.6g}, over {measure.bootstrap_over}"


def _text(value: object) -> str:
    """Return a protocol entry as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def protocols(sources: Sequence[Source]) -> Mapping[tuple[tuple[str, str], ...], int]:
    """Return the different protocols of the sources, with their numbers from 1."""
    return {each: number for number, each in enumerate(dict.fromkeys(source.protocol for source in sources), 1)}
