"""Benchmarks that a time limit or SIGTERM cuts short write what they measured."""

import os
import signal
import time

import pytest

from benchmarks import evaluation_gpu, fresh, record, sampling
from benchmarks.time_limit import time_limit
from dmgan.errors import UserError
from dmgan.options import AUTOMATIC

RATES = {"images_per_s": 10.0, "cpu_s_per_image": 0.5, "peak_mb": 100.0, "peak_gpu_mb": 200.0}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """An empty folder of results, of a machine with a GPU."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    machine = record.machine()
    monkeypatch.setattr(record, "machine", lambda device: machine | {"device": device, "gpu": "a card"})
    return tmp_path


@pytest.mark.parametrize("by", ["time", "SIGTERM"])
def test_a_block_ends_early_and_says_so(by, capsys):
    handler = signal.getsignal(signal.SIGTERM)
    with time_limit(0.05 if by == "time" else 0) as limit:
        if by == "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        pytest.fail("the block was not left")
    assert limit.cut_short and "cut short by" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is handler and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_block_that_ends_in_time_is_complete():
    with time_limit(5) as limit:
        pass
    assert not limit.cut_short and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_rounds_that_are_cut_short_keep_their_measurements(monkeypatch):
    calls = []

    def measure(module, arguments, environment):
        calls.append(arguments[0])
        if len(calls) == 4:
            time.sleep(5)
        return {"rate": float(len(calls))}

    monkeypatch.setattr(fresh, "measure", measure)
    runs = fresh.interleaved("module", {"slow": ["a"], "fast": ["b"], "last": ["c"]}, 3, seconds=0.2)
    assert calls == ["a", "b", "c", "a"] and {name: len(each) for name, each in runs.items()} == {
        "slow": 1, "fast": 1, "last": 1
    }  # fmt: skip
    runs["fast"].append({"rate": 100.0})
    assert fresh.ratio(runs["fast"], runs["slow"], "rate") == 2.0


def test_sampling_on_a_gpu_is_written_as_far_as_it_was_measured(results, monkeypatch):
    def measure(setting, folder, images, batch, threads, device):
        if setting.options is None:
            assert (images, batch) == (60, sampling.BATCH)
            time.sleep(5)  # the time limit ends it
        assert batch == 64 and images == 600
        return RATES | {"images_per_s": 1000.0 if setting is sampling.SETTINGS[sampling.BEST] else 400.0}

    monkeypatch.setattr(sampling, "make_run", lambda folder: None)
    monkeypatch.setattr(sampling, "measure", measure)
    runs = sampling.measure_on_gpu(sampling.ON_GPU, 600, None, 16, "cuda", 0.5)
    assert list(runs) == [sampling.BEST, sampling.DEFAULT]
    sampling.write(runs, record.machine("cuda"), {"rounds": 1, "images": 600, "batch": None, "threads": 16})
    written = record.read(results / "sampling-cuda.json")
    minutes = {each.name: each for each in written.figures if each.unit == "minutes"}
    assert [each.holds for each in minutes.values()] == [None, True] and written.machine["device"] == "cuda"
    with pytest.raises(UserError, match="nothing was measured"):
        sampling.write({}, record.machine("cuda"), {})


@pytest.mark.parametrize("complete", [True, False])
def test_an_evaluation_on_a_gpu_is_written_by_stages(complete, results, monkeypatch):
    def measure(folder, images, workers, device, seconds):
        seconds |= {"sampling": 9.0, evaluation_gpu._FEATURES: 4.0}
        if not complete:
            time.sleep(5)
        seconds |= {evaluation_gpu._AGAIN: 2.0, "FID(clean)": 50.0}

    monkeypatch.setattr(evaluation_gpu, "measure", measure)
    evaluation_gpu.run(evaluation_gpu.PAPERS, AUTOMATIC, 1, "cuda", 0.2 if not complete else 5)
    figures = {each.name: each for each in record.read(results / "evaluation-cuda.json").figures}
    assert figures["features of the images: rate"].value == 7500
    total = figures.get("30,000 stored images, all metrics")
    assert total is None if not complete else (total.value, total.holds) == (54.0, True)
