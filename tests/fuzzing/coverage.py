"""Search for inputs that reach new lines of a parser, with atheris: python -m tests.fuzzing.coverage READER COUNT

Prints the number of inputs tried, read and refused as JSON. The corpus begins with the reader's valid file.
"""

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dmgan.storage", "dmgan.data.sources", "dmgan.data.vocabulary"]):
    from tests.fuzzing.readers import READERS
from tests.fuzzing.seeds import make_seeds
from tests.fuzzing.trying import Trial

_LONGEST = 1 << 14  # bytes of an input


def main(name: str, count: int, findings: Path) -> None:
    """Try `count` inputs; libFuzzer ends the process, so that the result is printed after every input that fails."""
    folder = Path(tempfile.mkdtemp(prefix="dmgan-coverage-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    make_seeds(folder / "seeds")
    trial = Trial(READERS[name], folder / "seeds", folder / "copy")
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "valid").write_bytes(trial.valid)

    def try_input(data: bytes) -> None:
        finding = trial.try_input(data)
        if finding is not None and trial.result.failed <= 20:
            print(f"    {finding.place}: {finding.what}: {finding.save(findings, name)}", file=sys.stderr)
        if trial.result.tried == count:
            result = trial.result
            print(json.dumps({"tried": count, "read": result.read, "refused": result.refused, "failed": result.failed}))
            sys.stdout.flush()

    arguments = [sys.argv[0], str(corpus), f"-runs={count}", f"-max_len={_LONGEST}", "-verbosity=0", "-seed=1"]
    atheris.Setup(arguments, try_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
