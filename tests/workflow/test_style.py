"""Format, lint and layout of the workflow's files."""

import argparse
import importlib
import re

import pytest

from dmgan.__main__ import SUBCOMMANDS
from dmgan.options import CONTROLS
from tests.paths import ROOT
from tests.project import run

WORKFLOW = ROOT / "workflow"
SNAKEFILES = [ROOT / "Snakefile", *sorted((WORKFLOW / "rules").glob("*.smk"))]
TEXTS = [*SNAKEFILES, *sorted(path for path in WORKFLOW.rglob("*") if path.suffix in (".py", ".yaml"))]


@pytest.mark.slow
def test_lint_is_clean():
    lint = run("snakemake", "--lint")
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_format_is_clean():
    check = run("snakefmt", "--check", "Snakefile", "workflow")
    assert check.returncode == 0, check.stdout + check.stderr


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_line_is_longer_than_120_columns(path):
    assert [line for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 120] == []


def test_no_list_of_models_or_controls_is_written_in_the_rules():
    from dmgan.models.registry import MODELS

    text = "\n".join(path.read_text(encoding="utf-8") for path in SNAKEFILES)
    assert [name for name in (*MODELS, *CONTROLS) if re.search(f"['\"]{name}['\"]", text)] == []


def _takes_threads(subcommand: str) -> bool:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"dmgan.commands.{SUBCOMMANDS[subcommand][0]}").add_flags(parser)
    return "--threads" in parser.format_help()


def test_every_job_that_computes_is_given_the_threads_of_its_rule():
    """`--set-threads RULE=N` then sets them. The attribute classifier's rule is the species classifier's."""
    found = {}
    for block in re.split(r"^ *rule ", "\n".join(path.read_text(encoding="utf-8") for path in SNAKEFILES), flags=re.M):
        for name in re.findall(r"(?:-m dmgan|\{params.program\}) (\S+)", block):
            found[name.replace("{params.subcommand}", "classifier")] = block
    computing = {name for name in found if _takes_threads(name)}
    assert computing >= {"pretrain", "classifier", "captioner", "probe", "train", "sample", "evaluate", "controls"}
    assert [name for name in computing if "--threads {threads}" not in found[name]] == []
    assert "--workers {threads}" in found["prepare"]
