"""Galleries: captions with the images of one model, beside real images, and at every stage."""

from dmgan.data.batches import to_uint8
from dmgan.report.figures.canvas import Canvas
from dmgan.report.figures.image_grids import stage_row
from dmgan.report.figures.panels import Panel, draw_gallery, draw_panels
from dmgan.report.figures.scene import Scene, named
from dmgan.sampling.generate import images_from_captions

_COLUMNS, _ROWS = 4, 2  # examples of DM-GAN's Figure 1
_BESIDE_REAL = 8  # columns of KVM-GAN's Figure 1
# Captions of Figure 4 of the student reproduction.
THREE_CAPTIONS = (
    "this bird and has a short bill and have wings that are brown",
    "this bird is black, white, and orange in colour and has a black beak",
    "this bird is brown with black and has a long, pointy beak",
)


def draw_examples(scene: Scene) -> Canvas:
    """Draw Figure 1: images of DM-GAN, each below its caption."""
    run, name = scene.main_run()
    panels = []
    for row in range(_ROWS):
        numbers = [row * _COLUMNS + column for column in range(_COLUMNS)]
        images = to_uint8(scene.generate(run, numbers).images[-1])
        panels.append(Panel("", [scene.caption(number) for number in numbers], [("", list(images))]))
    return draw_panels(f"Images of {name}, for test captions of {scene.dataset.name_of_set}", panels)


def draw_beside_real(scene: Scene) -> Canvas:
    """Draw KVM-GAN's Figure 1: real images above synthesized images."""
    run, numbers = scene.run_of("kvmgan"), scene.caption_numbers(_BESIDE_REAL)
    images = to_uint8(scene.generate(run, numbers).images[-1])
    rows = [("Real images", [scene.real_image(number) for number in numbers]), ("Synthesized images", list(images))]
    return draw_gallery(f"Images of {named(run)}", [scene.caption(number) for number in numbers], rows)


def draw_three_captions(scene: Scene) -> Canvas:
    """Draw Figure 4 of the student reproduction: three captions, and the images of every stage.

    Where the encoders lack words of the report's captions, the first three test captions are taken, and a note says so.
    """
    run = scene.run_of("dmgan-004")
    unknown = [word for caption in THREE_CAPTIONS for word in run.damsm.vocabulary.unknown(caption)]
    if unknown:
        numbers = scene.caption_numbers(len(THREE_CAPTIONS))
        captions = [scene.caption(number) for number in numbers]
        rows = [stage_row(each) for each in scene.generate(run, numbers).images]
        foot = (
            f"Test captions of {scene.dataset.name_of_set}, because it lacks words of the report's captions: "
            f"{', '.join(dict.fromkeys(unknown))}."
        )
    else:
        made = list(images_from_captions(run, THREE_CAPTIONS, 1, scene.seed))
        captions, foot = THREE_CAPTIONS, "The captions of the report."
        stages = zip(*(each.stages for each in made), strict=True)
        rows = [(f"{stage[0].shape[1]} × {stage[0].shape[1]} px", [images[0] for images in stage]) for stage in stages]
    return draw_gallery(f"Stages of {named(run)}", captions, rows, foot)
