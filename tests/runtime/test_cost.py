"""Provenance of results: commit, dirty flag, versions, machine and cost."""

import time

import torch

from dmgan.report.made_from import recorded
from dmgan.runtime import provenance as module
from dmgan.runtime.cost import Cost
from dmgan.storage.files import file_sha256, read_json

ENTRIES = {"commit", "dirty", "command", "versions", "machine", "cost"}
COST = {"device", "devices", "seconds", "device_hours", "peak_memory"}


def test_cost_counts_the_devices():
    cost = Cost(torch.device("cpu"), devices=4)
    time.sleep(0.01)
    found = cost.measured()
    assert found.keys() == COST and found["seconds"] >= 0.01 and found["device"].startswith("CPU (")
    assert found["peak_memory"]["ram_bytes"] > 10e6
    assert cost.measured(1800.0)["device_hours"] == 2.0


def test_provenance_says_whether_the_code_is_that_of_the_commit(monkeypatch):
    for commit, dirty in (("abc", False), ("abc+changes", True), ("unknown", None)):
        monkeypatch.setattr(module, "commit", lambda commit=commit: commit)
        found = module.provenance({"seconds": 1.0})
        assert found.keys() == ENTRIES and found["dirty"] is dirty and found["cost"] == {"seconds": 1.0}


def test_tables_record_what_they_are_made_from(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    with recorded(tmp_path / "tables", "tables", [tmp_path / "metrics.json"]):
        pass
    written = read_json(tmp_path / "tables/tables.provenance.json", "")
    assert written["made_from"] == {"../metrics.json": file_sha256(tmp_path / "metrics.json")}
    assert written["provenance"].keys() == ENTRIES
