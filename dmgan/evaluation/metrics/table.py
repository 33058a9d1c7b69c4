"""Table of metrics, in the order of metrics.json; add a metric as a file in this folder and a line here.

This module does not import torch, because tables and notes read the facts.
"""

import importlib
from functools import cache

from dmgan.errors import UserError
from dmgan.evaluation.metrics.base import Facts, Metric

_METRICS = (
    "inception_score:InceptionScore",
    "fid:FrechetInceptionDistance",
    "kid:KernelInceptionDistance",
    "prdc:Precision",
    "prdc:Recall",
    "prdc:Density",
    "prdc:Coverage",
    "diversity:Diversity",
    "r_precision:RPrecision",
    "attribute_accuracy:AttributeAccuracy",
    "soa:SoaC",
    "soa:SoaI",
)


@cache
def metrics() -> dict[str, type[Metric]]:
    """Return all metrics by name, in the order of the table."""
    found = {}
    for line in _METRICS:
        module, class_name = line.split(":")
        metric = getattr(importlib.import_module(f"dmgan.evaluation.metrics.{module}"), class_name)
        found[metric.facts.name] = metric
    return found


def facts_of(name: str) -> Facts:
    """Return the facts of metric `name`; raise UserError if the name is unknown."""
    if name not in metrics():
        raise UserError(f"metric {name!r}: unknown; known metrics are {', '.join(metrics())}")
    return metrics()[name].facts
