"""CPU threads of a process, and what a job imports before its first step."""

import os
import subprocess
import sys

import pytest
import torch

from dmgan.runtime import threads
from dmgan.training.optimizers import Adam, PlainAdam, PlainAdamW


@pytest.fixture
def without_setting(monkeypatch, tmp_path):
    """No OMP_NUM_THREADS, eight CPUs, and a quota that the test writes."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("quota", "expected"), [(None, 8), ("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("unknown", 8)]
)
def test_threads_are_the_cpus_that_affinity_and_quota_allow(without_setting, quota, expected):
    if quota is not None:
        without_setting.write_text(quota, encoding="ascii")
    assert threads.available_threads() == expected


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("3", 3), ("3,2", 3), ("", 8), ("0", 8), ("many", 8), ("99999", 1024), (5000 * "9", 8)],
    ids=lambda each: str(each)[:9],
)
def test_the_setting_of_openmp_comes_first(without_setting, monkeypatch, setting, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert threads.available_threads() == expected


def test_a_subcommand_lets_waiting_threads_sleep_unless_told_otherwise(monkeypatch, capsys):
    from dmgan.__main__ import main

    for setting, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if setting:
            monkeypatch.setenv("OMP_WAIT_POLICY", setting)
        with pytest.raises(SystemExit):
            main(["train", "--help"])
        assert os.environ["OMP_WAIT_POLICY"] == expected
        assert "OMP_NUM_THREADS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("plain", "original"), [(PlainAdam, torch.optim.Adam), (PlainAdamW, torch.optim.AdamW), (Adam, torch.optim.Adam)]
)
def test_an_update_without_the_compilers_guards_has_the_same_bits(plain, original):
    made = []
    for kind in (plain, original):
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 12))
        optimiser = kind([weight], lr=0.1, betas=(0.5, 0.9))
        for step in range(3):
            optimiser.zero_grad()
            (weight * torch.arange(12.0) + step).square().sum().backward()
            optimiser.step()
            optimiser.load_state_dict(optimiser.state_dict())
        made.append(weight.detach())
    assert torch.equal(*made) and not made[0].requires_grad


_TRAINING = """
import sys, torch
from pathlib import Path
from dmgan.runtime.device import set_deterministic
from dmgan.storage.weights import build_network, save_weights
from dmgan.training.optimizers import Adam, PlainAdam, PlainAdamW
set_deterministic(torch.device("cpu"), True)
assert torch.are_deterministic_algorithms_enabled()
for kind in (PlainAdam, PlainAdamW, Adam):
    weight = torch.nn.Parameter(torch.zeros(3))
    optimiser = kind([weight], lr=0.1, betas=(0.5, 0.9))
    weight.sum().backward()
    optimiser.step()
    optimiser.zero_grad()
    optimiser.load_state_dict(optimiser.state_dict())

class Drawn(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(3, 2)
        self.scale = torch.nn.Parameter(torch.empty(2).normal_())

save_weights(Drawn(), Path(sys.argv[1]))
build_network(Drawn, Path(sys.argv[1]), "")
print(sorted({"torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules)))
"""


def test_a_training_step_and_reading_a_network_do_not_import_the_compiler(tmp_path):
    words = [sys.executable, "-c", _TRAINING, str(tmp_path / "x.safetensors")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
