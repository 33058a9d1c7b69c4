"""The faults, and the jobs that each is injected into."""

from benchmarks.chaos import bits, clock, database, disks, kills
from benchmarks.chaos.cases import Fault
from benchmarks.chaos.jobs import APART, JOBS

_ALL = tuple(JOBS)
_TRAININGS = tuple(name for name, job in JOBS.items() if job.trains)
_WITH_WORKERS = tuple(name for name, job in JOBS.items() if job.workers)
_READERS = tuple(name for name, job in JOBS.items() if job.reads)

FAULTS = {
    fault.name: fault
    for fault in (
        Fault("kill -9 of the process", (*_ALL, *APART), kills.kill_process),
        Fault("kill -9 of the process group", (*_ALL, *APART), kills.kill_group),
        Fault("kill -9 of a worker", _WITH_WORKERS, kills.kill_worker),
        Fault("kill -9 of a rank", ("train on two ranks",), kills.kill_rank),
        Fault("kill -9 of MLflow's server", ("train",), kills.kill_mlflow_server),
        Fault("full disk", _ALL, disks.full_disk),
        Fault("read-only file system", _ALL, disks.read_only),
        Fault("clock jump", ("prepare", "train", "evaluate"), clock.jump),
        Fault("MLflow's database deleted", ("train",), database.delete),
        Fault("MLflow's database damaged", ("train",), database.damage),
        Fault("MLflow's database emptied", ("train",), database.empty),
        Fault("MLflow's database locked", ("train",), database.lock),
        Fault("flipped bit in an input", _READERS, bits.flip_input),
        Fault("flipped bit in a checkpoint", _TRAININGS, bits.flip_checkpoint),
    )
}
