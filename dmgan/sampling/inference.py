"""A trained generator made ready to make many images: fused, in another precision or memory layout, compiled."""

import copy
import os
import shutil
import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.errors import UserError
from dmgan.models.fused import fused_for_inference
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.options import SamplingOptions
from dmgan.runtime.device import disable_tf32
from dmgan.text.damsm import EncodedCaptions

_CAST_BY_AUTOCAST = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class InferenceGenerator:
    """A copy of a model in evaluation mode that generates as the options say."""

    def __init__(
        self, model: TextToImageGAN, options: SamplingOptions, device: torch.device, batch_size: int, max_words: int
    ):
        """batch_size, max_words: the largest that will be asked for; a compiled generator pads all to them."""
        self._options, self._device = options, device
        self._shape = (batch_size, max_words)
        model = fused_for_inference(model) if options.fused else copy.deepcopy(model)
        if options.precision == "bfloat16":
            for layer in model.modules():  # once: autocast would cast the same weights in every batch
                if isinstance(layer, _CAST_BY_AUTOCAST):
                    layer.to(torch.bfloat16)
        elif device.type == "cuda":
            disable_tf32()
        if options.channels_last:
            model.to(memory_format=torch.channels_last)
        self._generate = model.generate
        if options.compile:
            _need_compiler(device)
            self._generate = torch.compile(model.generate, dynamic=False)

    @torch.inference_mode()
    def images(self, noise: Tensor, captions: EncodedCaptions, memory: Tensor | None = None) -> list[Tensor]:
        """Images of every stage (B, 3, s, s), for noise (B, noise_dim), B captions and what they retrieved."""
        given = [noise.to(self._device), captions.sentence, captions.words, captions.mask, memory]
        if self._options.compile:
            given = _padded(*given, *self._shape)
        bfloat16 = self._options.precision == "bfloat16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bfloat16):
            generated = self._compiled(given) if self._options.compile else self._generate(*given)
        return [images[: len(noise)] for images in generated.images]

    def _compiled(self, given: list[Tensor | None]) -> Generated:
        """What the compiled generator makes of its arguments; UserError where it cannot be compiled."""
        from torch._dynamo.exc import BackendCompilerFailed

        try:
            return self._generate(*given)
        except BackendCompilerFailed as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"--compile: the generator could not be compiled ({reason}); fix the compiler, or leave --compile out"
            ) from error


def _padded(
    noise: Tensor, sentence: Tensor, words: Tensor, mask: Tensor, memory: Tensor | None, batch: int, longest: int
) -> list[Tensor | None]:
    """The same with `batch` rows, the last one repeated, and `longest` words: one shape, compiled once."""
    words = F.pad(words, (0, longest - words.shape[2]))
    mask = F.pad(mask, (0, longest - mask.shape[1]), value=True)
    rows = torch.arange(batch, device=noise.device).clamp_(max=len(noise) - 1)
    return [None if each is None else each[rows] for each in (noise, sentence, words, mask, memory)]


def _need_compiler(device: torch.device) -> None:
    """UserError where torch.compile would not find the C++ compiler that it needs on the CPU."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise UserError(
            f"--compile: needs a C++ compiler, and {compiler} is not found; install g++, name a compiler in the "
            "environment variable CXX, or leave --compile out"
        )
