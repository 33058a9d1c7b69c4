"""Catalogue of the figures: for each its title, caption, alt text, place in a paper, and what it is drawn from.

The workflow, the subcommands and the report page read this table. A figure is one function that returns a Canvas, and
one line here. This module does not import torch.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.models.registry import find


class Trained(NamedTuple):
    """The models of a data set that were trained, by their names in the registry, and what is known of them."""

    models: Sequence[str]
    validated: Sequence[str] = ()  # those of them that are measured on validation images during training
    measured: bool = True  # whether metrics of their images are given


@dataclass(frozen=True)
class Figure:
    """A figure; `caption` and `alt` may hold {dataset}, and `alt` also {models}."""

    target: str  # "module:function" in dmgan.report.figures
    group: str  # a key of GROUPS: the input of the function
    title: str
    caption: str  # what it shows and how to read it
    alt: str  # what a reader sees, for readers who do not see it
    document: str = ""  # paper whose figure it is; "": of no paper
    number: str = ""  # its number there
    models: tuple[str, ...] = ()  # models that it shows, of which one at least must be trained; (): any
    requires: str = ""  # the model of these that must be trained; "": any
    needs: str = "any model"  # a key of NEEDS: what at least one trained model must have
    minimum_px: int = 400  # least width on a screen at which all text can be read (Canvas.minimum_px)

    @property
    def heading(self) -> str:
        """The title after the figure's number in its paper, as in "DM-GAN, Figure 3: Models side by side"."""
        place = ", ".join(part for part in (self.document, self.number) if part)
        return f"{place}: {self.title}" if place else self.title

    def alt_text(self, dataset: str, models: Sequence[str]) -> str:
        """Return the alt text on a data set, with the titles of the trained models that the figure shows."""
        shown = [find(model).title for model in models if model in (self.models or models)]
        return self.alt.format(dataset=dataset, models=", ".join(shown))

    def caption_text(self, dataset: str) -> str:
        """Return the caption on a data set."""
        return self.caption.format(dataset=dataset)

    @property
    def drawn_with(self) -> str:
        """Which models a data set must have for the figure, in words."""
        if self.requires:
            return find(self.requires).title
        if self.models:
            return " or ".join(find(model).title for model in self.models)
        return _IN_WORDS[self.needs]

    def drawn_for(self, trained: Trained) -> bool:
        """Return whether the trained models have what the figure shows."""
        if self.requires and self.requires not in trained.models:
            return False
        shown = [model for model in trained.models if model in (self.models or trained.models)]
        return any(NEEDS[self.needs](model, trained) for model in shown)


# Input of the drawing functions of a group, and the subcommand that draws the group.
GROUPS = {
    "scene": "figures",  # a Scene: the first run of every model, and the captions of the test images
    "curves": "curves",  # Records: history, validation and metrics of the runs of all seeds
    "failures": "failures",  # Failures: images of every model with their per-image hits
}

# What a trained model must have for a figure.
NEEDS: dict[str, Callable[[str, Trained], bool]] = {
    "any model": lambda model, trained: True,
    "words": lambda model, trained: find(model).reads_words,
    "retrieval": lambda model, trained: find(model).retrieves and find(model).ablation_of is None,
    "metrics": lambda model, trained: trained.measured,
    "snapshots": lambda model, trained: model in trained.validated,
}

_IN_WORDS = {
    "any model": "any model",
    "metrics": "any model that was evaluated",
    "words": "a model that reads words",
    "retrieval": "a model that retrieves, no ablation",
    "snapshots": "a model with `evaluate_every`",
}

_DMGAN, _KVMGAN, _MDSP, _STUDENTS = "DM-GAN", "KVM-GAN", "Memory-driven model", "Student reproduction"
_ARCHITECTURE = (
    "Every box is a module of the generator with its class, the shape of its output for one image of {dataset} and its "
    "trained parameters, read from the built network. The text encoder is trained before and frozen."
)
_ARCHITECTURE_ALT = (
    "Block diagram from left to right: caption and noise, the modules of every stage with output shapes and numbers of "
    "parameters, the image of every stage, and the discriminators below."
)
_SAME = "The captions are of random test images of {dataset}, not selected."

