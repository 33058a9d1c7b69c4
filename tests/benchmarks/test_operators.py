"""The operators of a training step are counted by part, without views."""

import sys

import pytest
import torch

from benchmarks import operators, record
from dmgan.text.encoders import SmallImageEncoder
from tests.conftest import ARCHITECTURE


def test_views_and_allocations_are_no_operators():
    x = torch.rand(4, 3)
    with operators.OperatorCount() as count:
        (x.t().view(3, 2, 2).detach() + 1).mul_(2)
        with count.part("product"):
            torch.empty(2)
            x @ x.t()
    assert {name: dict(part) for name, part in count.parts.items()} == {
        "other": {"add": 1, "mul_": 1},
        "product": {"mm": 1},
    }


@pytest.fixture(scope="module")
def counts():
    """Operators of a step of a small model, by setting and part."""
    small = {}
    for name, engine in operators.SETTINGS.items():
        trainer = operators.trainer_of(engine, ARCHITECTURE, SmallImageEncoder(8, 2), 8)
        small[name] = operators.counted_step(trainer)
    return small


def test_every_part_of_a_step_is_counted(counts):
    parts = {
        "generator, forward", "discriminators, forward", "discriminators, backward", "Adam", "adversarial loss",
        "image encoder", "DAMSM scores", "generator, backward", "average of weights", "other",
    }  # fmt: skip
    assert all(set(each) == parts for each in counts.values())
    fused = counts["fused, fused Adam"]
    assert fused["Adam"]["_fused_adam_"] == 4 and fused["average of weights"].total() == 1


def test_fused_blocks_need_fewer_operators(counts):
    plain, fused = counts["plain, fused Adam"], counts["fused, fused Adam"]
    assert sum(part.total() for part in fused.values()) < 0.65 * sum(part.total() for part in plain.values())
    for part in ("discriminators, forward", "discriminators, backward", "adversarial loss", "image encoder"):
        assert fused[part].total() < 0.75 * plain[part].total(), part
    assert not fused["image encoder"]["native_batch_norm"] and plain["image encoder"]["native_batch_norm"]
    assert fused["discriminators, forward"]["convolution"] < plain["discriminators, forward"]["convolution"]
    # Every pass of a layer runs one power iteration: two products of weight and vector, and a third for its norm.
    assert 3 * fused["discriminators, forward"]["mv"] == 2 * plain["discriminators, forward"]["mv"]


def test_the_goal_is_a_claim_about_the_fused_step(counts, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(operators, "trainer_of", lambda engine, *_: engine)
    monkeypatch.setattr(operators, "build_image_encoder", lambda *_: None)
    names = {engine: name for name, engine in operators.SETTINGS.items()}
    monkeypatch.setattr(operators, "counted_step", lambda engine: counts[names[engine]])
    monkeypatch.setattr(sys, "argv", ["operators"])
    assert operators.main() == 0
    result = record.read(tmp_path / "operators.json")
    assert [each.name for each in result.figures if each.at_most] == ["fused, fused Adam: a step"]
    assert result.details["runs"]["plain"]["Adam"]["sqrt"] > 0 and (tmp_path / "operators.png").exists()
