"""One training loop for every model."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dmgan import files
from dmgan.checkpoints import Checkpoint, exclusive, run_steps
from dmgan.contact_sheet import contact_sheet
from dmgan.damsm import Damsm, EncodedCaptions
from dmgan.data.batches import Batch, TrainingBatches, to_uint8
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.features import give_features
from dmgan.losses import MatchingLosses, adversarial_loss, discriminator_loss, kl_loss, matching_losses
from dmgan.models.interface import TextToImageGAN, initialise
from dmgan.models.registry import build_model, find
from dmgan.options import ArchitectureOptions, LossOptions, MatchingOptions, TrainingOptions
from dmgan.provenance import provenance
from dmgan.randomness import generator as random_generator
from dmgan.tracking import LabBook
from dmgan.weights import save_weights

ROW_EVERY = 20  # steps per row of history.csv
_ADAM = {"betas": (0.5, 0.999), "eps": 1e-8}


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
    ):
        self.options, self.gammas, self.switches = options, gammas, switches
        self.model = model.to(device).train()
        self.discriminators = model.discriminators()
        initialise(self.discriminators)
        self.discriminators.to(device).train()
        self.image_encoder = image_encoder
        self.generator_adam = torch.optim.Adam(self.model.parameters(), lr=options.generator_lr, **_ADAM)
        self.discriminator_adams = [
            torch.optim.Adam([p for p in each.parameters() if p.requires_grad], lr=options.discriminator_lr, **_ADAM)
            for each in self.discriminators
        ]
        self.average = WeightAverage(self.model, options.ema_decay)

    def stateful(self) -> dict[str, object]:
        """Everything a step changes, by name."""
        adams = {f"discriminator_adam{i}": adam for i, adam in enumerate(self.discriminator_adams)}
        return {
            "model": self.model,
            "discriminators": self.discriminators,
            "average": self.average,
            "generator_adam": self.generator_adam,
            **adams,
        }

    def step(
        self, images: Sequence[Tensor], captions: EncodedCaptions, class_ids: Tensor, noise: Tensor
    ) -> dict[str, Tensor]:
        """One update of every discriminator, then of the generator, then of the average (released order)."""
        memory = self.model.paired_memory(images)
        generated = self.model.generate(noise, captions.sentence, captions.words, captions.mask, memory)
        losses = {}

        # Move the discriminators.
        triples = zip(self.discriminators, self.discriminator_adams, images, generated.images, strict=True)
        for i, (discriminator, adam, real, fake) in enumerate(triples):
            loss = discriminator_loss(
                discriminator, real, fake, captions.sentence, self.switches, self.options.r1_gamma
            )
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            losses[f"discriminator{i}"] = loss

        # Move the generator against the moved discriminators, whose weights need no gradient now.
        _require_gradients(self.discriminators, False)
        pairs = zip(self.discriminators, generated.images, strict=True)
        adversarial = sum(adversarial_loss(each, fake, captions.sentence, self.switches) for each, fake in pairs)
        total, losses["adversarial"] = adversarial, adversarial
        if self.switches.matching:
            matching = self._matching(generated.images[-1], captions, class_ids)
            total = total + self.options.damsm_weight * sum(matching)
            losses |= matching._asdict()
        if generated.mean is not None:
            losses["kl"] = kl_loss(generated.mean, generated.logvar, self.switches)
            total = total + self.options.kl_weight * losses["kl"]
        further = self.model.further_losses(generated, images, captions)
        total = sum(further.values(), total)
        self.generator_adam.zero_grad(set_to_none=True)
        total.backward()
        self.generator_adam.step()
        _require_gradients(self.discriminators, True)

        self.average.update(self.model)
        return losses | further

    def _matching(self, images: Tensor, captions: EncodedCaptions, class_ids: Tensor) -> MatchingLosses:
        """The DAMSM's judgement of the last stage's images."""
        regions, code = self.image_encoder(images)
        return matching_losses(
            regions, code, captions.words, captions.sentence, captions.lengths, class_ids, self.gammas
        )


def _require_gradients(discriminators: nn.ModuleList, required: bool) -> None:
    """Switch the gradients of the trained weights; spectral norm's u and v never have one."""
    for name, parameter in discriminators.named_parameters():
        if not name.endswith(("weight_u", "weight_v")):
            parameter.requires_grad_(required)


