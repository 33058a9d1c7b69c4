"""Training step of one model, with its networks, optimisers and averaged weights."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from dmgan.models.fused import fuse_for_training
from dmgan.models.fused_discriminator import fuse_discriminator
from dmgan.models.half_weights import HalfWeights
from dmgan.models.initialisation import initialise
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.models.loss_networks import LossContext, LossNetworks
from dmgan.options import LossOptions, TrainingSettings
from dmgan.runtime.compiling import compile_in_place, pieces
from dmgan.runtime.device import disable_tf32, to_float32
from dmgan.runtime.distributed import SINGLE_PROCESS, DistributedContext
from dmgan.text.damsm import EncodedCaptions
from dmgan.text.folded_encoder import folded_encoder
from dmgan.training.augmentation import FAKE, FAKE_OF_GENERATOR, REAL, WRONG, augment
from dmgan.training.damsm_loss import losses_of_scores, matching_scores
from dmgan.training.gan_losses import adversarial_loss, discriminator_loss, kl_loss, pair_sentences
from dmgan.training.optimizers import Adam, LossScaler, WeightAverage

NO_NETWORKS = LossNetworks()


class FurtherInputs(NamedTuple):
    """Inputs of a training step that only some models' losses read."""

    wrong_images: Sequence[Tensor] = ()  # per side (n, 3, s, s), drawn for mismatched pairs; this process's rows
    wrong_captions: EncodedCaptions | None = None  # of the whole batch; captions of random training images
    generator_noise: Tensor | None = None  # (B + B // 2, noise_dim) of the generator's update, with interpolation
    augmentation: Tensor | None = None  # (B or B + B // 2, 4, sides, NUMBERS) of DiffAugment; None: no augmentation


NO_FURTHER_INPUTS = FurtherInputs()


class StepInputs(NamedTuple):
    """Inputs of a training step: the whole batch, but only this process's images."""

    images: Sequence[Tensor]  # per side (n, 3, s, s)
    captions: EncodedCaptions  # of the B images of the batch
    class_ids: Tensor  # (B,)
    noise: Tensor  # (B, noise_dim)
    further: FurtherInputs = NO_FURTHER_INPUTS

    def on_device(self) -> "StepInputs":
        """Return the inputs without the lengths of captions, the only tensors that are on the CPU."""
        further, wrong = self.further, self.further.wrong_captions
        if wrong is not None:
            further = further._replace(wrong_captions=wrong._replace(lengths=None))
        return self._replace(captions=self.captions._replace(lengths=None), further=further)


class MicroBatch(NamedTuple):
    """Consecutive rows of a batch that pass through the networks together."""

    share: float  # of the batch's rows
    rows: slice  # in the batch
    images: list[Tensor]  # per side (n, 3, s, s)
    captions: EncodedCaptions  # of these rows
    noise: Tensor  # (n, noise_dim)
    wrong_images: list[Tensor | None]  # per side (n, 3, s, s); None: the losses read none
    wrong_captions: EncodedCaptions | None  # of these rows; None: the losses read none
    augmentation: Tensor | None  # (n, 4, sides, NUMBERS) of DiffAugment; None: no augmentation

    def augmented(self, images: Tensor | None, policy: str, purpose: int, side: int) -> Tensor | None:
        """Return a discriminator's input for images (n, 3, s, s), or None, at position `side` of image_sizes."""
        if self.augmentation is None or images is None:
            return images
        return augment(images, policy, self.augmentation[:, purpose, side])


