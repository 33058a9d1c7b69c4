"""The methods section: what was trained, sampled and measured, in sentences made from the recorded facts."""

from collections.abc import Iterator, Mapping, Sequence

from dmgan.report.evaluations import scorer_of
from dmgan.report.page.content import Paragraph
from dmgan.report.page.run_facts import Job, RunRecord
from dmgan.report.page.sources import Sources
from dmgan.report.page.words import duration, grouped, listed, plural
from dmgan.report.results import Measured

_METRICS_OF_TABLES = "library"


def methods(
    measured: Measured, records: Sequence[RunRecord], dataset: Mapping, jobs: Sequence[Job], sources: Sources
) -> Iterator[Paragraph]:
    """Yield the paragraphs: data set, training, sampling, metrics, uncertainty, software and machine."""
    texts = (
        _data(measured, dataset), _training(records), _engine(records), _sampling(records), _metrics(sources),
        _uncertainty(sources), _machine(records, jobs),
    )  # fmt: skip
    yield from (Paragraph(text) for text in texts if text)


def _data(measured: Measured, dataset: Mapping) -> str:
    differs = f" The data differ from the published set: {measured.not_published}." if measured.not_published else ""
    if not dataset:
        return f"Data set: {measured.dataset}, images of {measured.size}.{differs}"
    images, classes = dataset["images"], dataset["classes"]  # None for a set without classes
    of = {split: f" of {classes[split]:,} classes" if classes else "" for split in images}
    return (
        f"Data set: {measured.dataset}, {images['train']:,} training images{of['train']} and {images['test']:,} test "
        f"images{of['test']}, {dataset['captions']:,} captions with a vocabulary of {dataset['vocabulary']:,} words, "
        f"images of {measured.size}.{differs}"
    )


def _training(records: Sequence[RunRecord]) -> str:
    settings = {}
    for each in records:
        training = each.options.get("training")
        if training is not None:
            settings[each.title] = (
                f"{plural(training['epochs'], 'epoch')}, batches of {training['batch_size']}, Adam with learning rates "
                f"{training['generator_lr']:g} (generator) and {training['discriminator_lr']:g} (discriminators)"
            )
    if not settings:
        return ""
    return f"Training. {'; '.join(f'{listed(names)}: {text}' for text, names in grouped(settings).items())}."


def _engine(records: Sequence[RunRecord]) -> str:
    settings = {}
    for each in records:
        for segment in each.options.get("engine", [])[-1:]:
            processes = plural(segment["processes"], "process", "processes")
            settings[each.title] = f"{segment['device']}, {processes}, {segment['precision']}"
    if not settings:
        return ""
    return f"Trained on {'; '.join(f'{text} ({listed(names)})' for text, names in grouped(settings).items())}."


def _sampling(records: Sequence[RunRecord]) -> str:
    settings = {}
    for each in records:
        seed = each.evaluation.inputs.get("sampling_seed")
        if seed is not None:
            settings[each.title] = (
                f"{each.evaluation.num_images:,} images for captions of the test split, drawn with seed {seed}"
            )
    if not settings:
        return ""
    return f"Sampling. {'; '.join(f'{listed(names)}: {text}' for text, names in grouped(settings).items())}."


def _metrics(sources: Sources) -> str:
    """Return the sentence on every metric: its implementation, and how its scorer reads images."""
    protocols = {source.metric: dict(source.protocol) for source in sources.all}
    libraries = {metric: each[_METRICS_OF_TABLES] for metric, each in protocols.items() if _METRICS_OF_TABLES in each}
    computed = "; ".join(f"{listed(names)} by {library}" for library, names in grouped(libraries).items())
    readers = {}
    for metric, each in protocols.items():
        parts = [each[name] for name in ("feature_network", "resize", "codec") if name in each]
        readers[scorer_of(metric)] = ", ".join(parts)
    read = "; ".join(f"{reader}: {text}" for reader, text in readers.items() if text)
    against = {
        metric: f"{each['reference_num_images']} real images ({each['reference']})"
        for metric, each in protocols.items()
        if "reference_num_images" in each
    }
    compared = "; ".join(f"{listed(names)} against {text}" for text, names in grouped(against).items())
    sentences = [
        f"Metrics were computed as follows: {computed}." if computed else "",
        f"Feature extractors and scorers. {read}." if read else "",
        f"Real images. {compared}." if compared else "",
    ]
    return " ".join(each for each in sentences if each)


def _uncertainty(sources: Sources) -> str:
    spreads = {source.metric: each.spread.partition(" over ")[2] for source in sources.all for each in source.files}
    told = "; ".join(f"{text} ({listed(names)})" for text, names in grouped(spreads).items())
    return f"Uncertainty. ± is over {told}."


def _machine(records: Sequence[RunRecord], jobs: Sequence[Job]) -> str:
    versions, machines = {}, {}
    for each in records:
        found = each.provenance.get("versions", {})
        versions[each.title] = ", ".join(f"{name} {version}" for name, version in found.items())
        machine = each.provenance.get("machine", {})
        machines[each.title] = " ".join(str(value) for value in machine.values())
    text = f"Software: {'; '.join(grouped(versions))}. Machine: {'; '.join(grouped(machines))}."
    total = sum(job.seconds for job in jobs)
    return f"{text} Run time of all jobs together: {duration(total)} ({plural(len(jobs), 'job')})." if jobs else text
