"""One training loop for every model."""

import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dmgan.companions import read_companions
from dmgan.data.batches import Batch, TrainingBatches, to_uint8
from dmgan.data.dataset import PreparedDataset
from dmgan.data.prefetch import PrefetchedBatches
from dmgan.errors import UserError
from dmgan.features import give_features
from dmgan.models.interface import TextToImageGAN, initialise
from dmgan.models.registry import build_model, check_training, find
from dmgan.options import (
    PLAIN_ENGINE,
    ArchitectureOptions,
    EngineOptions,
    MatchingOptions,
    TrainingOptions,
)
from dmgan.runtime.device import set_deterministic, to_device
from dmgan.runtime.distributed import SINGLE_PROCESS, DistributedContext
from dmgan.runtime.progress import log
from dmgan.runtime.provenance import provenance
from dmgan.runtime.randomness import generator as random_generator
from dmgan.storage import files
from dmgan.storage.png import contact_sheet
from dmgan.storage.weights import save_weights
from dmgan.text.caption_cache import CachedCaptions
from dmgan.text.damsm import Damsm, EncodedCaptions
from dmgan.training.checkpoints import Checkpoint, Fingerprints, exclusive
from dmgan.training.engine import EngineRecord, describe_engine
from dmgan.training.loop import describe_batch, run_steps
from dmgan.training.mlflow_run import LabBook
from dmgan.training.trainer import Trainer

