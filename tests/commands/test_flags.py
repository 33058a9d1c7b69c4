"""Flags whose default depends on others."""

import argparse
from pathlib import Path

import pytest

from dmgan.commands import flags
from dmgan.data.dataset import pack
from tests.data.test_dataset import example


def of(data: Path | None, *words: str) -> tuple[str, ...]:
    """Return the extractors of a command with the given flags."""
    parser = argparse.ArgumentParser()
    flags.add_extractors(parser)
    arguments = parser.parse_args(words)
    arguments.data = data
    return flags.extractors_from(arguments)


@pytest.mark.parametrize("source, expected", [("synthbirds", ("species",)), ("cub", ("efficientnet-lite0", "species"))])
def test_photographs_are_measured_by_the_imagenet_network_before_the_species_classifier(source, expected, tmp_path):
    examples = [example("a"), example("b", "test", class_id=1)]
    pack(examples, tmp_path / "set", source={"name": source}, image_size=32)
    assert of(tmp_path / "set", "--classifier", "x") == expected
    assert of(None, "--classifier", "x") == ("species",)  # images that no data set is given for
    assert of(tmp_path / "set") == ("inception-tf", "clean")
    assert of(tmp_path / "set", "--classifier", "x", "--extractors", "clean") == ("clean",)
