"""Inference with a trained generator: fused blocks, bfloat16, channels_last, compilation, CUDA graphs."""

import copy
import os
import shutil
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dmgan.errors import UserError
from dmgan.models.fused import fused_for_inference
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.options import SamplingOptions
from dmgan.runtime.cuda_graph import CudaGraph, CudaRecorder, NotCapturable, forbidden_host_reads
from dmgan.runtime.device import disable_tf32, to_device
from dmgan.runtime.progress import log
from dmgan.text.damsm import EncodedCaptions

_CAST_BY_AUTOCAST = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class InferenceGenerator:
    """A copy of a model in evaluation mode that generates with the given options."""

    def __init__(
        self,
        model: TextToImageGAN,
        options: SamplingOptions,
        device: torch.device,
        max_words: int,
        recorder: CudaRecorder | None = None,
    ):
        """Copy the model; with options.compile, batches are padded to max_words words and batch_size rows.

        recorder: captures CUDA graphs; default: on a GPU with options.cuda_graphs a CudaRecorder, else no graphs.
        """
        self._options, self._device, self._max_words = options, device, max_words
        model = fused_for_inference(model) if options.fused else copy.deepcopy(model)
        if options.precision == "bfloat16":
            for layer in model.modules():  # cast once here; autocast would cast the weights for every batch
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
        if recorder is None and options.cuda_graphs and device.type == "cuda":
            recorder = CudaRecorder(device)
        self._graph = None if recorder is None else CudaGraph(self._computed, warm_up=1, recorder=recorder)
        self._uncompiled, self._checked = model.generate, False
        self.cuda_graphs = False  # whether a batch was replayed as a CUDA graph

    @torch.inference_mode()
    def images(self, noise: Tensor, captions: EncodedCaptions, memory: Tensor | None = None) -> list[Tensor]:
        """Return the images (B, 3, s, s) of every stage for B captions; the next call may overwrite them.

        noise (B, noise_dim); memory (B, C, h, w): features of the retrieved images, for a model that retrieves.
        """
        count, noise = len(noise), to_device(noise, self._device)
        if self._options.compile:  # repeat the last row to a fixed shape, to compile only once
            rows = torch.arange(self._options.batch_size).clamp_(max=count - 1)
            captions = captions.padded_to(self._max_words).rows(rows)
            noise, memory = noise[rows], None if memory is None else memory[rows]
        given = [noise, captions.sentence, captions.words, captions.mask, memory]
        images = self._computed(*given) if self._graph is None else self._replayed(given)
        return [each[:count] for each in images]

    def _computed(self, *given: Tensor | None) -> list[Tensor]:
        """Return the images of every stage, computed eagerly or by the compiled generator."""
        bfloat16 = self._options.precision == "bfloat16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bfloat16):
            return (self._compiled(given) if self._options.compile else self._generate(*given)).images

    def _replayed(self, given: list[Tensor | None]) -> list[Tensor]:
        """Return the images of every stage, computed by a CUDA graph of the batch's shape.

        The first batches of every shape are computed eagerly, and so is a last batch of fewer images. Only the graph of
        the last shape is kept, because batches are sorted by shape. A generator that cannot be captured computes every
        batch eagerly, and the reason is logged.
        """
        try:
            self._check(given)
            if not self._graph.fits(given):
                self._graph.release()
            images = self._graph(*given)
        except NotCapturable as error:
            log(f"the generator is not replayed as a CUDA graph: {error}")
            self._graph = None
            return self._computed(*given)
        self.cuda_graphs |= self._graph.captured
        return images

    def _check(self, given: list[Tensor | None]) -> None:
        """Raise NotCapturable if the generator reads values of the device on the host."""
        if not self._checked:
            bfloat16 = self._options.precision == "bfloat16"
            with (
                forbidden_host_reads(self._device),
                torch.autocast(self._device.type, torch.bfloat16, enabled=bfloat16),
            ):
                self._uncompiled(*given)
            self._checked = True

    def _compiled(self, given: Sequence[Tensor | None]) -> Generated:
        """Call the compiled generator; UserError if the compilation fails."""
        from torch._dynamo.exc import BackendCompilerFailed

        try:
            return self._generate(*given)
        except BackendCompilerFailed as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"--compile: the generator could not be compiled ({reason}); fix the compiler, or leave --compile out"
            ) from error


def _need_compiler(device: torch.device) -> None:
    """Raise UserError if no C++ compiler is found, which torch.compile needs on the CPU."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise UserError(
            f"--compile: needs a C++ compiler, and {compiler} is not found; install g++, name a compiler in the "
            "environment variable CXX, or leave --compile out"
        )
