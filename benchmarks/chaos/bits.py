"""A flipped bit in a stored file: the job that reads it names the file, or its results do not change."""

from pathlib import Path

from benchmarks.chaos.cases import Case
from benchmarks.reliability import Outcome
from dmgan.storage.files import files_below


def flip_input(case: Case) -> Outcome:
    """Flip a bit in a random file that the job reads."""
    case.prepare()
    folders = [case.folder / each for each in case.job.reads]
    files = [folder for folder in folders if folder.is_file()]
    files += [folder / name for folder in folders if folder.is_dir() for name in sorted(files_below(folder))]
    return _flip(case, [file for file in files if file.stat().st_size])


def flip_checkpoint(case: Case) -> Outcome:
    """Kill the job, flip a bit in its checkpoint, and resume."""
    case.prepare()
    checkpoint = _run_folder(case) / "checkpoint.pt"
    started = case.start()
    while not checkpoint.exists() and not started.ended:
        case.reach_moment(started)
    started.kill_group()
    return _flip(case, [checkpoint])


def _run_folder(case: Case) -> Path:
    """Return the folder that the job trains in."""
    made = case.folder / case.job.makes[0]
    return made.parent if made.suffix else made


def _flip(case: Case, files: list[Path]) -> Outcome:
    """Flip a bit of one of the files and run the job: it must name the file, or have the reference's results."""
    file = case.random.choice(files)
    content = bytearray(file.read_bytes())
    place = case.random.randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    file.write_bytes(content)
    started = case.start()
    status = started.wait()
    case.injected += 1
    case.notes.append(f"bit {place} of {file.relative_to(case.folder)}")
    if status == 0:
        case.read_output(started)
        return case.finish()
    line = case.refusal(started, file.name, str(file.parent.relative_to(case.folder)))
    case.notes.append(line or f"status {status} without a line that names the file: {started.output()[-300:]}")
    return case.outcome(lost=int(line is None))
