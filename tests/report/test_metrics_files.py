"""metrics.json files with wrong values are refused by one line, and their texts cannot become formulas."""

import json
import re

import pytest

from dmgan.errors import UserError
from dmgan.report.tables.render import write_tables
from tests.reading import read_csv
from tests.report.made_metrics import MODEL, metrics

FID = ("metrics", "FID(species)")


def changed(path, keys, value):
    """Write a value, which may be NaN, at a place of a metrics.json, and return its path."""
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ((*FID, "interval"), [], "'interval' in metrics.FID(species) is [] instead of two finite numbers"),
        ((*FID, "interval"), [3.0, 1.0], "instead of two finite numbers, the lower first"),
        ((*FID, "interval"), [1.0, float("inf")], "instead of two finite numbers"),
        ((*FID, "value"), float("nan"), "'value' in metrics.FID(species) is nan instead of a finite number"),
        ((*FID, "value"), "20", "is '20' instead of a finite number"),
        ((*FID, "value"), True, "is True instead of a finite number"),
        (
            (*FID, "interval_centre"),
            float("nan"),
            "'interval_centre' in metrics.FID(species) is nan instead of a finite",
        ),
        ((*FID, "spread"), -1.0, "is -1.0 instead of a standard deviation, 0 or more"),
        ((*FID, "spread_over"), "\x1b[31m folds", "instead of printable text"),
        ((*FID, "num_images"), 2000.5, "instead of a whole number"),
        ((*FID, "protocol"), [], "'protocol' in metrics.FID(species) is [] instead of an object"),
        ((*FID, "bootstrap"), {"value": 1.0}, "no 'interval' in metrics.FID(species).bootstrap"),
        ((*FID, "chance"), "half", "instead of a finite number"),
        (FID, 20.0, "'FID(species)' in metrics is 20.0 instead of an object"),
        (("metrics", "LPIPS(x)"), {}, "'LPIPS(x)' is no metric; known metrics are IS, FID"),
        (("metrics",), [], "'metrics' is [] instead of an object"),
        (("inputs", "data"), "x", "'data' in inputs is 'x' instead of an object"),
        (("inputs", "data"), {"images.bin": 5}, "'images.bin' in inputs.data is 5 instead of printable text"),
        (("inputs", "hyperparameters"), ["x"], "'hyperparameters' in inputs is ['x'] instead of an object"),
        (("inputs",), None, "'inputs' is None instead of an object"),
        (("subject", "dataset"), "=cmd|' /C calc'!A0", "instead of a name of printable characters that does not begin"),
        (("subject", "dataset"), "birds\x1b[2J", "instead of a name of printable characters"),
        (("subject", "name"), "", "instead of a name of printable characters"),
        (("subject", "name"), ["dmgan"], "instead of a name of printable characters"),
        (("subject", "seed"), "0", "instead of a whole number"),
        (("subject", "image_size"), "64", "instead of a whole number"),
        (("subject", "selection"), {"rule": "best"}, "no 'step' in subject.selection"),
        (("subject", "published_set"), "CUB", "no 'differences' in subject"),
        (("subject",), [], "'subject' is [] instead of an object"),
    ],
)
def test_a_wrong_value_is_one_clear_error(keys, value, message, write_metrics, tmp_path):
    path = changed(write_metrics("dmgan"), keys, value)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        write_tables([path], tmp_path / "out")
    assert str(caught.value).startswith(f"{path}: is damaged (") and str(caught.value).isprintable()
    assert "evaluate again" in str(caught.value) and not (tmp_path / "out").exists()


def test_texts_of_a_file_cannot_become_formulas_of_a_spreadsheet(write_metrics, tmp_path):
    measured = metrics(MODEL)
    measured["FID(species)"]["spread_over"] = "=HYPERLINK(1)"
    measured["FID(species)"]["protocol"]["feature_network"] = "@SUM(1)"
    write_tables([write_metrics("dmgan", metrics=measured)], tmp_path)
    cells = {cell for row in read_csv(tmp_path / "table2.csv") for cell in row.values()}
    assert {"'=HYPERLINK(1)", "'@SUM(1)"} <= cells
    assert not any(cell.startswith(("=", "@", "+")) for cell in cells)


def test_an_external_method_must_say_what_its_images_are(write_metrics, tmp_path):
    subject = {"kind": "external", "name": "Mine", "seed": None, "dataset": "synthbirds", "image_size": 64}
    path = write_metrics("Mine", None, "external", subject=subject | {"num_images": 2000})
    with pytest.raises(UserError, match="no 'sizes' in inputs"):
        write_tables([path], tmp_path / "out")