ROW_EVERY = 20  # steps per row of history.csv


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
    engine: EngineOptions = PLAIN_ENGINE,
    distributed: DistributedContext = SINGLE_PROCESS,
    vgg16_weights: Path | None = None,
    captioner: Path | None = None,
) -> None:
    """Train the model called `name`; writes generator.safetensors, history.csv and options.json into `out`.

    An interrupted run in `out` goes on from its checkpoint, to the bit on the CPU. Several ranks share each batch.
    vgg16_weights (torchvision's state dict) and captioner (a folder that `train_captioner` wrote) are for models whose
    losses read these networks.
    """
    check_training(name, options)
    current = describe_engine(engine, options, device, distributed)
    set_deterministic(device, engine.deterministic)
    dataset = PreparedDataset(data)
    damsm = Damsm.read_for(dataset, damsm_folder).to(device)
    torch.manual_seed(seed)
    model = build_model(name, architecture, damsm.options.embedding_dim)
    stagewise = type(model).begin_step is not TextToImageGAN.begin_step
    if distributed.world_size > 1 and stagewise:
        raise UserError(f"{name}: trains its stages one by one, which several processes cannot share; give it one GPU")
    initialise(model, model.weight_std)
    give_features(model, None if "perceptual" in model.needs else vgg16_weights)
    if model.features is not None and model.image_sizes[-1] != dataset.image_size:
        raise UserError(
            f"{dataset.folder}: holds images of {dataset.image_size} px, of which {name} retrieves features, and "
            f"images of {model.image_sizes[-1]} px are to be trained; prepare it for that size, or change "
            "base_size or stages"
        )
    mine = distributed.rows(options.batch_size)
    reading = TrainingBatches(dataset, model.image_sizes, options.batch_size, options.max_words, seed, mine)
    batches = PrefetchedBatches(reading, device)

    switches = find(name).losses
    trainer = Trainer(model, damsm.image_encoder, options, gammas, switches, device, engine, distributed)
    model.companions, read = read_companions(
        model, damsm, trainer.discriminators, options, vgg16_weights, captioner, device
    )
    steps = options.epochs * batches.steps_per_epoch
    record = EngineRecord(current, distributed)

    parts = {"architecture": asdict(architecture), "training": asdict(options)}
    parts |= {"gammas": asdict(gammas), "losses": asdict(switches)}
    inputs = {"data": dataset.sha256, "damsm": damsm.sha256, **read}
    if model.features is not None:
        inputs["features"] = {"name": model.features.name, "sha256": model.features.sha256}
    written = {"model": name, **parts, "seed": seed, "inputs": inputs}
    fingerprints = Fingerprints.of(written, "training", steps_depend_on_epochs=stagewise)
    with exclusive(out, distributed), batches:
        encode = damsm.encode
        if engine.cache_captions:
            encode = CachedCaptions(damsm, dataset, damsm_folder, options.max_words, distributed).encode

        def step_function(step: int) -> dict[str, Tensor]:
            record.begin_step(step)
            model.begin_step(step, steps)
            batch = batches[step]
            captions = encode(batch.tokens, batch.lengths)
            if engine.compile:  # one length, so that one compilation serves all batches
                captions = pad_words(captions, options.max_words)
            noise = step_noise(seed, step, options.batch_size, model.noise_dim)
            class_ids, noise = to_device(batch.class_ids, device), to_device(noise, device)
            return trainer.step(batch.images, captions, class_ids, noise)

        def describe(step: int) -> dict[str, object]:
            return {**describe_batch(reading, seed, step), "engine": current}

        origin = provenance()
        tags = {"stage": "train", "dataset": dataset.description["source"]["name"], "model": name, "seed": str(seed)}
        tags |= {"config": fingerprints.run[:12], "commit": origin["commit"]}
        parameters = {key: value for part in [*parts.values(), asdict(engine)] for key, value in part.items()}
        parameters["processes"] = distributed.world_size
        lab_book = LabBook(mlflow if distributed.is_main else None, out, f"{name} seed{seed} train", tags, parameters)
        if distributed.is_main:
            log(
                f"batches of {options.batch_size} in {distributed.world_size} processes of {engine.accumulate} parts "
                f"each, learning rates {options.generator_lr:g} and {options.discriminator_lr:g}, {engine.precision}"
            )
        history = run_steps(
            step_function,
            {**trainer.stateful(), "engine": record},
            steps,
            ROW_EVERY,
            Checkpoint(out, name, fingerprints.steps),
            options.checkpoint_every,
            lab_book,
            describe,
            distributed,
        )
        if not distributed.is_main:
            return
        trainer.average.copy_to(model)
        save_weights(model, out / "generator.safetensors")
        files.write_csv(out / "history.csv", history)
        folders = {"damsm_folder": os.path.relpath(damsm_folder, out), "data_folder": os.path.relpath(data, out)}
        if vgg16_weights is not None:
            folders["vgg16_weights"] = os.path.relpath(vgg16_weights, out)
        files.write_json(
            out / "options.json",
            {
                **written,
                **folders,
                "engine": record.stretches,
                "config_sha256": fingerprints.run,
                "provenance": origin,
            },
        )
        lab_book.file(out / "options.json")
        if lab_book.kept:
            whole = TrainingBatches(dataset, model.image_sizes, options.batch_size, options.max_words, seed)
            lab_book.picture(_samples(model, damsm, whole[0], device), "samples.png")
        lab_book.close()


def pad_words(captions: EncodedCaptions, length: int) -> EncodedCaptions:
    """The same captions with words (B, E, length) and mask (B, length): more padding, which the mask hides."""
    more = length - captions.words.shape[2]
    words, mask = F.pad(captions.words, (0, more)), F.pad(captions.mask, (0, more), value=True)
    return captions._replace(words=words, mask=mask, tokens=F.pad(captions.tokens, (0, more)))


@torch.no_grad()
def _samples(model: TextToImageGAN, damsm: Damsm, batch: Batch, device: torch.device) -> np.ndarray:
    """One picture of what the model makes of a whole batch's captions: a row per side, the real images below."""
    captions = damsm.encode(batch.tokens, batch.lengths)
    noise = step_noise(0, 0, len(batch.tokens), model.noise_dim).to(device)
    memory = model.paired_memory([each.to(device) for each in batch.images])
    generated = model.eval().generate(noise, captions.sentence, captions.words, captions.mask, memory).images
    return contact_sheet([list(to_uint8(images)) for images in [*generated, batch.images[-1]]])
