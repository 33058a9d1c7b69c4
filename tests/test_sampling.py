"""Images are a pure function of weights, tokens and the image's own seed."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dmgan.data.batches import to_uint8
from dmgan.errors import UserError
from dmgan.sampling import (
    choose_test_caption,
    generate_from_captions,
    generate_images,
    image_noise,
    load_run,
    read_captions,
    sample_test_captions,
)
from tests.conftest import CPU


def sampled(run, data, out, **changes) -> dict[str, np.ndarray]:
    """Sample into `out` and read every image back, by name."""
    wishes = {"num_images": 23, "seed": 100, "batch_size": 7, "all_stages": True} | changes
    sample_test_captions(run, data, out, device=CPU, **wishes)
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
    generate_from_captions(one_image_folder, ["a red bird"], tmp_path / "own", 1, seed=0, device=CPU)
    assert [path.name for path in (tmp_path / "own").glob("*.png")] == ["caption000_000_32.png"]


def test_the_manifest_says_which_caption_each_image_shows(run_folder, data, dataset, tmp_path):
    sampled(run_folder, data, tmp_path / "out", num_images=20)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    test = dataset.indices("test")
    assert [each["test_image"] for each in manifest["images"]] == [int(test[n % len(test)]) for n in range(20)]
    for each, tokens in zip(manifest["images"], manifest["tokens"], strict=True):
        whole = dataset.tokens(each["test_image"], each["caption"]).tolist()
        assert set(tokens) <= set(whole) and len(tokens) == min(len(whole), 12)
    assert manifest["model"] == "dmgan" and manifest["seed"] == 100


def test_uint8_is_truncated_as_released():
    values = torch.tensor([-1.0, -0.999, 0.0, 0.9999, 1.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_uint8(values)[0, 0, :, 0].tolist() == [0, 0, 127, 254, 255]


def test_own_captions(run_folder, tmp_path, capsys):
    captions = ["this bird has a red crown and a white belly", "a quetzal with blue wings"]
    generate_from_captions(run_folder, captions, tmp_path / "out", images_per_caption=2, seed=0, device=CPU)
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names == {f"caption{c:03d}_{i:03d}_{s}.png" for c in range(2) for i in range(2) for s in (8, 16, 32)}
    assert "left out the unknown words quetzal" in capsys.readouterr().err
    described = json.loads((tmp_path / "out" / "captions.json").read_text())["captions"]
    assert described[1]["words_used"] == ["a", "with", "blue", "wings"]


@pytest.mark.parametrize(
    ("captions", "message"),
    [([], "no caption given"), (["  "], "holds no word"), (["quetzal"], "knows none of its words")],
)
def test_captions_that_say_nothing_leave_nothing(run_folder, tmp_path, captions, message):
    with pytest.raises(UserError, match=message):
        generate_from_captions(run_folder, captions, tmp_path / "out", images_per_caption=1, seed=0, device=CPU)
    assert not (tmp_path / "out").exists()


def test_caption_files(tmp_path):
    (tmp_path / "captions.txt").write_text("a red bird\n\n  a blue bird \n")
    assert read_captions(tmp_path / "captions.txt") == ["a red bird", "a blue bird"]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match="holds no caption"):
        read_captions(tmp_path / "empty.txt")
    with pytest.raises(UserError, match="cannot be read"):
        read_captions(tmp_path / "missing.txt")
