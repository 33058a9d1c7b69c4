"""pyproject.toml, requirements.lock and environment.yml agree."""

import importlib.metadata
import re
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from tests.paths import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [
    Requirement(line) for line in [*PROJECT["dependencies"], *EXTRAS["workflow"], *EXTRAS["tests"], *EXTRAS["site"]]
]


def locked() -> dict[str, str]:
    """Return package -> version of requirements.lock; raise if a package has two versions."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", LOCK, re.MULTILINE)
    assert len(found) == len(dict(found))
    return dict(found)


def test_every_requirement_is_locked_within_its_range():
    for requirement in REQUIREMENTS:
        assert locked()[requirement.name] in requirement.specifier, requirement


def test_every_locked_package_has_hashes():
    blocks = re.split(r"\n(?=\S)", LOCK.strip())
    assert len(blocks) == len(locked())
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock", "environment.yml"])
def test_no_package_index_is_named(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)


def test_environment_yml_has_the_locked_version_of_every_requirement():
    assert set(ENVIRONMENT) == {"name", "channels", "dependencies"}
    *conda, pip = ENVIRONMENT["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert pip["pip"] == [f"{package.name}=={locked()[package.name]}" for package in REQUIREMENTS]


def test_the_lock_covers_the_supported_python_versions():
    supported = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert [minor for minor in range(8, 20) if f"3.{minor}.0" in supported] == [11, 12, 13]
    assert "(3, 11) <= sys.version_info < (3, 14)" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "python_full_version < '3.1" not in LOCK.replace("python_full_version < '3.15'", "")


def test_the_installed_versions_are_the_locked_ones():
    assert (3, 11) <= sys.version_info < (3, 14)
    installed = {package.name: importlib.metadata.version(package.name) for package in REQUIREMENTS}
    assert {name: version.split("+")[0] for name, version in installed.items()} == {
        package.name: locked()[package.name] for package in REQUIREMENTS
    }
