"""The parameter listing of the student reproduction, generated from the code."""

import pytest

from dmgan.errors import UserError
from dmgan.options import ArchitectureOptions
from dmgan.report.tables import parameters
from dmgan.report.tables.parameters import write_parameters
from tests.paths import GOLDEN
from tests.reading import read_csv

# The report's Figures 2 and 3, line by line.
PRINTED = GOLDEN / "parameters_004.csv"


def test_the_parameters_are_those_of_the_student_report(tmp_path):
    write_parameters(tmp_path)
    ours = [
        (row["figure"], row["tensor"], row["parameters"]) for row in read_csv(tmp_path / "reproduction-parameters.csv")
    ]
    printed = [(row["figure"].removeprefix("Fig. "), row["tensor"], row["parameters"]) for row in read_csv(PRINTED)]
    assert ours == [row for row in printed if row[1] != "total"] and len(ours) == 74 + 22
    figure2, figure3 = ((tmp_path / f"reproduction-figure{n}.txt").read_text().splitlines() for n in (2, 3))
    assert figure2[0] == "ca_net.fc.weight: 400x256 = 102400" and figure2[-1] == "h_net3.M_r.0.bias: 128"
    totals = [line for line in figure3 if line.startswith("number of")]
    assert totals == [f"number of trainable parameters = {row[2]}" for row in printed if row[1] == "total"]
    assert figure3[-1] == totals[1] == "number of trainable parameters = 18264546"


def test_another_architecture_than_the_released_one_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(parameters, "ArchitectureOptions", lambda: ArchitectureOptions(residual_blocks=3))
    with pytest.raises(
        UserError, match="its generator has 22,335,314 parameters at the sizes of CUB, not the released"
    ):
        write_parameters(tmp_path)
    assert not list(tmp_path.iterdir())
