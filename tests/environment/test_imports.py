"""Imports run one way, as pyproject.toml says, and every name that is imported exists, inside functions too."""

import ast
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

LINTER = Path(sys.executable).parent / "lint-imports"


def check_imports(root: Path) -> subprocess.CompletedProcess:
    return subprocess.run([LINTER, "--no-cache"], cwd=root, capture_output=True, text=True)


def test_imports_run_one_way():
    checked = check_imports(ROOT)
    assert checked.returncode == 0, checked.stdout


def test_an_import_that_runs_back_is_found(tmp_path):
    for name in ("dmgan", "baselines", "workflow"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    with (tmp_path / "dmgan/models/dmgan.py").open("a", encoding="utf-8") as file:
        file.write("\n\nimport dmgan.evaluation.evaluate\n")
    checked = check_imports(tmp_path)
    assert checked.returncode == 1
    assert "dmgan.models is not allowed to import dmgan.evaluation" in checked.stdout


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["dmgan", "baselines", "workflow", "benchmarks", "docs"])
def test_every_imported_name_exists(folder):
    """Most commands and benchmarks import inside functions, where no import of the module would show a wrong name."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (ROOT / node.module.split(".")[0]).is_dir():
                module = importlib.import_module(node.module)
                for name in [each.name for each in node.names if not hasattr(module, each.name)]:
                    importlib.import_module(f"{node.module}.{name}")
