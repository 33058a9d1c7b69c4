"""Networks, optimisers and averaged weights of one model, and the training step."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from dmgan.models.fast import rewritten
from dmgan.models.interface import Generated, TextToImageGAN, initialise
from dmgan.options import (
    PLAIN_ENGINE,
    EngineOptions,
    LossOptions,
    MatchingOptions,
    TrainingOptions,
)
from dmgan.runtime.device import disable_tf32, to_float32
from dmgan.runtime.distributed import SINGLE_PROCESS, DistributedContext
from dmgan.text.damsm import EncodedCaptions
from dmgan.training.damsm_loss import losses_of_scores, matching_scores
from dmgan.training.gan_losses import adversarial_loss, discriminator_loss, kl_loss
from dmgan.training.optimizers import _EPS, Adam, LossScaler, WeightAverage


class Part(NamedTuple):
    """Consecutive rows of a batch that pass through the networks together."""

    share: float  # of the batch's rows
    rows: slice  # in the batch
    images: list[Tensor]  # per side (n, 3, s, s)
    captions: EncodedCaptions  # of these rows
    judged: Tensor  # (n + 1, E) sentences of these rows and of the next one; (n, E) at the end of the batch
    noise: Tensor  # (n, noise_dim)


class Trainer:
    """Networks, optimisers and averaged weights of one model, and the step that moves them."""

    def __init__(
        self,
        model: TextToImageGAN,
        image_encoder: nn.Module,
        options: TrainingOptions,
        gammas: MatchingOptions,
        switches: LossOptions,
        device: torch.device,
        engine: EngineOptions = PLAIN_ENGINE,
        distributed: DistributedContext = SINGLE_PROCESS,
    ):
        self.options, self.gammas, self.switches = options, gammas, switches
        self.device, self.engine, self.distributed = device, engine, distributed
        disable_tf32()
        self.model = model.to(device).train()
        self.discriminators = model.discriminators()
        initialise(self.discriminators, self.model.weight_std)
        self.discriminators.to(device).train()
        self.image_encoder = image_encoder
        self._set_up_networks()
        adam = {"betas": (options.adam_beta1, options.adam_beta2), "eps": _EPS}
        if engine.fused_adam:
            adam["fused"] = True
        self.generator_adam = Adam(self.model.parameters(), lr=options.generator_lr, **adam)
        self.discriminator_adams = [
            Adam([p for p in each.parameters() if p.requires_grad], lr=options.discriminator_lr, **adam)
            for each in self.discriminators
        ]
        self.average = WeightAverage(self.model, options.ema_decay)
        self.scaler = LossScaler(device.type, enabled=engine.precision == "float16")

    def _set_up_networks(self) -> None:
        """What the engine's options and the ranks change in the networks; no parameter's name or value."""
        if self.engine.rewritten:  # first: it knows blocks by their layers
            rewritten(self.model)
        if self.distributed.world_size > 1 and self.device.type == "cuda":  # it has no CPU form
            nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
            nn.SyncBatchNorm.convert_sync_batchnorm(self.discriminators)
        if self.engine.channels_last:
            for network in (self.model, self.discriminators, self.image_encoder):
                network.to(memory_format=torch.channels_last)
        if self.engine.gradient_checkpointing:
            recompute_in_backward(self.model)
        if self.engine.compile:
            mode = "reduce-overhead" if self.engine.cuda_graphs else None
            self.model.compile(dynamic=False, mode=mode)
            self.image_encoder.compile(dynamic=False, mode=mode)
        further, r1_gamma = self.model.further_discriminator_losses, self.options.r1_gamma
        losses = [DiscriminatorLoss(each, self.switches, r1_gamma, further) for each in self.discriminators]
        # One wrapper per network, and one backward for all its passes: the gradients are wrong otherwise, without an
        # error.
        self._generator = self._wrapped(self.model)
        self._discriminator_losses = [self._wrapped(each) for each in losses]

    def _wrapped(self, network: nn.Module) -> nn.Module:
        return network if self.distributed.world_size == 1 else DistributedDataParallel(network)

    def stateful(self) -> dict[str, object]:
        """Everything a step changes, by name."""
        adams = {f"discriminator_adam{i}": adam for i, adam in enumerate(self.discriminator_adams)}
        return {
            "model": self.model,
            "discriminators": self.discriminators,
            "average": self.average,
            "generator_adam": self.generator_adam,
            "scaler": self.scaler,
            **adams,
        }

    def step(
        self, images: Sequence[Tensor], captions: EncodedCaptions, class_ids: Tensor, noise: Tensor
    ) -> dict[str, Tensor]:
        """One update of every discriminator, then of the generator, then of the average (released order).

        images are this rank's rows of the batch; captions, class_ids and noise the whole batch's. The losses that
        are returned add up, over the ranks, to the batch's.
        """
        if self.engine.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # what the last step's graphs hold may be overwritten
        parts = self._parts(images, captions, noise)
        # The graph of a single part is kept for the generator's update; of several each passes anew then.
        with torch.set_grad_enabled(len(parts) == 1):
            generated = [self._generate(part) for part in parts]
        losses: dict[str, Tensor] = {}

        # Move the discriminators.
        for i, (judge, adam) in enumerate(zip(self._discriminator_losses, self.discriminator_adams, strict=True)):
            if i not in self.model.trained_images:
                losses[f"discriminator{i}"] = torch.zeros((), device=self.device)
                continue
            adam.zero_grad(set_to_none=True)
            for part, made in zip(parts, generated, strict=True):
                with self._exchange(judge, part is parts[-1]):
                    with self._autocast():
                        loss = (
                            judge(part.images[i], made.images[i], part.captions, part.judged, len(noise)) * part.share
                        )
                    self._backward(loss)
                _add(losses, {f"discriminator{i}": loss})
            self.scaler.step(adam)

        # Move the generator against the moved discriminators, whose weights need no gradient now.
        _require_gradients(self.discriminators, False)
        scores = (
            self._all_scores(parts, generated, captions) if self.switches.matching and not self._whole(parts) else None
        )
        self.generator_adam.zero_grad(set_to_none=True)
        for part, made in zip(parts, generated, strict=True):
            with self._exchange(self._generator, part is parts[-1]):
                if len(parts) > 1:
                    with unchanged_buffers(self.model):
                        made = self._generate(part)
                total, further = self._generator_loss(part, made, captions, class_ids, scores)
                self._backward(total)
            _add(losses, further)
        self.scaler.step(self.generator_adam)
        self.scaler.update()
        _require_gradients(self.discriminators, True)

        self.average.update(self.model)
        return losses

    def _parts(self, images: Sequence[Tensor], captions: EncodedCaptions, noise: Tensor) -> list[Part]:
        """This rank's rows of the batch, in as many parts as are to pass one after another."""
        batch_size, mine = len(noise), self.distributed.rows(len(noise))
        layout = torch.channels_last if self.engine.channels_last else torch.preserve_format
        bounds = [
            mine.start + i * (mine.stop - mine.start) // self.engine.accumulate for i in range(self.engine.accumulate)
        ]
        parts = []
        for start, stop in zip(bounds, [*bounds[1:], mine.stop], strict=True):
            rows, local = slice(start, stop), slice(start - mine.start, stop - mine.start)
            parts.append(
                Part(
                    (stop - start) / batch_size,
                    rows,
                    [each[local].to(memory_format=layout) for each in images],
                    EncodedCaptions(*(None if each is None else each[rows] for each in captions)),
                    captions.sentence[start : stop + 1],
                    noise[rows],
                )
            )
        return parts

    def _whole(self, parts: list[Part]) -> bool:
        """Whether the batch passes at once, on one rank."""
        return len(parts) == self.distributed.world_size == 1

    def _generate(self, part: Part) -> Generated:
        """The generator's pass over a part."""
        memory = self.model.paired_memory(part.images)
        with self._autocast():
            made = self._generator(part.noise, part.captions.sentence, part.captions.words, part.captions.mask, memory)
        condition = {name: to_float32(x) for name in ("mean", "logvar") if (x := getattr(made, name)) is not None}
        return made._replace(images=[to_float32(each) for each in made.images], **condition)

    def _generator_loss(
        self, part: Part, made: Generated, captions: EncodedCaptions, class_ids: Tensor, scores: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What a part adds to the generator's loss, in all and by name."""
        with self._autocast():
            adversarial = self._adversarial(made, part.captions.sentence)
            if self.switches.interpolation:
                between = ((captions.sentence + captions.sentence.roll(1, dims=0)) / 2)[part.rows]
                halfway = self._generate(part._replace(captions=part.captions._replace(sentence=between)))
                adversarial = adversarial + self._adversarial(halfway, between)
        total, losses = adversarial * part.share, {"adversarial": adversarial * part.share}
        if self.switches.matching:
            own = self._scores(made.images[-1], captions)
            if scores is not None:
                own = torch.cat([scores[:, : part.rows.start], own, scores[:, part.rows.stop :]], dim=1)
            matching = losses_of_scores(*own, class_ids)
            total = total + self.options.damsm_weight * sum(matching)  # whole: its gradient is the part's alone
            losses |= {name: loss * part.share for name, loss in matching._asdict().items()}
        if made.mean is not None:
            losses["kl"] = kl_loss(made.mean, made.logvar, self.switches) * part.share
            total = total + self.options.kl_weight * losses["kl"]
        further = self.model.further_losses(made, part.images, part.captions)
        further = {name: loss * part.share for name, loss in further.items()}
        watched = {name: value * part.share for name, value in self.model.diagnostics(made).items()}
        return sum(further.values(), total), losses | further | watched

    def _adversarial(self, generated: Generated, sentence: Tensor) -> Tensor:
        """What the discriminators tell the generator of the images that are trained, with sentences (B, E)."""
        pairs = ((self.discriminators[i], generated.images[i]) for i in self.model.trained_images)
        return sum(adversarial_loss(each, fake, sentence, self.switches) for each, fake in pairs)

    def _scores(self, images: Tensor, captions: EncodedCaptions) -> Tensor:
        """The DAMSM's scores (2, n, B) of the last stage's images (n, 3, s, s) with every caption of the batch."""
        with self._autocast():
            regions, code = self.image_encoder(images)
        return torch.stack(
            matching_scores(
                to_float32(regions), to_float32(code), captions.words, captions.sentence, captions.lengths,
                self.gammas,
            )
        )  # fmt: skip

    @torch.no_grad()
    def _all_scores(self, parts: list[Part], generated: list[Generated], captions: EncodedCaptions) -> Tensor:
        """The DAMSM's scores (2, B, B) of the whole batch's images, every part's and every rank's."""
        batch_size = len(captions.sentence)
        scores = torch.zeros(2, batch_size, batch_size, device=self.device, dtype=captions.sentence.dtype)
        for part, made in zip(parts, generated, strict=True):
            scores[:, part.rows] = self._scores(made.images[-1], captions)
        return self.distributed.sum(scores)

    def _autocast(self) -> torch.autocast:
        """Half-precision passes, where they are asked for."""
        wanted = self.engine.precision
        return torch.autocast(self.device.type, getattr(torch, wanted), enabled=wanted != "float32")

    def _exchange(self, network: nn.Module, last: bool) -> AbstractContextManager:
        """Let the ranks add up a network's gradients in the backward pass of its last part only."""
        return network.no_sync() if self.distributed.world_size > 1 and not last else nullcontext()

    def _backward(self, loss: Tensor) -> None:
        """Gradients of a part's share of a loss; the wrapper takes the ranks' mean, the batch's loss is their sum."""
        self.scaler.scale(loss * self.distributed.world_size).backward()


class DiscriminatorLoss(nn.Module):
    """A discriminator's loss as a network of one forward pass."""

    def __init__(
        self,
        discriminator: nn.Module,
        switches: LossOptions,
        r1_gamma: float,
        further: Callable[..., dict[str, Tensor]],
    ):
        super().__init__()
        self.discriminator, self.switches, self.r1_gamma, self.further = discriminator, switches, r1_gamma, further

    def forward(self, real: Tensor, fake: Tensor, captions: EncodedCaptions, judged: Tensor, batch_size: int) -> Tensor:
        loss = discriminator_loss(self.discriminator, real, fake, judged, self.switches, batch_size, self.r1_gamma)
        return sum(self.further(self.discriminator, real, captions).values(), loss)


def recompute_in_backward(model: nn.Module) -> None:
    """Keep only what passes between the model's stages, and compute each again in the backward pass."""
    for child in model.children():
        for stage in child if isinstance(child, nn.ModuleList) else [child]:
            again = {"context_fn": partial(_once_and_again, stage), "preserve_rng_state": False}  # a pass draws nothing
            stage.forward = partial(checkpoint, stage.forward, use_reentrant=False, **again)


def _once_and_again(stage: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Contexts of a stage's first pass and of its second, which must not count in batch norm's statistics again."""
    return nullcontext(), unchanged_buffers(stage)


@contextmanager
def unchanged_buffers(network: nn.Module):
    """Give the network's buffers their values back at the end: batch norm counts a repeated pass once."""
    kept = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:  # a pass for the backward alone ends with an exception, where nothing more of it is needed
        for buffer, value in zip(network.buffers(), kept, strict=True):
            buffer.data.copy_(value)  # past autograd, which has no use for the statistics of a training pass


def _add(sums: dict[str, Tensor], losses: dict[str, Tensor]) -> None:
    """Add losses by name, without their graphs."""
    for name, loss in losses.items():
        sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()


def _require_gradients(discriminators: nn.ModuleList, required: bool) -> None:
    """Switch the gradients of the trained weights; spectral norm's u and v never have one."""
    for name, parameter in discriminators.named_parameters():
        if not name.endswith(("weight_u", "weight_v")):
            parameter.requires_grad_(required)
