"""The reproducibility statement: commit, versions, seeds, hashes, devices, time of every job, and the verification."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from dmgan.report.page.content import Block, Cell, Facts, Head, Items, Paragraph, Row, Table
from dmgan.report.page.run_facts import Job, RunRecord
from dmgan.report.page.words import duration, grouped, listed, plural
from dmgan.report.verify import ALTERED, OK, STALE, Finding

_FIRST = 5  # findings at the head of the page
_MOST = 50  # findings and jobs that are listed one by one


def verification(findings: Sequence[Finding]) -> Iterator[Block]:
    """Yield the result of `verify` on this data set, and every finding that is not OK."""
    counts = Counter(each.state for each in findings)
    told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    failed = counts[ALTERED] + counts[STALE]
    meaning = "Every file has the bytes that were written, and every table follows from its metrics.json files."
    if failed:
        meaning = "Numbers of altered or stale files do not follow from the runs; they are marked on this page."
    yield Paragraph(f"Verification of this data set's results (dmgan verify): {told}. {meaning}", warning=failed > 0)
    bad = [str(each) for each in findings if each.state != OK]
    if bad:
        more = [f"and {len(bad) - _MOST} further findings"] if len(bad) > _MOST else []
        yield Items((*bad[:_MOST], *more))


def warnings(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return the lines of the warning at the head of the page: that files do not match their runs, and which."""
    bad = [f"{each.path}: {each.what}" for each in findings if each.state in (ALTERED, STALE)]
    if not bad:
        return ()
    lead = f"{plural(len(bad), 'file')} of these results do not match their run. Numbers of these files are marked."
    more = [f"and {len(bad) - _FIRST} further files, listed under Reproducibility"] if len(bad) > _FIRST else []
    return (lead, *bad[:_FIRST], *more)


def statement(records: Sequence[RunRecord], dataset: Mapping, jobs: Sequence[Job]) -> Iterator[Block]:
    """Yield the facts that a second run needs, and the time of every job."""
    yield Facts(tuple(_facts(records, dataset)))
    if jobs:
        rows = tuple(
            Row(f"{job.rule} {job.name}", (Cell(duration(job.seconds)), Cell(job.max_rss))) for job in jobs[:_MOST]
        )
        caption = f"Time and memory of {'every job' if len(jobs) <= _MOST else f'the {_MOST} longest jobs'}."
        yield Table("jobs", "Jobs", caption, "Rule and job", (Head("time"), Head("largest memory, MB")), rows)


def _facts(records: Sequence[RunRecord], dataset: Mapping) -> Iterator[tuple[str, str]]:
    commits = {each.title: str(each.provenance.get("commit", "not recorded")) for each in records}
    yield "commit of the evaluations", _by_value(commits)
    trained = {
        each.title: str(each.options["provenance"]["commit"]) for each in records if "provenance" in each.options
    }
    if trained:
        yield "commit of the trainings", _by_value(trained)
    for each in records:
        found = each.provenance.get("versions", {})
        yield "versions", ", ".join(f"{name} {version}" for name, version in found.items())
        break
    seeds = sorted({each.evaluation.seed for each in records if each.evaluation.seed is not None})
    if seeds:
        yield "training seeds", ", ".join(map(str, seeds))
    sampling = sorted({str(each.evaluation.inputs.get("sampling_seed")) for each in records} - {"None"})
    if sampling:
        yield "sampling seed", ", ".join(sampling)
    yield "device of the evaluations", _by_value({each.title: each.device for each in records})
    for name, sha256 in dataset.get("sha256", {}).items():
        yield f"SHA-256 of {name}", sha256
    for each in records:
        if sha256 := each.evaluation.inputs.get("generator_sha256"):
            yield f"SHA-256 of the generator, {each.title}", str(sha256)
        if sha256 := each.evaluation.inputs.get("images_sha256"):
            yield f"SHA-256 of the images' pixels, {each.title}", str(sha256)


def _by_value(texts: Mapping[str, str]) -> str:
    """Return the only value, or every value with the runs that have it."""
    values = grouped(texts)
    if len(values) == 1:
        return next(iter(values))
    return "; ".join(f"{text}: {listed(names)}" for text, names in values.items())
