"""Jobs as process groups: start, kill at a moment of CPU time, wait; comparison of results with uninterrupted ones."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from benchmarks.chaos.jobs import MLFLOW_FILE, Job
from dmgan.runtime.progress import Progress
from dmgan.storage.files import files_below

ROOT = Path(__file__).parent.parent.parent  # of the project
PROGRESS = "DMGAN_CHAOS_PROGRESS"  # environment variable: file that holds the number of finished steps
_TICKS = os.sysconf("SC_CLK_TCK")
_VARIABLES = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
    "DMGAN_GPU_IDS": "",
}  # fmt: skip


class Started:
    """A job at work, the leader of a process group; its output goes to a file."""

    def __init__(self, pid: int, log: Path):
        self.pid, self.log, self._status = pid, log, None

    @property
    def ended(self) -> bool:
        """Whether the leader has ended."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # another object of this job has waited for it
                pid, status = self.pid, signal.SIGKILL
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status is not None

    def wait(self, seconds: float = 600) -> int:
        """Return the exit code, or minus the signal; kill the group and raise TimeoutError if it does not end."""
        end = time.monotonic() + seconds
        while not self.ended:
            if time.monotonic() > end:
                self.kill_group()
                raise TimeoutError(f"{self.log}: the job does not end within {seconds:g} s")
            time.sleep(0.02)
        return self._status

    def cpu_seconds(self) -> float:
        """Return the CPU time of the group's processes, those that have ended included."""
        return sum(sum(times) for _, times in self._group()) / _TICKS

    def processes(self) -> dict[int, list[str]]:
        """Return the command line of every process of the group, by id."""
        found = {}
        for pid, _ in self._group():
            with suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return found

    def _group(self) -> Iterator[tuple[int, list[int]]]:
        """Yield id and CPU ticks of the job's processes: of its group and session, and all that these have started.

        Every rank of a training with several processes has a session of its own.
        """
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                found[int(process.name)] = (process / "stat").read_text().rpartition(") ")[2].split()
        ours = {pid for pid, fields in found.items() if self.pid in (int(fields[2]), int(fields[3]))}
        while more := {pid for pid, fields in found.items() if int(fields[1]) in ours} - ours:
            ours |= more
        for pid in ours:
            if found[pid][0] != "Z":
                yield pid, [int(each) for each in found[pid][11:15]]

    def kill(self, pid: int | None = None) -> None:
        """Send SIGKILL to one process of the group, by default its leader."""
        with suppress(ProcessLookupError):
            os.kill(pid or self.pid, signal.SIGKILL)

    def kill_group(self) -> None:
        """Send SIGKILL to all processes of the session, and wait for the leader."""
        for pid, _ in list(self._group()):
            self.kill(pid)
        while not self.ended:
            time.sleep(0.02)

    def output(self) -> str:
        """Return what the job has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def start(
    job: Job,
    folder: Path,
    enter: Callable[[], None] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Started:
    """Start a job in `folder`: in a fork of this process, which has imported the program, unless it needs a new one.

    enter: called in the forked process before the job; variables: added to the environment of a new process.
    """
    log = folder.parent / f"{job.name}.log"
    steps = {PROGRESS: str(folder.parent / "progress")}
    Path(steps[PROGRESS]).unlink(missing_ok=True)
    if job.program or variables:
        command = [*(job.program or (sys.executable, "-m", "benchmarks.chaos.probe")), *job.words]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | _VARIABLES | steps | {"PATH": path} | dict(variables or {})
        with open(log, "wb") as file:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        process.returncode = 0  # Started waits for it
        return Started(process.pid, log)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        _run_as_child(job, folder, log, steps, enter)
    return Started(pid, log)


def _run_as_child(
    job: Job, folder: Path, log: Path, variables: dict[str, str], enter: Callable[[], None] | None
) -> None:
    """Run the program's subcommand in this forked process, and end it."""
    code = 1
    try:
        os.setsid()
        with open(log, "wb") as file:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
        if enter is not None:
            enter()
        os.chdir(folder)
        os.environ.update(_VARIABLES | variables)
        sys.argv = ["benchmarks.chaos.probe", *job.words]
        runpy.run_module("benchmarks.chaos.probe", run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def probe_progress() -> None:
    """Make Progress write the number of finished steps to the file that PROGRESS names, after every step."""
    counted = Progress.step
    descriptor = os.open(os.environ[PROGRESS], os.O_WRONLY | os.O_CREAT, 0o666)

    def step(self: Progress, count: int = 1, note: str = "") -> None:
        counted(self, count, note)
        if self._shown:
            os.pwrite(descriptor, f"{self._done:10}".encode(), 0)

    Progress.step = step


def steps_done(folder: Path) -> int:
    """Return the number of finished steps of the job that last ran in `folder`."""
    file = folder.parent / "progress"
    return int(file.read_text() or 0) if file.exists() else 0


def fresh_copy(reference: Path, folder: Path, job: Job) -> None:
    """Fill the empty `folder` with the reference results that the job reads and MLflow's database."""
    (folder / "results").mkdir()
    for name in job.reads:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (reference / name).is_dir() else shutil.copy2
        copy(reference / name, folder / name)
    if (reference / MLFLOW_FILE).exists():
        shutil.copy2(reference / MLFLOW_FILE, folder / MLFLOW_FILE)
    for name in job.project:
        (folder / name).symlink_to(ROOT / name)


def differences(reference: Path, folder: Path, job: Job) -> list[str]:
    """Return the results of the job that are missing, or whose content differs from the reference's."""
    found = []
    for made in job.makes:
        expected, got = _contents(reference / made), _contents(folder / made)
        found += [
            f"{made}/{name}".rstrip("/") for name in sorted(expected | got) if expected.get(name) != got.get(name)
        ]
    return found


# Not compared: locks; state that only a resumed run or MLflow reads; which commit and machine made a result.
_UNCOMPARED = ("checkpoint.pt", "checkpoint-previous.pt", "checkpoint-damaged.pt", "mlflow.json")
_PROVENANCE = ("provenance", "sha256", "content_sha256", "engine", "commit")


def _contents(path: Path) -> dict[str, bytes]:
    """Return name -> content of a file or of the files below a folder, without what is not compared."""
    if path.is_file():
        return {"": _content(path)}
    names = files_below(path) if path.is_dir() else ()
    return {
        name: _content(path / name)
        for name in names
        if not name.endswith(".lock") and Path(name).name not in _UNCOMPARED and not Path(name).name.startswith(".")
    }


def _content(path: Path) -> bytes:
    """Return a file's content; of JSON files, the content without provenance."""
    content = path.read_bytes()
    return json.dumps(_without_provenance(json.loads(content))).encode() if path.suffix == ".json" else content


def _without_provenance(value: object) -> object:
    """Return a copy of a JSON value without the entries of _PROVENANCE."""
    if isinstance(value, dict):
        return {name: _without_provenance(each) for name, each in value.items() if name not in _PROVENANCE}
    return [_without_provenance(each) for each in value] if isinstance(value, list) else value
