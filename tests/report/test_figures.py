"""Figures: both formats, no blank, clipped or overlapping parts, and the words that the model chose."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from dmgan.data.batches import to_uint8
from dmgan.data.dataset import PreparedDataset
from dmgan.data.prepare import prepare_synthbirds
from dmgan.errors import UserError
from dmgan.models.dmgan import DMGAN
from dmgan.models.interface import Generated
from dmgan.options import TrainingSettings
from dmgan.report.figures.architecture import draw_dmgan
from dmgan.report.figures.canvas import Canvas, text_width, wrap
from dmgan.report.figures.catalogue import FIGURES, Trained, drawing_function, figures_of
from dmgan.report.figures.gallery import draw_examples
from dmgan.report.figures.image_grids import draw_models, draw_noises, draw_rivals, draw_stages
from dmgan.report.figures.render import write_figures
from dmgan.report.figures.scene import Scene
from dmgan.report.figures.word_maps import draw_words, refinement_choice
from dmgan.report.figures.word_weights import draw_weights
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.sampling.trained_model import load_run
from dmgan.sampling.word_maps import darkened, top_words, unique_labels
from dmgan.training.train import TrainingInputs, train
from tests.conftest import ARCHITECTURE, CPU, TRAINING

DRAWINGS = (draw_models, draw_rivals, draw_stages, draw_noises, draw_words, draw_examples, draw_weights, draw_dmgan)


@pytest.fixture(scope="module")
def attngan_folder(data, damsm_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("attngan") / "seed0"
    train("attngan", TrainingInputs(data, damsm_folder), folder, TrainingSettings(ARCHITECTURE, TRAINING), 0, CPU)
    return folder


@pytest.fixture(scope="module")
def scene(run_folder, attngan_folder, dataset) -> Scene:
    return Scene([load_run(run_folder, CPU), load_run(attngan_folder, CPU)], dataset, 100)


def texts_of(canvas: Canvas) -> list[str]:
    """Return every text of a page."""
    return [text.get_text() for text in canvas.figure.texts]


@pytest.mark.slow
def test_every_figure_is_written_and_not_blank(run_folder, attngan_folder, data, tmp_path):
    write_figures([run_folder, attngan_folder], data, tmp_path, 100, CPU)
    figures = figures_of("scene", Trained(["dmgan", "attngan"]))
    assert {"figure1", "figure2", "figure6", "words"} <= {*figures} and "kvmgan-figure1" not in figures
    names = {f"{figure}.{kind}" for figure in figures for kind in ("png", "pdf", "json")}
    assert {path.name for path in tmp_path.iterdir()} == names
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as picture:
            page = picture.convert("RGB")
        assert min(page.size) > 500 and np.asarray(page).std() > 20
        assert len(page.getcolors(maxcolors=page.width * page.height)) > 100  # more than black text on white
    for path in tmp_path.glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF") and path.stat().st_size > 10_000


@pytest.mark.slow
def test_figures_are_reproducible_byte_by_byte(scene, tmp_path):
    for name in ("first", "second"):
        draw_words(scene).write(tmp_path / name)
    for kind in ("png", "pdf"):
        assert (tmp_path / f"first.{kind}").read_bytes() == (tmp_path / f"second.{kind}").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWINGS, ids=lambda draw: draw.__name__)
def test_no_part_of_a_figure_is_clipped_or_overlaps(scene, draw):
    canvas = draw(scene)
    renderer = canvas.figure.canvas.get_renderer()
    canvas.figure.draw(renderer)
    figure = next(each for each in FIGURES.values() if drawing_function(each) is draw)
    assert canvas.minimum_px <= figure.minimum_px
    texts = [(text.get_text(), text.get_window_extent(renderer)) for text in canvas.figure.texts]
    images = [axes.get_window_extent(renderer) for axes in canvas.figure.axes]
    bars = [axes.get_tightbbox(renderer) for axes in canvas.figure.axes if axes.patches]
    page = canvas.figure.bbox
    for box in [box for _, box in texts] + images + bars:
        assert box.x0 >= page.x0 and box.y0 >= page.y0 and box.x1 <= page.x1 and box.y1 <= page.y1
    for (name, box), other in itertools.product(texts, images + bars):
        assert not _overlap(box, other), name
    for (name, box), (other_name, other) in itertools.combinations(texts, 2):
        assert not _overlap(box, other), (name, other_name)
    for box, other in itertools.combinations(images, 2):
        assert not _overlap(box, other)
    for box, other in itertools.combinations(bars, 2):
        assert not _overlap(box, other)


def _overlap(box, other) -> bool:
    """Whether two boxes share more than an edge (line spacing lets boxes touch by a dot)."""
    width = min(box.x1, other.x1) - max(box.x0, other.x0)
    height = min(box.y1, other.y1) - max(box.y0, other.y0)
    return width > 1 and height > 1


def test_the_rows_are_the_real_image_and_the_models(scene):
    canvas = draw_models(scene)
    assert {"Real image", "DM-GAN", "AttnGAN", "seed 0"} <= set(texts_of(canvas))
    shown = [axes.images[0].get_array() for axes in canvas.figure.axes]
    assert len(shown) == 3 * 8
    assert np.array_equal(shown[0], scene.real_image(scene.caption_numbers(8)[0]))
    first_line = " ".join(texts_of(canvas))
    assert all(word in first_line for word in scene.caption(scene.caption_numbers(8)[3]).split())


def test_rivals_that_were_run_have_a_row_and_one_line_names_the_others(scene):
    canvas = draw_rivals(scene)
    rows = [text for text in texts_of(canvas) if text in ("StackGAN++", "AttnGAN", "DF-GAN", "MDSP", "DM-GAN")]
    assert rows == ["AttnGAN"] and len(canvas.figure.axes) == 2 * 8
    assert "Not run, and therefore not shown: StackGAN++, DF-GAN, MDSP." in texts_of(canvas)
    attngan = scene.generate(scene.runs[1], scene.caption_numbers(8)).images[-1]
    assert np.array_equal(canvas.figure.axes[8].images[0].get_array(), to_uint8(attngan)[0])


def test_stages_are_shown_at_their_own_size(scene):
    canvas = draw_stages(scene)
    sides = [axes.images[0].get_array().shape[0] for axes in canvas.figure.axes]
    assert sides == [8] * 8 + [16] * 8 + [32] * 8
    assert "Stages of DM-GAN, seed 0" in texts_of(canvas)


def test_a_model_with_only_a_final_image_is_shown(scene, one_image_folder):
    one_image = load_run(one_image_folder, CPU)
    canvas = draw_models(scene._replace(runs=[*scene.runs, one_image]))
    assert len(canvas.figure.axes) == 4 * 8 and "AttnDCGAN" in texts_of(canvas)
    alone = scene._replace(runs=[one_image])
    sides = [axes.images[0].get_array().shape[0] for axes in draw_stages(alone).figure.axes]
    assert sides == [32] * 8
    assert {"AttnGAN: not run", "DM-GAN: not run"} <= set(texts_of(draw_words(alone)))


def test_different_noise_gives_different_images(scene):
    shown = [axes.images[0].get_array() for axes in draw_noises(scene).figure.axes]
    assert len(shown) == 4 * 8
    assert len({np.asarray(each).tobytes() for each in shown[:8]}) == 8


def test_the_figures_show_the_images_that_sampling_writes(scene, run_folder, data, tmp_path):
    sample_test_captions(run_folder, data, tmp_path / "images", SampleRequest(8, scene.seed), CPU)
    numbers = scene.caption_numbers(8)
    shown = [axes.images[0].get_array() for axes in draw_models(scene).figure.axes][8:16]
    for number, pixels in zip(numbers, shown, strict=True):
        written = np.asarray(Image.open(tmp_path / "images" / f"{number:06d}.png")).astype(int)
        assert np.abs(np.asarray(pixels).astype(int) - written).max() <= 1  # another batch size changes only rounding


def test_a_missing_model_is_labelled_not_run(scene):
    alone = scene._replace(runs=[run for run in scene.runs if run.name == "dmgan"])
    assert "AttnGAN: not run" in texts_of(draw_words(alone))
    rival = scene._replace(runs=[run for run in scene.runs if run.name == "attngan"])
    assert texts_of(draw_words(rival)).count("DM-GAN: not run") == 2
    assert "Stages of AttnGAN, seed 0 (DM-GAN: not run)" in texts_of(draw_stages(rival))


def test_a_variant_in_place_of_a_missing_model_is_labelled(scene):
    variant = scene._replace(runs=[scene.runs[0]._replace(name="dmgan-m-wg")])
    assert "DM-GAN +M+WG, seed 0 (DM-GAN: not run)" in " ".join(texts_of(draw_noises(variant)))
    assert "(DM-GAN: not" in texts_of(draw_words(variant))


class KnownWords(DMGAN):
    """Attention and gates are known: word i has weight i + 1, twice that in the lower half of the map."""

    def generate(self, noise, sentence, words, word_mask, memory=None) -> Generated:
        generated = super().generate(noise, sentence, words, word_mask, memory)
        weight = torch.arange(1.0, words.shape[2] + 1).expand(len(noise), -1)
        attention = []
        for each in generated.attention:
            known = weight[:, :, None, None].repeat(1, 1, *each.shape[2:])
            known[:, :, each.shape[2] // 2 :] *= 2
            attention.append(known)
        return generated._replace(attention=attention, gates=[1 / weight[:, None] for _ in generated.gates])


def known_words(scene: Scene) -> Scene:
    """Return the scene with KnownWords in the place of its first model."""
    torch.manual_seed(0)
    model = KnownWords(ARCHITECTURE, scene.runs[0].damsm.options.embedding_dim).eval()
    return scene._replace(runs=[scene.runs[0]._replace(model=model), scene.runs[1]])


def test_the_listed_words_are_those_with_the_highest_weights(scene):
    known = known_words(scene)
    first, second = known.caption_numbers(8)[1:3]
    words = known.dataset.vocabulary.decode(known.tokens(known.runs[0], second))
    choice = refinement_choice(known, known.runs[0], second, -1)
    count = len(words)
    assert choice.words == words and count > 5
    assert choice.attention == pytest.approx(np.arange(1, count + 1) / (count * (count + 1) / 2))
    assert choice.before.shape == (16, 16, 3) and choice.after.shape == (32, 32, 3)
    canvas = draw_words(known)
    bars = [axes for axes in canvas.figure.axes if axes.patches]
    listed = [[label.get_text().split(" ")[0] for label in axes.get_yticklabels()] for axes in bars]
    assert listed[2] == words[:5]  # memory writing: the first words have the largest gates
    assert listed[3] == words[:-6:-1]  # key addressing: the last words have the largest weights
    memory_words = known.dataset.vocabulary.decode(known.tokens(known.runs[0], first))
    assert listed[1] == memory_words[:-6:-1]
    assert [bar.get_width() for bar in bars[2].patches] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    labels = {f"“{label}”" for label in unique_labels(top_words(words, choice.attention, 1), words)}
    assert labels <= set(texts_of(canvas))


def test_attention_maps_are_bright_where_the_weight_is_high(scene):
    known = known_words(scene)
    choice = refinement_choice(known, known.runs[0], 0, 0)
    white = np.full((16, 16, 3), 200, dtype=np.uint8)
    shown = darkened(white, choice.maps[-1])
    assert shown[-1].min() >= 199 and shown[0].max() <= 31
    assert np.array_equal(darkened(white, np.ones((8, 8))), white)


def test_text_is_wrapped_to_its_width():
    text = "this bird has a remarkablylongunbrokenword and a short beak"
    lines = wrap(text, 0.8, 6.0)
    assert all(text_width(line, 6.0) <= 0.8 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrap("one two", 10.0, 6.0) == ["one two"]


def test_another_data_set_or_no_run_is_refused(run_folder, data, tmp_path):
    prepare_synthbirds(tmp_path / "other", 32, 4, 1, captions_per_image=1, seed=9, workers=1)
    assert PreparedDataset(tmp_path / "other").vocabulary != PreparedDataset(data).vocabulary
    with pytest.raises(UserError, match="another data set"):
        write_figures([run_folder], tmp_path / "other", tmp_path / "out", 100, CPU)
    with pytest.raises(UserError, match="figure 'kvmgan-figure4': is drawn with KVM-GAN; give such a run"):
        write_figures([run_folder], data, tmp_path / "out", 100, CPU, chosen=["kvmgan-figure4"])
    with pytest.raises(UserError, match="no run given"):
        write_figures([], data, tmp_path / "out", 100, CPU)
    assert not (tmp_path / "out").exists()
