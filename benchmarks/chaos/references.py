"""Results of uninterrupted runs, with which those of disturbed runs are compared."""

import json
import shutil
import sys
import time
from pathlib import Path

from benchmarks.chaos.jobs import APART, JOBS, MLFLOW, MLFLOW_FILE, Job
from benchmarks.chaos.running import ROOT, Started, start
from dmgan.errors import UserError
from dmgan.runtime.provenance import commit


class References:
    """Uninterrupted runs in a folder, made when they are first asked for.

    A later command in the folder reads them if the code is that of the same commit, without changes.
    """

    def __init__(self, folder: Path):
        code = commit()
        self._folder, self._times = folder, folder / f"cpu-seconds-{code[:12]}.json"
        if "+" in code or not self._times.exists():
            for stale in [*folder.glob("reference*"), *folder.glob("cpu-seconds-*")]:
                shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        self._seconds = json.loads(self._times.read_text()) if self._times.exists() else {}

    def of(self, name: str) -> tuple[Path, float]:
        """Return the folder of the job's uninterrupted run, and its CPU time in seconds."""
        shared = self._folder / "reference" / "work"
        if name in APART:
            own = self._folder / f"reference-{name.replace(' ', '-')}" / "work"
            job = APART[name]
            if name not in self._seconds:
                for read in job.reads:
                    self.of(next(each.name for each in JOBS.values() if read in each.makes))
                shutil.rmtree(own, ignore_errors=True)
                own.mkdir(parents=True)
                for each in job.project:
                    (own / each).symlink_to(ROOT / each)
                for read in job.reads:
                    shutil.copytree(shared / read, own / read)
                self._run(job, own)
            return own, self._seconds[name]
        if not (shared / MLFLOW_FILE).exists():
            (shared / "results").mkdir(parents=True)
            self._run(Job("mlflow-db", ("mlflow-db", *MLFLOW.split()), (MLFLOW_FILE,)), shared)
        for before in JOBS.values():
            if before.name not in self._seconds:
                self._run(before, shared)
            if before.name == name:
                break
        return shared, self._seconds[name]

    def _run(self, job: Job, folder: Path) -> None:
        """Run a job to its end and remember its CPU time."""
        started = start(job, folder)
        used = 0.0
        while not started.ended:
            used = max(used, started.cpu_seconds())
            time.sleep(0.02)
        self._require_success(job, started)
        self._seconds[job.name] = used
        self._times.write_text(json.dumps(self._seconds))
        print(f"reference of {job.name}: {used:.1f} s of CPU time", file=sys.stderr, flush=True)

    @staticmethod
    def _require_success(job: Job, started: Started) -> None:
        if status := started.wait():
            raise UserError(f"{job.name}: fails without a fault (status {status}): {started.output()[-2000:]}")
