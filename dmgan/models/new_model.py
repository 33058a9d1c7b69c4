"""Creation of a new model: a working module file and its registry entry."""

import keyword
import re
from pathlib import Path
from string import Template

import yaml

from dmgan.errors import UserError
from dmgan.models.registry import MODELS
from dmgan.storage import files

PROJECT = Path(__file__).parents[2]
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LINE_LENGTH = 120
_BASE_CLASS = "TextToImageGAN"

# Names that a model cannot have, because results/{dataset}/{name} is another folder.
_RESULT_FOLDERS = {
    "attributes", "captioner", "controls", "damsm", "figures", "probe", "reference", "report", "species", "tables",
    "trunk",
}  # fmt: skip

# Sizes and learning rates for a demo: 16, 32 and 64 px, minutes on two CPU cores.
HYPERPARAMETERS = (
    "{base_size: 16, stages: 3, generator_width: 16, discriminator_width: 16, noise_dim: 32, condition_dim: 32, "
    "residual_blocks: 1, epochs: 8, batch_size: 12, generator_lr: 8.0e-4, discriminator_lr: 4.0e-4, damsm_weight: 0.5, "
    "ema_decay: 0.995, checkpoint_every: 100, fused: true, fused_adam: true}"
)
SMOKE_HYPERPARAMETERS = "*smallest"  # the preset of workflow/config/smoke.yaml

_SKELETON = Template('''"""$title.

Name the paper here, and the letters of its equations. This file is a small working model: an initial image from
sentence and noise, then refinements that attend to the words. Replace WordRefinement with the paper's blocks, and set
the paper's losses and options in the registry entry (see baselines/README.md). Above every function that implements
an equation, name the paper and the equation.
"""

import torch
from torch import Tensor, nn

from dmgan.models.blocks import ConditioningAugmentation, ImageHead, InitialStage, ResidualBlock, attend, up_block
from dmgan.models.discriminators import discriminators_for
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.options import ArchitectureOptions


class WordRefinement(nn.Module):
    """Read the words at every pixel and double the side: (B, width, s, s) -> (B, width, 2s, 2s)."""

    def __init__(self, width: int, embedding_dim: int, residual_blocks: int):
        super().__init__()
        self.project = nn.Linear(embedding_dim, width, bias=False)
        self.residual = nn.Sequential(*[ResidualBlock(2 * width) for _ in range(residual_blocks)])
        self.upsample = up_block(2 * width, width)

    def forward(self, features: Tensor, words: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the refined features and the attention (B, T, s, s) over words (B, E, T); word_mask (B, T)."""
        projected = self.project(words.transpose(1, 2)).transpose(1, 2)  # (B, width, T)
        context, attention = attend(features, projected, projected, word_mask, "corrected")
        return self.upsample(self.residual(torch.cat([features, context], dim=1))), attention


class $class_name(TextToImageGAN):
    """The generator: an initial image, then one refinement per further stage."""

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__(architecture, embedding_dim)
        width, stages = architecture.generator_width, architecture.stages
        self.augmentation = ConditioningAugmentation(embedding_dim, architecture.condition_dim)
        self.initial = InitialStage(architecture.condition_dim + architecture.noise_dim, width, architecture.base_size)
        self.refinements = nn.ModuleList(
            WordRefinement(width, embedding_dim, architecture.residual_blocks) for _ in range(stages - 1)
        )
        self.to_image = nn.ModuleList(ImageHead(width) for _ in range(stages))

    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        z, epsilon = noise.split([self.architecture.noise_dim, self.architecture.condition_dim], dim=1)
        mean, logvar = self.augmentation(sentence)
        condition = mean + epsilon * torch.exp(0.5 * logvar)

        features = self.initial(torch.cat([condition, z], dim=1))
        images, attention = [self.to_image[0](features)], []
        for refinement, to_image in zip(self.refinements, self.to_image[1:], strict=True):
            features, weights = refinement(features, words, word_mask)
            images.append(to_image(features))
            attention.append(weights)
        return Generated(images, attention, mean, logvar)

    def discriminators(self) -> nn.ModuleList:
        width = self.architecture.discriminator_width
        return discriminators_for(self.image_sizes, width, self.embedding_dim, normalisation="batch")
''')


def write_model(name: str, title: str, project: Path | None = None) -> Path:
    """Write baselines/NAME.py and its registry entry, or nothing; return the path of the file.

    name: the name in the registry, lower case with hyphens. title: the name in tables and figures. UserError if the
    name is invalid or taken, or if `project` (default: this project) is not a checkout.
    """
    project = PROJECT if project is None else project
    class_name = _check_name(name)
    _check_title(title)
    registry = project / "dmgan" / "models" / "registry.py"
    if not all((project / part).is_file() for part in ("pyproject.toml", "baselines/__init__.py")):
        raise UserError(
            f"{project}: is an installed package, not a checkout of the project; clone the project, and run new-model "
            "in the clone"
        )
    path = project / "baselines" / f"{name.replace('-', '_')}.py"
    skeleton = _SKELETON.substitute(title=title, class_name=class_name)
    text = registry.read_text(encoding="utf-8")
    extended = _with_entry(text, name, f'Entry("baselines.{path.stem}:{class_name}", "{title}")', registry)
    # An interrupted call may leave the file without the entry; repeating the call completes both.
    if path.exists() and path.read_bytes() != skeleton.encode():
        raise UserError(f"{path}: exists; choose another name, or delete the file")
    files.write_text(path, skeleton)
    try:
        files.write_text(registry, extended)
    except UserError:
        path.unlink()
        raise
    return path


def _check_name(name: str) -> str:
    """Return the class name for a new model called `name`; UserError if the name is invalid or taken."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r}: is not a valid model name; use lower-case letters, digits and hyphens, such as my-gan"
        )
    if name in MODELS:
        raise UserError(f"{name}: is in the registry already; choose another name")
    if name in _RESULT_FOLDERS:
        raise UserError(f"{name}: is a folder of results/DATASET already; choose another name")
    if keyword.iskeyword(name) or yaml.safe_load(name) != name:
        raise UserError(f"{name}: is a reserved word in Python or YAML; choose another name")
    words = "".join(part.capitalize() for part in name.split("-"))
    class_name = words.removesuffix("Gan") + "GAN"
    if class_name == _BASE_CLASS:
        raise UserError(f"{name}: its class would be named {_BASE_CLASS}, as the base class; choose another name")
    return class_name


def _check_title(title: str) -> None:
    """Raise UserError if `title` is not a plain line of text, or is the title of another model."""
    if not title.strip() or not title.isprintable() or '"' in title or "\\" in title:
        raise UserError(f"--title {title!r}: must be one line of text without quotation marks and backslashes")
    same = [name for name, entry in MODELS.items() if entry.title == title]
    if same:
        raise UserError(f"--title {title!r}: is the title of {same[0]}; choose another title")


def _with_entry(text: str, name: str, entry: str, registry: Path) -> str:
    """Return the registry's text with a line for the new model at the end of the table MODELS."""
    key = f'"{name}":'
    line = f"    {key:<17} {entry},"  # the table's columns
    if len(line) > _LINE_LENGTH:
        raise UserError(f"{name}: its registry line would have {len(line)} characters; choose a shorter name and title")
    head, start, table = text.partition("\nMODELS = {\n")
    rows, end, tail = table.partition("\n}  # fmt: skip\n")
    if not (start and end):
        raise UserError(
            f"{registry}: has no table MODELS that ends with '}}  # fmt: skip'; add the entry by hand: {line}"
        )
    return "".join([head, start, rows, "\n", line, end, tail])
