"""The table of sources: what every source states, and what follows from it."""

import subprocess
import sys
from pathlib import Path

import pytest

from dmgan.data.dataset import oversize
from dmgan.data.sources.coco import PUBLISHED
from dmgan.data.sources.synthbirds.birds import SynthBirds
from dmgan.data.sources.table import DEFAULT_SOURCE, SOURCES, every_source, find_source
from dmgan.errors import UserError
from tests.commands.test_command_line import error_line
from tests.paths import ROOT


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_states_its_name_and_flags(name):
    source = find_source(name)
    assert source.name == name and source.aspect > 0 and source.captions_per_image > 0
    for flag in source.flags.values():
        assert flag.help and (flag.default is None or type(flag.default) is flag.type)
        assert flag.is_input <= (flag.type is Path)


def test_flags_of_one_name_have_one_type_and_the_same_choices():
    """They share one flag of the command line."""
    for name in {name for source in every_source() for name in source.flags}:
        flags = [source.flags[name] for source in every_source() if name in source.flags]
        assert len({(flag.type, str(flag.bounds.get("enum"))) for flag in flags}) == 1, name


def test_every_module_of_a_source_is_in_the_table():
    folder = ROOT / "dmgan" / "data" / "sources"
    defining = [path for path in folder.rglob("*.py") if "\nSOURCE = " in path.read_text(encoding="utf-8")]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in defining}
    assert {each.removesuffix(".__init__") for each in modules} == set(SOURCES.values())


def test_only_the_embedded_source_stores_attributes():
    assert [source.name for source in every_source() if source.has_attributes] == [DEFAULT_SOURCE]


def test_reading_every_source_is_cheap():
    code = (
        "import sys; from dmgan.data.sources.table import every_source; every_source(); "
        "heavy = {'torch', 'numpy', 'PIL', 'nltk'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_options_are_the_given_values_and_the_defaults():
    options = find_source("folder").options({"root": "photos", "test_share": None})
    assert options == {
        "root": Path("photos"), "captions": None, "captions_pickle": None, "captions_per_image": 0, "test_share": 0.1,
        "validation": None, "letters": "folded",
    }  # fmt: skip


def test_images_to_expect():
    birds, coco = find_source("synthbirds"), find_source("coco")
    assert birds.image_counts(birds.options({"num_species": 8, "images_per_species": 4})) == (24, 8)
    assert coco.image_counts(coco.options({"root": "nowhere", "year": "2017"})) == tuple(PUBLISHED["2017"].values())


def test_input_files_of_cub_follow_the_flags():
    cub = find_source("cub")
    files = cub.input_files(cub.options({"root": "cub", "captions": "reed"}))
    assert files[0] == Path("cub/images.txt") and files[-1] == Path("reed/testclasses.txt") and len(files) == 5
    with_metadata = cub.input_files(cub.options({"root": "cub", "metadata": "birds"}))
    assert with_metadata[-2:] == [Path("birds/train/filenames.pickle"), Path("birds/test/filenames.pickle")]


def test_an_unknown_source_is_refused():
    with pytest.raises(UserError, match="source 'flickr': unknown; known sources are synthbirds, cub, coco, folder"):
        find_source("flickr")


@pytest.mark.parametrize(
    ("source", "flag", "value", "reason"),
    [
        ("synthbirds", "image-size", 16, "must be from 32 to 863 with --source synthbirds"),
        ("synthbirds", "image-size", 864, "must be from 32 to 863 with --source synthbirds"),
        ("synthbirds", "num-species", 10_001, r"must be in [4, 10000]"),
        ("synthbirds", "images-per-species", 10_001, r"must be in [1, 10000]"),
        ("synthbirds", "captions-per-image", 101, r"must be in [1, 100]"),
    ],
)
def test_a_number_that_a_source_cannot_make_is_one_line_in_the_user_s_own_number(
    source, flag, value, reason, capsys, tmp_path
):
    """Images are stored larger than in training: the error once named the stored size."""
    line = error_line(capsys, "prepare", "--source", source, "--out", tmp_path / "out", f"--{flag}", value)
    assert line == f"dmgan prepare: --{flag} {value}: {reason}" and not (tmp_path / "out").exists()


def test_the_sizes_of_the_embedded_source_are_those_that_can_be_drawn():
    low, high = find_source("synthbirds").image_sizes
    for side in (low, high):
        SynthBirds(num_species=2, image_size=oversize(side))
    for side in (low - 1, high + 1):
        with pytest.raises(UserError):
            SynthBirds(num_species=2, image_size=oversize(side))
