"""The modules of a model's networks, as one forward pass finds them: inputs, shapes and numbers of parameters."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dmgan.models.interface import TextToImageGAN
from dmgan.models.vgg import CHANNELS, REDUCTION


class Part(NamedTuple):
    """A module inside a block."""

    name: str
    layers: str  # class, or the classes of its layers
    read: str  # shape of its first input for one image, such as 64×32×32
    shape: str  # shape of its output
    parameters: int


@dataclass
class Block:
    """A module of the generator, or a discriminator."""

    name: str
    layers: str
    parameters: int
    reads: list[str] = field(default_factory=list)  # the blocks and inputs that its input is computed from
    parts: list[Part] = field(default_factory=list)
    shape: str = ""
    is_sequence: bool = False  # `layers` names all that is inside

    @property
    def stage(self) -> int:
        """The number that the name ends with; 0 without a number."""
        return int(re.search(r"\d*$", self.name)[0] or 0)

    @property
    def kind(self) -> str:
        """The name without its number, such as h_net."""
        return self.name.rstrip("0123456789")


class _Origins(TorchFunctionMode):
    """Records from which blocks and inputs each tensor is computed."""

    def __init__(self, inputs: Mapping[str, Tensor]):
        super().__init__()
        self._found: dict[int, tuple[Tensor, frozenset[str]]] = {}  # the tensor is kept, so that its id stays its own
        for name, each in inputs.items():
            self.put([each], frozenset([name]))

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.put(_tensors(result), self.of(_tensors([args, list(kwargs.values())])))
        return result

    def put(self, tensors: Iterable[Tensor], origins: frozenset[str]) -> None:
        """Record the origins of tensors."""
        for each in tensors:
            self._found[id(each)] = (each, origins)

    def of(self, tensors: Iterable[Tensor]) -> frozenset[str]:
        """Return the origins of all tensors together."""
        known = (self._found.get(id(each)) for each in tensors)
        return frozenset(name for entry in known if entry is not None for name in entry[1])


def _tensors(value: object) -> list[Tensor]:
    """Return the tensors in a value of nested lists and tuples."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [each for part in value for each in _tensors(part)]
    return []


class _Tracer:
    """Hooks on a network that record its blocks, and the modules that are called directly inside a block."""

    def __init__(self, network: nn.Module, outer: Sequence[str], origins: _Origins | None = None):
        """outer: names of the modules that are blocks; every module called inside a block is a part of it."""
        self.blocks: list[Block] = []
        self._origins, self._open = origins, []  # names of the modules that are being called
        for name, module in network.named_modules():
            if name:
                prefix = next((f"{each}." for each in outer if name.startswith(f"{each}.")), "")
                module.register_forward_pre_hook(partial(self._enter, name, name in outer))
                module.register_forward_hook(partial(self._leave, name, name.removeprefix(prefix)))

    def open_block(self, block: Block) -> None:
        """Make the modules that are called from now on parts of a block."""
        self.blocks.append(block)
        self._open.append(block.name)

    def _enter(self, name: str, is_block: bool, module: nn.Module, arguments: tuple) -> None:
        if is_block:
            reads = sorted(self._origins.of(_tensors(arguments))) if self._origins else []
            is_sequence = isinstance(module, nn.Sequential)
            self.blocks.append(Block(name, layers_of(module), parameters_of(module), reads, is_sequence=is_sequence))
        self._open.append(name)

    def _leave(self, name: str, short: str, module: nn.Module, arguments: tuple, result: object) -> None:
        self._open.pop()
        if not self._open:
            self.blocks[-1].shape = _shape(_tensors(result)[0])
            if self._origins:
                self._origins.put(_tensors(result), frozenset([name]))
        elif len(self._open) == 1:
            read, made = _shape(_tensors(arguments)[0]), _shape(_tensors(result)[0])
            self.blocks[-1].parts.append(Part(short, layers_of(module), read, made, parameters_of(module)))


def parameters_of(module: nn.Module) -> int:
    """Return the number of trained parameters of a module."""
    return sum(each.numel() for each in module.parameters() if each.requires_grad)


def layers_of(module: nn.Module) -> str:
    """Return the class of a module; of a sequence the classes of its layers, as in "2 × (Conv2d, ReLU)"."""
    if not isinstance(module, nn.Sequential):
        return type(module).__name__
    layers = [f"({layers_of(each)})" if isinstance(each, nn.Sequential) else layers_of(each) for each in module]
    period = next((size for size in range(1, len(layers)) if layers == layers[:size] * (len(layers) // size)), 0)
    if not period:
        return ", ".join(layers) or "no layer"
    text = ", ".join(layers[:period])
    return f"{len(layers) // period} × {text if period == 1 else f'({text})'}"


def _shape(tensor: Tensor) -> str:
    """Return the shape of one image's values, without the batch."""
    return "×".join(map(str, tensor.shape[1:])) or "1"


class Trace(NamedTuple):
    """The networks of a model, as one forward pass found them."""

    inputs: dict[str, str]  # name -> shape
    blocks: list[Block]  # of the generator, in the order of the pass
    images: dict[int, str]  # stage -> shape of its image
    discriminators: list[Block]  # ascending by the side of their images
    generator_parameters: int


def trace(model: TextToImageGAN, max_words: int) -> Trace:
    """Return the networks that a pass of one image and a caption of `max_words` words goes through.

    model: built on the meta device, where weights have shapes but no values; hooks remain on it.
    """
    sides = model.image_sizes
    features = (1, CHANNELS[model.architecture.feature_network], *[sides[-1] // REDUCTION] * 2)
    inputs = {
        "noise": torch.empty(1, model.noise_dim),
        "sentence": torch.empty(1, model.embedding_dim),
        "words": torch.empty(1, model.embedding_dim, max_words),
        "retrieved features": torch.empty(features),
    }
    inputs = {name: each.to("meta") for name, each in inputs.items()}
    mask = torch.zeros(1, max_words, dtype=torch.bool, device="meta")
    origins = _Origins(inputs)
    tracer = _Tracer(model.eval(), [name for name, _ in model.named_children()], origins)
    with torch.no_grad(), origins:
        images = model.generate(
            inputs["noise"], inputs["sentence"], inputs["words"], mask, inputs["retrieved features"]
        ).images
    used = {name for block in tracer.blocks for name in block.reads}
    last = model.architecture.stages
    return Trace(
        {name: _shape(each) for name, each in inputs.items() if name in used},
        tracer.blocks,
        dict(zip(range(last - len(sides) + 1, last + 1), map(_shape, images), strict=True)),
        [_discriminator(*each, model.embedding_dim) for each in zip(model.discriminators(), sides, strict=True)],
        parameters_of(model),
    )


@torch.no_grad()
def _discriminator(discriminator: nn.Module, side: int, embedding_dim: int) -> Block:
    """Return a discriminator as a block whose parts are called for an image and a sentence.

    It is not on the meta device, which does not support the autocast of spectral normalisation.
    """
    tracer = _Tracer(discriminator.eval(), ())
    block = Block(f"D{side}", layers_of(discriminator), parameters_of(discriminator), ["image", "sentence"])
    tracer.open_block(block)
    features = discriminator.features(torch.zeros(1, 3, side, side))
    if discriminator.has_unconditional_head:
        discriminator.unconditional(features)
    discriminator.conditional(features, torch.zeros(1, embedding_dim))
    return block
