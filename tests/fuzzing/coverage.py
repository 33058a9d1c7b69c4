"""Search for inputs that reach new lines of a parser, with atheris.

python -m tests.fuzzing.coverage READER COUNT FINDINGS SEEDS COPY prints the number of inputs tried, read and refused as
JSON. SEEDS holds the valid files of the readers; the corpus, in COPY, begins with this reader's. FINDINGS takes the
inputs that fail.
"""

import json
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dmgan.storage", "dmgan.data.sources", "dmgan.data.vocabulary"]):
    from tests.fuzzing.readers import READERS
from tests.fuzzing.trying import Trial

_LONGEST = 1 << 14  # bytes of an input


def main(name: str, count: int, findings: Path, seeds: Path, copy: Path) -> None:
    """Try `count` inputs; libFuzzer ends the process after the last, so the result is printed before it returns."""
    trial = Trial(READERS[name], seeds, copy / "files")
    corpus = copy / "corpus"
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
    main(sys.argv[1], int(sys.argv[2]), *map(Path, sys.argv[3:]))
