"""kill -9 at a random moment: of a job, its process group, a worker, a rank, Snakemake, or MLflow's server."""

import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace

from benchmarks.chaos.cases import Case
from benchmarks.chaos.jobs import MLFLOW_FILE
from benchmarks.chaos.running import Started, steps_done
from benchmarks.reliability import Outcome

_AGAIN = 0.4  # probability that the resumed run is killed too
_MOST = 3  # kills in a chain


def kill_process(case: Case) -> Outcome:
    """Kill the job's first process; its workers must end by themselves."""
    return _chain(case, lambda started: started.kill())


def kill_group(case: Case) -> Outcome:
    """Kill all processes of the job at once, as a machine that loses power does."""
    return _chain(case, lambda started: started.kill_group())


def kill_worker(case: Case) -> Outcome:
    """Kill one worker process of the job."""
    return _chain(case, lambda started: _kill_one_of(case, started, _is_worker))


def kill_rank(case: Case) -> Outcome:
    """Kill a rank of a training with several processes."""
    return _chain(case, lambda started: _kill_one_of(case, started, _is_rank))


def _is_worker(started: Started, pid: int, words: list[str]) -> bool:
    return pid != started.pid and "resource_tracker" not in " ".join(words)


def _is_rank(started: Started, pid: int, words: list[str]) -> bool:
    return "dmgan.runtime.launch" not in words and "benchmarks.chaos.probe" in words


def _kill_one_of(case: Case, started: Started, chosen: Callable[[Started, int, list[str]], bool]) -> bool:
    """Kill a random process among the chosen ones; return whether there is one."""
    found = [pid for pid, words in started.processes().items() if chosen(started, pid, words)]
    if found:
        started.kill(case.random.choice(found))
    return bool(found)


def _chain(case: Case, kill: Callable[[Started], bool | None]) -> Outcome:
    """Start the job, kill it at a random moment, perhaps again, and run it until it finishes."""
    case.prepare()
    done = None
    for _ in range(2 * _MOST):
        started = case.start()
        at_work = case.reach_moment(started)
        reached = steps_done(case.folder)
        hit = at_work and kill(started) is not False
        if hit:
            case.note_injection()
        started.wait()
        output = case.read_output(started)
        if done is not None:
            case.count_lost_steps(done, output)
        done = reached if hit else None
        if hit and (case.injected == _MOST or case.random.random() > _AGAIN):
            break
        if not hit and case.injected:
            break  # the resumed run has finished before its moment
    return case.finish(done)


def kill_mlflow_server(case: Case) -> Outcome:
    """Kill the MLflow server that a job sends its curves to."""
    case.prepare()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        ["mlflow", "server", "--backend-store-uri", f"sqlite:///{MLFLOW_FILE}", "--host", "127.0.0.1", "--port",
         str(port), "--workers", "1"],
        cwd=case.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        _wait_for(f"{address}/health")
        case.job = replace(case.job, words=(*case.job.words[:-1], address))
        started = case.start()
        if case.reach_moment(started):
            Started(server.pid, started.log).kill_group()
            case.note_injection()
        else:
            case.notes.append("the job had finished")
        status = started.wait()
        case.read_output(started)
        if status:
            case.notes.append(f"the job ended with status {status} without the server")
            return case.outcome(lost=1)
        return case.finish()
    finally:
        Started(server.pid, case.folder / "server.log").kill_group()


def _wait_for(address: str, seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
