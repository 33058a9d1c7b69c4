"""Images are a pure function of weights, tokens and the image's own seed."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch._inductor.config
from PIL import Image

from dmgan.data.batches import to_uint8
from dmgan.errors import UserError
from dmgan.inspection.generated_folder import GenerateRequest, generate_from_captions
from dmgan.options import SamplingOptions
from dmgan.sampling.captions import choose_test_caption, pass_order
from dmgan.sampling.generate import read_captions
from dmgan.sampling.inference import InferenceGenerator
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.sampling.trained_model import generate_images, image_noise, load_run
from dmgan.text.damsm import Damsm
from tests.conftest import CPU

PLAIN = SamplingOptions(fused=False, channels_last=False, workers=0)


def sampled(run, data, out, **changes) -> dict[str, np.ndarray]:
    """Sample into `out` and read every image back, by name."""
    options = replace(changes.pop("options", PLAIN), batch_size=changes.pop("batch_size", 7))
    request = SampleRequest(**{"num_images": 23, "all_stages": True} | changes)
    sample_test_captions(run, data, out, request, CPU, options)
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(out.glob("*.png"))}


def test_batch_size_changes_nothing(run_folder, data, tmp_path):
    seven = sampled(run_folder, data, tmp_path / "seven")
    assert len(seven) == 3 * 23 and {"000000_8.png", "000022_32.png"} <= set(seven)
    for batch_size in (1, 64):
        other = sampled(run_folder, data, tmp_path / str(batch_size), batch_size=batch_size)
        assert seven.keys() == other.keys()
        assert max(np.abs(seven[name] - other[name]).max() for name in seven) <= 1


def test_order_changes_nothing(run_folder, dataset):
    trained = load_run(run_folder, CPU)
    choices = [choose_test_caption(dataset, number, 100, trained.max_words) for number in range(9)]
    noise = torch.stack([image_noise(100, number, trained.model.noise_dim) for number in range(9)])
    forwards = generate_images(trained, [choice.tokens for choice in choices], noise).images[-1]
    backwards = generate_images(trained, [choice.tokens for choice in choices[::-1]], noise.flip(0)).images[-1]
    assert np.abs(to_uint8(forwards).astype(int) - to_uint8(backwards.flip(0)).astype(int)).max() <= 1


def test_more_images_leave_the_first_ones_as_they_are(run_folder, data, tmp_path):
    few = sampled(run_folder, data, tmp_path / "few", num_images=5)
    many = sampled(run_folder, data, tmp_path / "many", num_images=23)
    assert max(np.abs(few[name] - many[name]).max() for name in few) <= 1


def test_longer_captions_are_read_where_asked_for(run_folder, data, tmp_path):
    def tokens(name: str, **changes) -> list[list[int]]:
        sampled(run_folder, data, tmp_path / name, num_images=12, all_stages=False, **changes)
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        assert manifest["max_words"] == changes.get("max_words", load_run(run_folder, CPU).max_words)
        assert max(map(len, manifest["tokens"])) <= manifest["max_words"]
        return manifest["tokens"]

    usual, long, short = tokens("usual"), tokens("long", max_words=99), tokens("short", max_words=2)
    assert max(map(len, long)) > load_run(run_folder, CPU).max_words >= max(map(len, usual))
    assert {len(each) for each in short} == {2}
    with pytest.raises(UserError, match="--max-words 0: must be 1 or more"):
        tokens("none", max_words=0)


def test_seeds_differ(run_folder, data, tmp_path):
    one, other = (sampled(run_folder, data, tmp_path / str(seed), seed=seed, num_images=4) for seed in (1, 2))
    assert np.abs(one["000000_32.png"] - other["000000_32.png"]).max() > 1
    assert not torch.equal(image_noise(1, 0, 8), image_noise(1, 1, 8))


def test_without_all_stages_the_last_alone_is_written(run_folder, data, tmp_path):
    images = sampled(run_folder, data, tmp_path / "out", num_images=4, all_stages=False)
    assert list(images) == [f"{number:06d}.png" for number in range(4)]
    assert images["000000.png"].shape == (32, 32, 3)


def test_a_model_of_one_image_is_sampled(one_image_folder, data, tmp_path):
    images = sampled(one_image_folder, data, tmp_path / "out", num_images=4)
    assert list(images) == [f"{number:06d}_32.png" for number in range(4)]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["stages"] == [32] and manifest["image_size"] == 32
    generate_from_captions(one_image_folder, GenerateRequest(["a red bird"], seed=0), tmp_path / "own", CPU)
    assert [path.name for path in (tmp_path / "own").glob("*.png")] == ["caption000_000_32.png"]


def test_the_manifest_says_which_caption_each_image_shows(run_folder, data, dataset, tmp_path):
    sampled(run_folder, data, tmp_path / "out", num_images=20)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    test = dataset.indices("test")
    expected = [int(test[pass_order(len(test), 100, n // len(test))[n % len(test)]]) for n in range(20)]
    assert [each["test_image"] for each in manifest["images"]] == expected
    assert manifest["test_order"] == "a random permutation of the test images in every pass"
    for each, tokens in zip(manifest["images"], manifest["tokens"], strict=True):
        whole = dataset.tokens(each["test_image"], each["caption"]).tolist()
        assert set(tokens) <= set(whole) and len(tokens) == min(len(whole), 12)
    assert manifest["model"] == "dmgan" and manifest["seed"] == 100
    options = json.loads((run_folder / "options.json").read_text())
    recorded = manifest["hyperparameters"]
    for block in ("architecture", "training", "gammas"):
        assert {name: recorded[name] for name in options[block]} == options[block]
    assert recorded["precision"] == "float32" and recorded["max_words of sampling"] == 12


def differences(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> np.ndarray:
    """All differences between two samplings, grey levels."""
    assert one.keys() == other.keys()
    return np.concatenate([np.abs(one[name] - other[name]).ravel() for name in one])


def test_options_change_rounding_and_bfloat16_little_more(run_folder, data, tmp_path):
    plain = sampled(run_folder, data, tmp_path / "plain")
    fused = differences(plain, sampled(run_folder, data, tmp_path / "fused", options=SamplingOptions(workers=0)))
    assert fused.max() <= 1 and (fused > 0).mean() < 0.001
    bfloat16 = SamplingOptions(precision="bfloat16", workers=0)
    moved = differences(plain, sampled(run_folder, data, tmp_path / "bfloat16", options=bfloat16))
    assert 0 < moved.mean() < 1 and moved.max() <= 6
    computed = json.loads((tmp_path / "bfloat16" / "manifest.json").read_text())["computed"]
    expected = {"precision": "bfloat16", "fused": True, "channels_last": True, "compile": False, "device": "cpu"}
    assert computed == expected


@pytest.mark.slow
def test_a_compiled_generator_makes_the_same_images(run_folder, dataset, monkeypatch):
    compiled = []

    def compile(function, dynamic):  # what torch.compile sees, without the minute that it takes
        compiled.append(dynamic)
        return lambda *given: shapes.append([tuple(each.shape) for each in given[:4]]) or function(*given)

    shapes = []
    monkeypatch.setattr(torch, "compile", compile)
    trained = load_run(run_folder, CPU)
    captions = [choose_test_caption(dataset, number, 100, trained.max_words).tokens for number in range(3)]
    noise = torch.stack([image_noise(100, number, trained.model.noise_dim) for number in range(3)])
    images = [
        InferenceGenerator(trained.model, SamplingOptions(compile=wish, batch_size=8), CPU, 12).images(
            noise[:count], trained.damsm.encode_captions(captions[:count])
        )
        for wish, count in ((False, 3), (True, 3), (True, 2))
    ]
    assert compiled == [False, False] and shapes[0] == shapes[1] and shapes[0][2] == (8, 16, 12)
    for stage in range(3):
        torch.testing.assert_close(images[1][stage], images[0][stage], rtol=0, atol=1e-5)
        torch.testing.assert_close(images[2][stage], images[0][stage][:2], rtol=0, atol=1e-5)


def test_compiling_without_a_compiler_is_refused(run_folder, data, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="--compile: needs a C.. compiler, and no-such-compiler is not found"):
        sampled(run_folder, data, tmp_path / "out", options=SamplingOptions(compile=True, workers=0))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_compiler_that_does_not_work_is_one_line(run_folder, data, tmp_path):
    message = "--compile: the generator could not be compiled .*InvalidCxxCompiler"
    with torch._inductor.config.patch({"cpp.cxx": (None, "false")}), pytest.raises(UserError, match=message):
        sampled(run_folder, data, tmp_path / "out", options=SamplingOptions(compile=True, workers=0))
    assert not (tmp_path / "out").exists()


def test_equal_captions_are_encoded_once(run_folder, data, tmp_path, monkeypatch):
    encoded, encode = [], Damsm.encode_captions
    monkeypatch.setattr(Damsm, "encode_captions", lambda self, given: encoded.extend(given) or encode(self, given))
    sampled(run_folder, data, tmp_path / "out", num_images=60)
    tokens = json.loads((tmp_path / "out" / "manifest.json").read_text())["tokens"]
    distinct = {tuple(each) for each in tokens}
    assert len(distinct) < 60 and sorted(tuple(each.tolist()) for each in encoded) == sorted(distinct)


@pytest.mark.slow
def test_workers_write_the_same_files_and_the_packed_one_holds_them(run_folder, data, tmp_path):
    for name, workers in (("none", 0), ("two", 2)):
        sampled(run_folder, data, tmp_path / name, options=SamplingOptions(packed=True, workers=workers))
    names = sorted(path.name for path in (tmp_path / "none").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir()) and len(names) == 3 * 23 + 3 + 1
    for name in names[1:]:
        if name != "manifest.json":
            assert (tmp_path / "none" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    packed = json.loads((tmp_path / "two" / "manifest.json").read_text())["packed"]
    assert packed == {f"images_{side}.npy": [23, side, side, 3] for side in (8, 16, 32)}
    images = np.load(tmp_path / "two" / "images_32.npy", mmap_mode="r")
    for number in range(23):
        assert np.array_equal(images[number], np.asarray(Image.open(tmp_path / "two" / f"{number:06d}_32.png")))


class Killed(BaseException):
    """An end in the middle."""


def cut_short(monkeypatch, batches: int) -> list[int]:
    """Let sampling end in the middle after so many batches; gives the sizes of the batches that are computed."""
    sizes, images = [], InferenceGenerator.images

    def counted(self, noise, *rest):
        if len(sizes) == batches:
            raise Killed
        sizes.append(len(noise))
        return images(self, noise, *rest)

    monkeypatch.setattr(InferenceGenerator, "images", counted)
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_sampling_is_resumed(run_folder, data, tmp_path, monkeypatch, capsys, workers):
    options = SamplingOptions(packed=True, workers=workers)
    whole = sampled(run_folder, data, tmp_path / "whole", options=options)
    out, part = tmp_path / "out", tmp_path / "out.part"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        cut_short(patch, batches=3)
        sampled(run_folder, data, out, options=options)
    assert not out.exists()
    done = {path.name[:6] for path in part.glob("*_32.png")}  # a worker may not have come to its files yet
    assert workers or len(done) == 21
    with monkeypatch.context() as patch:
        sizes = cut_short(patch, batches=99)
        again = sampled(run_folder, data, out, options=options)
    assert sum(sizes) == 23 - len(done)
    assert f"resuming; {len(done)} of 23 images are complete" in capsys.readouterr().err
    assert differences(again, whole).max() == 0 and not part.exists()
    assert (out / "images_32.npy").read_bytes() == (tmp_path / "whole" / "images_32.npy").read_bytes()
    assert {path.suffix for path in out.iterdir()} == {".png", ".npy", ".json"}


def test_an_unfinished_sampling_with_other_inputs_starts_again(run_folder, data, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        cut_short(patch, batches=2)
        sampled(run_folder, data, tmp_path / "out")
    other = sampled(run_folder, data, tmp_path / "out", seed=101)
    assert "starting again; 42 images with other inputs (seed) are deleted" in capsys.readouterr().err
    assert differences(other, sampled(run_folder, data, tmp_path / "fresh", seed=101)).max() == 0


def test_an_unfinished_sampling_is_resumed_with_another_batch_size(run_folder, data, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        cut_short(patch, batches=2)
        sampled(run_folder, data, tmp_path / "out")
    assert len(sampled(run_folder, data, tmp_path / "out", batch_size=5)) == 3 * 23
    assert "resuming; 14 of 23 images are complete" in capsys.readouterr().err


def test_a_folder_in_the_way_is_left_alone(run_folder, data, tmp_path):
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match="out.part: holds letter.txt, which sample did not write"):
        sampled(run_folder, data, tmp_path / "out")
    assert (tmp_path / "out.part" / "letter.txt").read_text() == "mine"


def contents(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("subcommand", ["sample", "generate"])
def test_a_folder_with_files_of_anybody_else_is_left_as_it_is(run_folder, data, tmp_path, subcommand):
    def made():
        if subcommand == "sample":
            sampled(run_folder, data, tmp_path / "mine", num_images=3)
        else:
            generate_from_captions(run_folder, GenerateRequest(["a red bird"], seed=0), tmp_path / "mine", CPU)

    (tmp_path / "mine").mkdir()  # as Snakemake does
    made()
    first = contents(tmp_path / "mine")
    made()  # its own earlier images are replaced
    assert contents(tmp_path / "mine").keys() == first.keys()
    (tmp_path / "mine" / "thesis").mkdir()
    (tmp_path / "mine" / "thesis" / "thesis.tex").write_text("years")
    found = contents(tmp_path / "mine")
    with pytest.raises(UserError, match=f"holds thesis/thesis.tex, which {subcommand} did not write, .* give a new"):
        made()
    assert contents(tmp_path / "mine") == found
    shutil.rmtree(tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "000001.png").write_bytes(b"a photograph of a name such as theirs")
    with pytest.raises(UserError, match="mine: holds .*, which .* did not write"):
        made()
    assert contents(tmp_path / "mine") == {"000001.png": b"a photograph of a name such as theirs"}


def test_a_full_disk_keeps_what_is_complete(run_folder, data, tmp_path, monkeypatch):
    save, left = Image.Image.save, [30]

    def full(self, path, **options):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        save(self, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        with pytest.raises(UserError, match="No space left on device.; complete images stay in .*out.part"):
            sampled(run_folder, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with monkeypatch.context() as patch:
        sizes = cut_short(patch, batches=99)
        assert len(sampled(run_folder, data, tmp_path / "out")) == 3 * 23
    assert sum(sizes) == 23 - 7


def test_uint8_is_truncated_as_released():
    values = torch.tensor([-1.0, -0.999, 0.0, 0.9999, 1.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_uint8(values)[0, 0, :, 0].tolist() == [0, 0, 127, 254, 255]


def test_caption_files(tmp_path):
    (tmp_path / "captions.txt").write_text(
        "a red bird\r\n\n  a blue bird \na\u2028b\x0cc\n", encoding="utf-8", newline=""
    )
    assert read_captions(tmp_path / "captions.txt") == ["a red bird", "a blue bird", "a\u2028b\x0cc"]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match="holds no caption"):
        read_captions(tmp_path / "empty.txt")
    with pytest.raises(UserError, match="cannot be read"):
        read_captions(tmp_path / "missing.txt")


def test_what_is_sampled_and_how_is_checked_before_anything_is_read():
    with pytest.raises(UserError, match="--num-images 0: must be 1 or more"):
        SampleRequest(num_images=0)
    with pytest.raises(UserError, match="batch_size 0: must be 1 or more"):
        SamplingOptions(batch_size=0)


def test_rows_of_padded_captions_are_those_of_the_captions(dataset, damsm_folder):
    damsm = Damsm.read(damsm_folder)
    captions = damsm.encode_captions([dataset.tokens(image, 0) for image in range(3)])
    longest = captions.words.shape[2]
    for given in (captions, captions._replace(tokens=None)):
        padded = given.padded_to(longest + 2).rows(torch.tensor([2, 0, 2]))
        assert padded.mask[:, longest:].all() and not padded.words[:, :, longest:].any()
        assert (padded.tokens is None) == (given.tokens is None)
        for row, original in enumerate((2, 0, 2)):
            assert torch.equal(padded.words[row, :, :longest], captions.words[original])
            assert torch.equal(padded.sentence[row], captions.sentence[original])
            assert padded.lengths[row] == captions.lengths[original]
