"""Citation of what was run: the papers of the models, metrics, networks and data sets behind metrics.json files.

`citation_keys` returns the keys of dmgan/runtime/bibliography.bib; `dmgan.runtime.bibliography.bibtex` and `cff` write
them as BibTeX and as the content of a CITATION.cff.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from dmgan import __version__
from dmgan.data.sources.table import citations_of as citations_of_set
from dmgan.evaluation.metrics.table import facts_of
from dmgan.evaluation.networks.table import citations_of as citations_of_network
from dmgan.models.registry import MODELS
from dmgan.report.evaluations import RELEASED, Evaluation, metric_of, read_evaluation, scorer_of
from dmgan.runtime.bibliography import LIBRARIES, SOFTWARE, bibtex, cff
from dmgan.storage import files

BIBTEX, CFF = "CITATION.bib", "CITATION.cff"
_ENCODERS = "xu2018attngan"  # of the DAMSM, whose text encoder every model reads


def citation_keys(evaluations: Sequence[Evaluation]) -> set[str]:
    """Return the bibliography's keys of everything that the evaluations were made with."""
    keys = {SOFTWARE, *LIBRARIES}
    for each in evaluations:
        if each.kind == "model":
            keys.add(_ENCODERS)
        entry = MODELS.get(each.name.removesuffix(RELEASED))
        if entry is not None and entry.citation:
            keys.add(entry.citation)
        if each.published_set is not None:
            keys.update(citations_of_set(each.published_set[0]))
        for metric in each.metrics:
            keys.update(filter(None, [facts_of(metric_of(metric)).citation]), citations_of_network(scorer_of(metric)))
    return keys


def write_citations(metrics: Sequence[Path], out: Path) -> None:
    """Write CITATION.bib and CITATION.cff of the metrics.json files `metrics` into the folder `out`."""
    keys = citation_keys([read_evaluation(path) for path in metrics])
    files.write_text(Path(out) / BIBTEX, bibtex(keys))
    files.write_text(Path(out) / CFF, yaml.safe_dump(cff(keys, __version__), sort_keys=False, allow_unicode=True))