FIGURES: dict[str, Figure] = {
    "figure1": Figure(
        "gallery:draw_examples", "scene", "Examples", f"Images of DM-GAN with their captions. {_SAME}",
        "Images of DM-GAN on {dataset}, each below the caption that it was generated from.", _DMGAN, "Figure 1",
    ),
    "figure2": Figure(
        "architecture:draw_dmgan", "scene", "Architecture", _ARCHITECTURE, _ARCHITECTURE_ALT, _DMGAN, "Figure 2",
        ("dmgan",), minimum_px=740,
    ),
    "figure3": Figure(
        "image_grids:draw_models", "scene", "Models side by side",
        f"Images of all models for the same test captions and the same noises. {_SAME}",
        "Grid of images on {dataset}: a caption a column, below it the real image, then a row for each of {models}.",
        _DMGAN, "Figure 3", minimum_px=820,
    ),
    "figure4": Figure(
        "image_grids:draw_stages", "scene", "Stages of refinement",
        f"The images of every stage of one forward pass, from the initial image to the last refinement. {_SAME}",
        "Grid of images on {dataset}: a caption a column, a stage a row; the images grow sharper from row to row.",
        _DMGAN, "Figure 4", minimum_px=820,
    ),
    "figure5": Figure(
        "image_grids:draw_noises", "scene", "One caption, several noises",
        f"Images of the same caption with several noises. {_SAME}",
        "Grid of images on {dataset}: a caption a row, eight noises of the same caption side by side.",
        _DMGAN, "Figure 5", minimum_px=880,
    ),
    "figure6": Figure(
        "word_maps:draw_words", "scene", "Most relevant words",
        "The words with the greatest weight in an image, and maps of their weights. A note says which attention is "
        "nearly uniform, and therefore chooses no word.",
        "Images before and after a refinement, maps of the words with the greatest weight, and bars of the weights of "
        "the five heaviest words, by attention and by dynamic memory, on {dataset}.",
        _DMGAN, "Figure 6", needs="words", minimum_px=740,
    ),
    "002-figure1": Figure(
        "image_grids:draw_rivals", "scene", "Its rivals",
        f"Images of StackGAN++, AttnGAN, DF-GAN and the memory-driven model for the same test captions. {_SAME}",
        "Grid of images on {dataset}: a caption a column, below it the real image, then a row for each of {models}.",
        _MDSP, "Figure 1", ("stackganpp", "attngan", "dfgan", "mdsp"), "mdsp",
        minimum_px=820,
    ),
    "002-figure2": Figure(
        "architecture:draw_mdsp", "scene", "Architecture", _ARCHITECTURE, _ARCHITECTURE_ALT, _MDSP, "Figure 2",
        ("mdsp",), minimum_px=740,
    ),
    "002-figure3": Figure(
        "image_grids:draw_retrieved", "scene", "Retrieved images and outputs",
        f"Retrieved training images, and images generated from their features and the captions. {_SAME}",
        "Grid of images on {dataset}: a caption a column; rows: the retrieved training image, the output, the real "
        "image of the caption.", _MDSP, "Figure 3", needs="retrieval", minimum_px=820,
    ),
    "002-figure5": Figure(
        "image_grids:draw_retrieved_noises", "scene", "One retrieved image, several noises",
        f"Caption and retrieved image kept, noise changed. {_SAME}",
        "Grid of images on {dataset}: a caption a row; first the retrieved image, then outputs with seven noises.",
        _MDSP, "Figure 5", needs="retrieval", minimum_px=880,
    ),
    "kvmgan-figure1": Figure(
        "gallery:draw_beside_real", "scene", "Real and synthesized images",
        f"Real test images above images of KVM-GAN for one of their captions. {_SAME}",
        "Two rows of images on {dataset}: real images, and below each the image of KVM-GAN for its caption.",
        _KVMGAN, "Figure 1", ("kvmgan",), minimum_px=820,
    ),
    "kvmgan-figure2": Figure(
        "architecture:draw_kvmgan", "scene", "Architecture", _ARCHITECTURE, _ARCHITECTURE_ALT, _KVMGAN, "Figure 2",
        ("kvmgan",), minimum_px=740,
    ),
    "kvmgan-figure3": Figure(
        "image_grids:draw_kvmgan_and_attngan", "scene", "KVM-GAN and AttnGAN",
        f"Images of KVM-GAN and AttnGAN for the same test captions and the same noises. {_SAME}",
        "Grid of images on {dataset}: a caption a column, below it the real image, then a row for each of {models}.",
        _KVMGAN, "Figure 3", ("kvmgan", "attngan"), "kvmgan", minimum_px=820,
    ),
    "kvmgan-figure4": Figure(
        "image_grids:draw_kvmgan_stages", "scene", "Stages of refinement",
        f"The images of every stage of one forward pass of KVM-GAN, from the initial image. {_SAME}",
        "Grid of images on {dataset}: a caption a column, a stage of KVM-GAN a row.",
        _KVMGAN, "Figure 4", ("kvmgan",), minimum_px=820,
    ),
    "reproduction-figure1": Figure(
        "architecture:draw_reproduction", "scene", "Architecture", _ARCHITECTURE, _ARCHITECTURE_ALT, _STUDENTS,
        "Figure 1", ("dmgan-004",), minimum_px=740,
    ),
    "reproduction-figure4": Figure(
        "gallery:draw_three_captions", "scene", "Three captions, three stages",
        "The images of every stage of DM-GAN trained with batches of two, for the three captions of the report. Where "
        "{dataset} lacks words of these captions, they are captions of test images, and the figure says so.",
        "Grid of images: three captions as columns, the stages of DM-GAN trained with batches of two as rows.",
        _STUDENTS, "Figure 4", ("dmgan-004",),
    ),
    "words": Figure(
        "word_weights:draw_weights", "scene", "Attention and gates over words",
        "For one test caption of {dataset} and every model that attends to words: each word's share of the attention "
        "of every refinement and, with a writing gate, its gate. Equal shares mean that attention chooses no word.",
        "Heat maps on {dataset}: a word a column, a refinement a row, for each of {models}; dark is a great weight.",
        needs="words", minimum_px=1120,
    ),
    "steps": Figure(
        "step_grids:draw_steps", "scene", "Images over the steps of training",
        "The same captions and noises at several steps of training, from the snapshots of the averaged weights.",
        "Grid of images on {dataset}: a step of training a row, a caption a column, for each model with snapshots.",
        needs="snapshots", minimum_px=640,
    ),
    "losses": Figure(
        "loss_curves:draw_losses", "curves", "Losses during training",
        "Losses of generator and discriminators over the steps of training: the mean over seeds, and a band from the "
        "least to the greatest seed. Losses of different models are not comparable.",
        "Line charts on {dataset} of the losses over training steps, a panel for each loss, a line for each of "
        "{models}.", minimum_px=600,
    ),
    "validation": Figure(
        "validation_curves:draw_validation", "curves", "Metrics on validation images during training",
        "Metrics on validation images of {dataset} over the steps of training, for every seed of every model that is "
        "measured (`evaluate_every`). Validation images are training images that are held out of training; none is a "
        "test image. A large dot marks the weights that `select: best` kept. FID of few images is biased upwards, by "
        "the same images at every step: compare steps and models here, not with the tables.",
        "Line charts on {dataset} of the metrics over training steps, a panel for each metric, a line for each seed.",
        needs="snapshots", minimum_px=600,
    ),
    "cost": Figure(
        "cost_chart:draw_costs", "curves", "Metric against cost",
        "FID against the images seen in training and against the seconds of training, a mark for each seed of every "
        "model: down and left is better. Seconds of different machines are not comparable.",
        "Scatter charts on {dataset}: cost of training across, FID up, a mark for each seed of each of {models}.",
        needs="metrics", minimum_px=600,
    ),
    "failures": Figure(
        "failure_gallery:draw_failures", "failures", "Failures",
        "For every model, selected by rule and not at random: images with the fewest hits of the metrics that are "
        "named, the output nearest to a training image beside it, and the two outputs of different test images that "
        "are most alike.",
        "Rows of images on {dataset}: for each of {models} four images whose caption was not found, the output nearest "
        "to a training image and that image, and the two outputs that are most alike.", minimum_px=760,
    ),
}  # fmt: skip


def find_figure(name: str) -> Figure:
    """Return the figure called `name`; UserError naming the known figures otherwise."""
    if name not in FIGURES:
        raise UserError(f"figure {name!r}: unknown; known figures are {', '.join(FIGURES)}")
    return FIGURES[name]


def figures_in(group: str) -> dict[str, Figure]:
    """Return the figures of a group by name."""
    return {name: each for name, each in FIGURES.items() if each.group == group}


def figures_of(group: str, trained: Trained) -> dict[str, Figure]:
    """Return the figures of a group that the trained models have, by name."""
    return {name: each for name, each in figures_in(group).items() if each.drawn_for(trained)}


def drawing_function(figure: Figure) -> Callable:
    """Import and return the function that draws a figure."""
    module, function = figure.target.split(":")
    return getattr(importlib.import_module(f"dmgan.report.figures.{module}"), function)
