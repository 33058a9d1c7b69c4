"""The packages of the wheel; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

# A wheel has one package: baselines/ lies inside it, so that it neither hides nor is hidden by a package of its name.
setup(
    packages=[*find_packages(include=["dmgan", "dmgan.*"]), "dmgan.baselines"],
    package_dir={"dmgan.baselines": "baselines"},
)
