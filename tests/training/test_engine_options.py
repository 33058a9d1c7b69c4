"""Engine options: invalid combinations are refused, and a run records the options of every segment."""

import dataclasses
import shutil

import pytest
import torch

from dmgan.errors import UserError
from dmgan.options import EngineOptions
from dmgan.storage.files import read_json
from tests.conftest import TRAINING
from tests.training.short_runs import assert_equal_files, segments, train_briefly


def test_a_run_that_resumes_with_other_engine_options_records_and_logs_them(
    run_folder, training_inputs, tmp_path, capsys
):
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    half = EngineOptions(precision="float16")
    train_briefly(training_inputs, out, training=dataclasses.replace(TRAINING, epochs=3), engine=half)
    assert "engine settings changed at step 12 (precision)" in capsys.readouterr().err
    assert segments(out) == [(0, "float32"), (12, "float16")]
    train_briefly(training_inputs, out, training=dataclasses.replace(TRAINING, epochs=4), engine=half)
    assert segments(out) == [(0, "float32"), (12, "float16")]


def test_a_finished_run_keeps_its_engine_record(run_folder, training_inputs, tmp_path, capsys):
    """A job whose outputs were lost writes them again from the checkpoint, without a step."""
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    (out / "generator.safetensors").unlink()
    train_briefly(training_inputs, out, engine=EngineOptions(precision="bfloat16"))
    log = capsys.readouterr().err
    assert "all 12 steps are finished already; nothing is trained" in log and "engine settings changed" not in log
    assert segments(out) == [(0, "float32")]
    assert_equal_files(out, run_folder)


@pytest.mark.parametrize("fused", [False, True])
def test_a_resumed_run_uses_the_fused_adam_option_of_its_own_engine(fused, training_inputs, tmp_path):
    """torch's optimisers load `fused` together with their state."""
    out = tmp_path / "run"
    for epochs, fused_adam in ((1, not fused), (2, fused)):
        training = dataclasses.replace(TRAINING, epochs=epochs)
        train_briefly(training_inputs, out, training=training, engine=EngineOptions(fused_adam=fused_adam))
    state = torch.load(out / "checkpoint.pt", weights_only=True)["state"]
    for name in ("generator_adam", "discriminator_adam0"):
        (group,) = state[name]["param_groups"]
        assert bool(group["fused"]) == fused
        steps = {int(moments["step"]) for moments in state[name]["state"].values()}
        assert steps == {12}, "the moments must be those of the whole run"
    engine = read_json(out / "options.json", "")["engine"]
    assert [segment["fused_adam"] for segment in engine] == [not fused, fused]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"precision": "float8"}, "precision 'float8': must be float32, bfloat16, float16"),
        ({"accumulate": 0}, "accumulate 0: must be 1 or more"),
        ({"compile": True, "gradient_checkpointing": True}, "gradient_checkpointing: cannot be combined with compile"),
        ({"cuda_graphs": True}, "cuda_graphs: needs a CUDA device; leave cuda_graphs out"),
        ({"compile": True}, "compile: needs a C.. compiler; install g.., or leave compile out"),
    ],
)
def test_invalid_engine_options_are_refused(options, message, training_inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=message):
        train_briefly(training_inputs, tmp_path / "run", engine=EngineOptions(**options))
    assert not (tmp_path / "run").exists()