class WeightAverage:
    """Exponential moving average of the parameters; batch-norm statistics stay the live ones (released code)."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.parameters = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """average = decay * average + (1 - decay) * parameter."""
        live = [parameter.detach() for parameter in model.parameters()]
        torch._foreach_lerp_(list(self.parameters.values()), live, 1 - self.decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Give the averaged parameters to `model`."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.parameters[name])

    def state_dict(self) -> dict[str, Tensor]:
        return self.parameters

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, tensor in self.parameters.items():
            tensor.copy_(state[name])


def step_noise(seed: int, step: int, batch_size: int, noise_dim: int) -> Tensor:
    """The noise (batch_size, noise_dim) of one step: a pure function of seed and step."""
    random = random_generator(seed, "training noise", step)
    return torch.from_numpy(random.standard_normal((batch_size, noise_dim), dtype=np.float32))


def train(
    name: str,
    data: Path,
    damsm_folder: Path,
    out: Path,
    architecture: ArchitectureOptions,
    options: TrainingOptions,
    gammas: MatchingOptions,
    seed: int,
    device: torch.device,
    mlflow: str | None = None,
    feature_weights: Path | None = None,
) -> None:
    """Train the model called `name`; writes generator.safetensors, history.csv and options.json into `out`.

    An interrupted run in `out` goes on from its checkpoint, to the bit on the CPU.
    """
    dataset = PreparedDataset(data)
    damsm = Damsm.read(damsm_folder).to(device)
    if damsm.vocabulary != dataset.vocabulary:
        raise UserError(f"{damsm_folder}: its vocabulary is not that of {data}; pretrain the encoders on this data set")
    torch.manual_seed(seed)
    model = build_model(name, architecture, damsm.options.embedding_dim)
    initialise(model)
    give_features(model, feature_weights)
    batches = TrainingBatches(dataset, model.image_sizes, options.batch_size, options.max_words, seed)

    switches = find(name).losses
    trainer = Trainer(model, damsm.image_encoder, options, gammas, switches, device)

    def step_function(step: int) -> dict[str, Tensor]:
        batch = batches[step]
        captions = damsm.encode(batch.tokens, batch.lengths)
        noise = step_noise(seed, step, len(batch.tokens), model.noise_dim)
        images = [each.to(device) for each in batch.images]
        return trainer.step(images, captions, batch.class_ids.to(device), noise.to(device))

    parts = {"architecture": asdict(architecture), "training": asdict(options)}
    parts |= {"gammas": asdict(gammas), "losses": asdict(switches)}
    inputs = {"data": dataset.sha256, "damsm": damsm.sha256}
    if model.features is not None:
        inputs["features"] = {"name": model.features.name, "sha256": model.features.sha256}
    written = {"model": name, **parts, "seed": seed, "inputs": inputs}
    fingerprint = files.json_sha256(written)
    with exclusive(out):
        origin = provenance()
        tags = {"stage": "train", "dataset": dataset.description["source"]["name"], "model": name, "seed": str(seed)}
        tags |= {"config": fingerprint[:12], "commit": origin["commit"]}
        parameters = {key: value for part in parts.values() for key, value in part.items()}
        lab_book = LabBook(mlflow, out, f"{name} seed{seed} train", tags, parameters)
        history = run_steps(
            step_function,
            trainer.stateful(),
            options.epochs * batches.steps_per_epoch,
            ROW_EVERY,
            Checkpoint(out, name, fingerprint),
            options.checkpoint_every,
            lab_book,
        )
        trainer.average.copy_to(model)
        save_weights(model, out / "generator.safetensors")
        files.write_csv(out / "history.csv", history)
        folders = {"damsm_folder": os.path.relpath(damsm_folder, out), "data_folder": os.path.relpath(data, out)}
        if feature_weights is not None:
            folders["feature_weights"] = os.path.relpath(feature_weights, out)
        files.write_json(
            out / "options.json", {**written, **folders, "config_sha256": fingerprint, "provenance": origin}
        )
        lab_book.file(out / "options.json")
        lab_book.picture(_samples(model, damsm, batches[0], device), "samples.png")
        lab_book.close()


@torch.no_grad()
def _samples(model: TextToImageGAN, damsm: Damsm, batch: Batch, device: torch.device) -> np.ndarray:
    """One picture of what the trained model makes of a batch's captions: a row per side, the real images below."""
    captions = damsm.encode(batch.tokens, batch.lengths)
    noise = step_noise(0, 0, len(batch.tokens), model.noise_dim).to(device)
    memory = model.paired_memory([each.to(device) for each in batch.images])
    generated = model.eval().generate(noise, captions.sentence, captions.words, captions.mask, memory).images
    return contact_sheet([list(to_uint8(images)) for images in [*generated, batch.images[-1]]])
