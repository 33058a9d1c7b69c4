"""Notes on the metrics of a table: their networks, chance levels and classes."""

from collections.abc import Iterator

from dmgan.evaluation.metrics.table import facts_of
from dmgan.report.evaluations import metric_of, scorer_of
from dmgan.report.tables.paper_tables import Results, title_of
from dmgan.report.tables.phrases import listed
from dmgan.report.tables.structure import Note


def metric_notes(results: Results) -> Iterator[Note]:
    """Yield the notes on metrics."""
    yield from _network_notes(results)
    yield from _chance_notes(results)
    yield from _collapse_notes(results)
    yield from _class_notes(results)


def _network_notes(results: Results) -> Iterator[Note]:
    networks: dict[str, list[str]] = {}
    for metric in results.columns:
        networks.setdefault(results.measured.network(metric), []).append(metric)
    entries = [f"{network}, for {listed(metrics)}" for network, metrics in networks.items() if network]
    if entries:
        yield Note("", f"Scored in this run by: {'; '.join(entries)}.")


def _chance_notes(results: Results) -> Iterator[Note]:
    """Yield the notes on chance levels and on the accuracy of the classifiers."""
    chances = {metric: results.measured.chance(metric) for metric in results.columns}
    entries = [f"{results.shown(metric, value)} on {metric}" for metric, value in chances.items() if value is not None]
    if entries:
        yield Note("", f"Chance level: {listed(entries)} (percent).")
    accuracies: dict[str, float] = {}  # by scorer
    for metric in results.columns:
        accuracy = (results.measured.protocol(metric) or {}).get("accuracy_on_real_test_images")
        if accuracy is not None:
            accuracies[scorer_of(metric)] = accuracy
    for scorer, accuracy in accuracies.items():
        yield Note(
            "",
            f"The {scorer} is correct on {100 * accuracy:.2f} % of the caption attributes of real test images, of "
            f"species not seen in training; a model's value above this reflects the {scorer}, not the images.",
        )
    yield from _classifier_notes(results)


def _classifier_notes(results: Results) -> Iterator[Note]:
    """Yield the note on the accuracy of the classifier whose features the columns read."""
    columns: dict[tuple[str, float], list[str]] = {}
    for metric in results.columns:
        protocol = results.measured.protocol(metric) or {}
        if protocol.get("feature_network_accuracy") is not None:
            key = (str(protocol["feature_network"]), float(protocol["feature_network_accuracy"]))
            columns.setdefault(key, []).append(metric)
    for (network, accuracy), metrics in columns.items():
        yield Note(
            "",
            f"{listed(metrics)}: the {network} names the class of {100 * accuracy:.1f} % of real images of its "
            "classes that it was not trained on.",
        )


def _collapse_notes(results: Results) -> Iterator[Note]:
    """Yield the note on models whose images are nearly all alike, by a metric that does not rank."""
    for metric in results.columns:
        threshold = facts_of(metric_of(metric)).collapsed_below
        if threshold is None or not results.model_values(metric):
            continue
        collapsed = [
            f"{title_of(name)} ({results.shown(metric, value)})"
            for name, value in results.model_values(metric).items()
            if value < threshold
        ]
        yield Note(
            "",
            f"More diversity is not better, and {metric} does not rank. Collapsed, below {threshold:g} of the "
            f"diversity of real images: {listed(collapsed) if collapsed else 'none'}.",
        )


def _class_notes(results: Results) -> Iterator[Note]:
    """Yield the note on models' means over classes that are not means over all classes."""
    cases: dict[str, list[str]] = {}
    for metric in results.columns:
        protocol = results.measured.protocol(metric) or {}
        named, every = protocol.get("classes_with_images"), protocol.get("classes")
        if named is not None and named != every and results.model_values(metric):
            cases.setdefault(f"{named} of {every}", []).append(metric)
    for counts, metrics in cases.items():
        yield Note(
            "",
            f"{listed(metrics)}: over {counts} classes, those that captions of the models' images name; control rows "
            "are over the classes of their own captions.",
        )