class Trainer:
    """Networks, optimisers and averaged weights of one model, and the training step."""

    def __init__(
        self,
        model: TextToImageGAN,
        image_encoder: nn.Module,
        settings: TrainingSettings,
        losses: LossOptions,
        device: torch.device,
        distributed: DistributedContext = SINGLE_PROCESS,
        networks: LossNetworks = NO_NETWORKS,
    ):
        """Set up the networks; image_encoder: the DAMSM's, frozen; networks: frozen networks that losses read."""
        options = settings.training
        self.options, self.gammas, self.losses, self.engine = options, settings.matching, losses, settings.engine
        self.device, self.distributed, self.networks = device, distributed, networks
        disable_tf32()
        self.model = model.to(device).train()
        self.discriminators = model.discriminators()
        initialise(self.discriminators, self.model.initial_weights)
        self.discriminators.to(device).train()
        self.image_encoder = image_encoder
        self.context = LossContext(options, networks, self.discriminators)
        self._set_up_networks()
        adam = partial(
            Adam,
            betas=(options.adam_beta1, options.adam_beta2),
            fused=self.engine.fused_adam or None,
            capturable=bool(self.engine.cuda_graphs),
        )
        self.generator_adam = adam(self.model.parameters(), lr=options.generator_lr)
        self.discriminator_adams = [
            adam([p for p in each.parameters() if p.requires_grad], lr=options.discriminator_lr)
            for each in self.discriminators
        ]
        self.average = WeightAverage(self.model, options.ema_decay)
        self.scaler = LossScaler(device.type, enabled=self.engine.precision == "float16")

    def _set_up_networks(self) -> None:
        """Prepare the networks for engine options and distributed training; parameters keep their names and values."""
        if self.engine.fused:  # first, because blocks are recognised by their original layers
            fuse_for_training(self.model)
            half = None if self.engine.precision == "float32" else getattr(torch, self.engine.precision)
            second_derivatives = bool(self.losses.r1 or self.losses.matching_aware_penalty)
            for i, each in enumerate(self.discriminators):
                self.discriminators[i] = fuse_discriminator(each, second_derivatives)
            self.image_encoder = folded_encoder(self.image_encoder, half)
        if self.distributed.world_size > 1 and self.device.type == "cuda":  # SyncBatchNorm has no CPU implementation
            nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
            nn.SyncBatchNorm.convert_sync_batchnorm(self.discriminators)
        if self.engine.channels_last:
            for network in (self.model, self.discriminators, self.image_encoder):
                network.to(memory_format=torch.channels_last)
        if self.engine.gradient_checkpointing:
            recompute_in_backward(self.model)
        if self.engine.compile:
            compile_in_place([*pieces(self.model), self.image_encoder])
        losses = [DiscriminatorLoss(each, self.losses, self.model, self.context) for each in self.discriminators]
        # Use one wrapper per network and one backward pass for all its forward passes: otherwise the gradients are
        # silently wrong.
        self._generator = self._wrapped(self._with_half_weights())
        self._discriminator_losses = [self._wrapped(each) for each in losses]

    def _with_half_weights(self) -> nn.Module:
        """Return the model, which converts its weights together if neither the compiler nor a recomputation does."""
        engine = self.engine
        if not engine.fused or engine.precision == "float32" or engine.compile or engine.gradient_checkpointing:
            return self.model
        return HalfWeights(self.model, getattr(torch, engine.precision))

    def _wrapped(self, network: nn.Module) -> nn.Module:
        return network if self.distributed.world_size == 1 else DistributedDataParallel(network)

    def stateful(self) -> dict[str, object]:
        """Return the objects whose state a step changes, by name."""
        adams = {f"discriminator_adam{i}": adam for i, adam in enumerate(self.discriminator_adams)}
        return {
            "model": self.model,
            "discriminators": self.discriminators,
            "average": self.average,
            "generator_adam": self.generator_adam,
            "scaler": self.scaler,
            **adams,
        }

    def averaged_state(self) -> dict[str, Tensor]:
        """Return the model's state dict with averaged parameters, without changing the model.

        Batch-norm statistics are those of the model. The tensors are the trainer's own: copy them before the next step.
        """
        averages = {id(parameter): self.average.parameters[name] for name, parameter in self.model.named_parameters()}
        state = self.model.state_dict(keep_vars=True)
        return {name: averages.get(id(tensor), tensor) for name, tensor in state.items()}

    def rates(self) -> list[float]:
        """Return the learning rates of all optimisers."""
        return [rate for adam in (self.generator_adam, *self.discriminator_adams) for rate in adam.rates()]

    def scale_learning_rates(self, factor: float) -> None:
        """Set all learning rates to `factor` times those of the options."""
        self.generator_adam.set_rate(factor * self.options.generator_lr)
        for adam in self.discriminator_adams:
            adam.set_rate(factor * self.options.discriminator_lr)

    def step(
        self,
        images: Sequence[Tensor],
        captions: EncodedCaptions,
        class_ids: Tensor,
        noise: Tensor,
        further: FurtherInputs = NO_FURTHER_INPUTS,
    ) -> dict[str, Tensor]:
        """Update every discriminator, then the generator, then the average, in the release's order; return the losses.

        images: this process's rows of the batch, per side (n, 3, s, s). captions, class_ids (B,) and noise
        (B, noise_dim) of the whole batch. The sum of the returned losses over the processes is the batch's loss.
        """
        batches = self._micro_batches(images, captions, noise, further)
        # One micro-batch: reuse this graph for the generator's update. Several: recompute. Interpolation: new images.
        with torch.set_grad_enabled(len(batches) == 1 and not self.losses.interpolation):
            generated = [self._generate(batch) for batch in batches]
        conditions = self._conditions(batches, generated, captions)
        losses: dict[str, Tensor] = {}

        # Update the discriminators.
        for i, (loss_of, adam) in enumerate(zip(self._discriminator_losses, self.discriminator_adams, strict=True)):
            if i not in self.model.trained_images:
                losses[f"discriminator{i}"] = torch.zeros((), device=self.device)
                continue
            adam.zero_grad(set_to_none=True)
            for batch, made in zip(batches, generated, strict=True):
                with self._gradient_sync(loss_of, batch is batches[-1]):
                    with self._autocast():
                        sentences = pair_sentences(conditions, batch.rows, self.losses)
                        loss = loss_of(i, batch, made.images[i], sentences, len(noise))
                        loss = loss * batch.share
                    self._backward(loss)
                _add(losses, {f"discriminator{i}": loss})
            self.scaler.step(adam)

        # Update the generator with the updated discriminators.
        with weights_frozen(self.discriminators):
            losses |= self._update_generator(batches, generated, captions, class_ids, further)
        self.average.update(self.model)
        return losses

    def _update_generator(
        self,
        batches: list[MicroBatch],
        generated: list[Generated],
        captions: EncodedCaptions,
        class_ids: Tensor,
        further: FurtherInputs,
    ) -> dict[str, Tensor]:
        """Update the generator once; return its losses by name."""
        losses: dict[str, Tensor] = {}
        new_noise, augmentation = further.generator_noise, further.augmentation
        matching = self.losses.matching and not (len(batches) == self.distributed.world_size == 1)
        scores = self._all_scores(batches, generated, captions) if matching else None
        self.generator_adam.zero_grad(set_to_none=True)
        for batch, made in zip(batches, generated, strict=True):
            with self._gradient_sync(self._generator, batch is batches[-1]):
                if self.losses.interpolation:
                    batch = _with_interpolated(batch, captions.sentence, new_noise, augmentation)
                    made = self._generate(batch)
                elif len(batches) > 1:
                    with unchanged_buffers(self.model):
                        made = self._generate(batch)
                total, by_name = self._generator_loss(batch, made, captions, class_ids, scores)
                self._backward(total)
            _add(losses, by_name)
        self.scaler.step(self.generator_adam)
        self.scaler.update()
        return losses

    def _micro_batches(
        self, images: Sequence[Tensor], captions: EncodedCaptions, noise: Tensor, further: FurtherInputs
    ) -> list[MicroBatch]:
        """Split this process's rows of the batch into `accumulate` micro-batches."""
        batch_size, mine, count = len(noise), self.distributed.rows(len(noise)), self.engine.accumulate
        layout = torch.channels_last if self.engine.channels_last else torch.preserve_format
        bounds = [mine.start + i * (mine.stop - mine.start) // count for i in range(count)]
        batches = []
        for start, stop in zip(bounds, [*bounds[1:], mine.stop], strict=True):
            rows, local = slice(start, stop), slice(start - mine.start, stop - mine.start)
            batches.append(
                MicroBatch(
                    (stop - start) / batch_size,
                    rows,
                    [each[local].to(memory_format=layout) for each in images],
                    captions.rows(rows),
                    noise[rows],
                    [each[local].to(memory_format=layout) for each in further.wrong_images] or [None] * len(images),
                    None if further.wrong_captions is None else further.wrong_captions.rows(rows),
                    None if further.augmentation is None else further.augmentation[rows],
                )
            )
        return batches

    @torch.no_grad()
    def _conditions(self, batches: list[MicroBatch], generated: list[Generated], captions: EncodedCaptions) -> Tensor:
        """Return what the discriminators read beside the images of the whole batch, (B, E) or (B, condition_dim)."""
        if self.losses.condition == "sentence":
            return captions.sentence
        means = generated[0].mean.new_zeros(len(captions.sentence), generated[0].mean.shape[1])
        for batch, made in zip(batches, generated, strict=True):
            means[batch.rows] = made.mean
        return self.distributed.sum(means)

    def _generate(self, batch: MicroBatch) -> Generated:
        """Generate the images of a micro-batch; images and condition are returned in float32."""
        captions, memory = batch.captions, self.features_of(batch.images)
        with self._autocast():
            made = self._generator(batch.noise, captions.sentence, captions.words, captions.mask, memory)
        condition = {name: to_float32(x) for name in ("mean", "logvar") if (x := getattr(made, name)) is not None}
        return made._replace(images=[to_float32(each) for each in made.images], **condition)

    @torch.no_grad()
    def features_of(self, images: Sequence[Tensor]) -> Tensor | None:
        """Return features of the real images, per side (B, 3, s, s); None if the model does not retrieve.

        Training uses them in place of the features of retrieved images (MDSP, section 3).
        """
        return None if self.networks.features is None else self.networks.features(images[-1])

    def _generator_loss(
        self,
        batch: MicroBatch,
        made: Generated,
        captions: EncodedCaptions,
        class_ids: Tensor,
        scores: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a micro-batch's share of the generator's loss, in total and by name."""
        with self._autocast():
            mean = made.mean.detach() if self.losses.condition == "detached_mean" else made.mean
            condition = batch.captions.sentence if self.losses.condition == "sentence" else mean
            adversarial = self._adversarial(batch, made, condition)
        total, losses = adversarial * batch.share, {"adversarial": adversarial * batch.share}
        if self.losses.matching:
            own = self._scores(made.images[-1], captions)
            if scores is not None:
                own = torch.cat([scores[:, : batch.rows.start], own, scores[:, batch.rows.stop :]], dim=1)
            matching = losses_of_scores(*own, class_ids)
            # Do not multiply by the share: only this micro-batch's scores have a gradient, which is its share already.
            total = total + self.options.damsm_weight * sum(matching)
            losses |= {name: loss * batch.share for name, loss in matching._asdict().items()}
        if made.mean is not None:
            losses["kl"] = kl_loss(made.mean, made.logvar, self.losses) * batch.share
            total = total + self.options.kl_weight * losses["kl"]
        extra = self.model.extra_losses(made, batch.images, batch.captions, self.context)
        extra = {name: loss * batch.share for name, loss in extra.items()}
        diagnostics = {name: value * batch.share for name, value in self.model.diagnostics(made).items()}
        return sum(extra.values(), total), losses | extra | diagnostics

    def _adversarial(self, batch: MicroBatch, generated: Generated, sentence: Tensor) -> Tensor:
        """Sum the adversarial losses over the trained images, with sentences (n, E)."""
        policy, total = self.options.diff_augment, 0
        for i in self.model.trained_images:
            fake = batch.augmented(generated.images[i], policy, FAKE_OF_GENERATOR, i)
            total = total + adversarial_loss(self.discriminators[i], fake, sentence, self.losses)
        return total

    def _scores(self, images: Tensor, captions: EncodedCaptions) -> Tensor:
        """Return the DAMSM's scores (2, n, B) of the last stage's images (n, 3, s, s) with the batch's B captions."""
        with self._autocast():
            regions, embedding = self.image_encoder(images)
        regions, embedding = to_float32(regions), to_float32(embedding)
        return torch.stack(matching_scores(regions, embedding, captions, self.gammas))

    @torch.no_grad()
    def _all_scores(self, batches: list[MicroBatch], generated: list[Generated], captions: EncodedCaptions) -> Tensor:
        """Return the DAMSM's scores (2, B, B) of the whole batch, over all micro-batches and processes."""
        batch_size = len(captions.sentence)
        scores = torch.zeros(2, batch_size, batch_size, device=self.device, dtype=captions.sentence.dtype)
        for batch, made in zip(batches, generated, strict=True):
            scores[:, batch.rows] = self._scores(made.images[-1], captions)
        return self.distributed.sum(scores)

    def _autocast(self) -> torch.autocast:
        """Return an autocast context for the engine's precision; inactive for float32."""
        wanted = self.engine.precision
        return torch.autocast(self.device.type, getattr(torch, wanted), enabled=wanted != "float32")

    def _gradient_sync(self, network: nn.Module, last: bool) -> AbstractContextManager:
        """Return a context that synchronises a network's gradients over processes only for the last micro-batch."""
        return network.no_sync() if self.distributed.world_size > 1 and not last else nullcontext()

    def _backward(self, loss: Tensor) -> None:
        """Run the backward pass of a loss, scaled so that DistributedDataParallel sums gradients, not averages them."""
        processes = self.distributed.world_size
        self.scaler.scale(loss if processes == 1 else loss * processes).backward()


class DiscriminatorLoss(nn.Module):
    """A discriminator's loss as a module with a single forward pass, which DistributedDataParallel requires."""

    def __init__(self, discriminator: nn.Module, losses: LossOptions, model: TextToImageGAN, context: LossContext):
        super().__init__()
        self.discriminator, self.losses = discriminator, losses
        self._extra, self._context = model.extra_discriminator_losses, context  # a bound method registers no submodule

    def forward(self, side: int, batch: MicroBatch, fake: Tensor, sentences: Tensor, batch_size: int) -> Tensor:
        """Return the loss for the images at position `side` of image_sizes; sentences: from `pair_sentences`."""
        options = self._context.options
        given = (batch.images[side], REAL), (fake.detach(), FAKE), (batch.wrong_images[side], WRONG)
        real, fake, wrong = (batch.augmented(images, options.diff_augment, of, side) for images, of in given)
        loss = discriminator_loss(
            self.discriminator, real, fake, sentences, self.losses, batch_size, options.r1_gamma, wrong
        )
        extra = self._extra(self.discriminator, batch.images[side], batch.captions, batch.wrong_captions, self._context)
        return sum(extra.values(), loss)


# GAN-INT-CLS Eq. 5 with beta = 1/2: sentence k of the batch's first half with sentence k of its second half
def _with_interpolated(batch: MicroBatch, sentences: Tensor, noise: Tensor, augmentation: Tensor | None) -> MicroBatch:
    """Return a micro-batch of the generator's update, to which means of two sentences are appended.

    sentences (B, E) of the whole batch; noise (B + B // 2, noise_dim) of its rows, then of the means, and so the random
    numbers of DiffAugment. The micro-batches of a batch together have the B // 2 means, so that the update is a mean
    over B + B // 2 images.
    """
    start, stop, half = batch.rows.start // 2, batch.rows.stop // 2, len(sentences) // 2
    means = (sentences[start:stop] + sentences[start + half : stop + half]) / 2
    sentence = torch.cat([batch.captions.sentence, means])
    more = slice(len(sentences) + start, len(sentences) + stop)
    return batch._replace(
        share=len(sentence) / len(noise),
        captions=batch.captions._replace(sentence=sentence),
        noise=torch.cat([noise[batch.rows], noise[more]]),
        augmentation=None if augmentation is None else torch.cat([batch.augmentation, augmentation[more]]),
    )


def recompute_in_backward(model: nn.Module) -> None:
    """Enable gradient checkpointing: recompute the model's stages in the backward pass."""
    for child in model.children():
        for stage in child if isinstance(child, nn.ModuleList) else [child]:
            # Stages draw no random numbers. The recomputation must not update batch norm's statistics again.
            settings = {"context_fn": partial(_pass_contexts, stage), "preserve_rng_state": False}
            stage.forward = partial(checkpoint, stage.forward, use_reentrant=False, **settings)


def _pass_contexts(stage: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Return the contexts of a stage's first forward pass and of its recomputation."""
    return nullcontext(), unchanged_buffers(stage)


@contextmanager
def unchanged_buffers(network: nn.Module):
    """Restore the network's buffers at the end, so that a repeated pass does not update batch norm twice."""
    kept = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:  # torch stops a recomputation early by an exception
        for buffer, value in zip(network.buffers(), kept, strict=True):
            buffer.data.copy_(value)  # .data: autograd must not track the buffers


def _add(sums: dict[str, Tensor], losses: dict[str, Tensor]) -> None:
    """Add detached losses to `sums` by name."""
    for name, loss in losses.items():
        sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()


@contextmanager
def weights_frozen(discriminators: nn.ModuleList):
    """Compute no gradients of weights; spectral norm's u and v never have gradients."""
    trained = [p for name, p in discriminators.named_parameters() if not name.endswith(("weight_u", "weight_v"))]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
