"""Training of one model into a run folder."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dmgan.data.batches import Batch, BatchRules, TrainingBatches
from dmgan.data.dataset import PreparedDataset
from dmgan.data.prefetch import PrefetchedBatches
from dmgan.data.validation import cut_validation_split
from dmgan.errors import UserError
from dmgan.models.initialisation import initialise
from dmgan.models.loss_networks import read_loss_networks
from dmgan.models.registry import build_model, check_training, find
from dmgan.models.vgg import FeatureNetwork, feature_network
from dmgan.options import WRONG_IMAGES, ArchitectureOptions, LossOptions, TrainingOptions, TrainingSettings
from dmgan.runtime.device import set_deterministic, to_device
from dmgan.runtime.distributed import SINGLE_PROCESS, DistributedContext
from dmgan.runtime.progress import log
from dmgan.storage.weights import load_weights
from dmgan.text.caption_cache import CachedCaptions
from dmgan.text.damsm import Damsm, EncodedCaptions
from dmgan.training.augmentation import augmentation_numbers
from dmgan.training.captured_steps import CapturedSteps
from dmgan.training.engine import EngineRecord, describe_engine, resolve_graphs
from dmgan.training.loop import describe_batch
from dmgan.training.mlflow_run import generator_place
from dmgan.training.model_card import write_model_card
from dmgan.training.run_folder import WEIGHTS, RunDescription, RunFolder
from dmgan.training.sample_grids import SampleGrids
from dmgan.training.snapshots import Snapshots, Validator
from dmgan.training.step_noise import step_noise
from dmgan.training.trainer import FurtherInputs, StepInputs, Trainer


@dataclass(frozen=True)
class TrainingInputs:
    """Input folders and files of a training run."""

    data: Path  # prepared data set
    damsm: Path  # folder of the pretrained encoders
    vgg16_weights: Path | None = None  # torchvision's state dict, for models that use VGG-16
    captioner: Path | None = None  # folder that train_captioner wrote, for models that need a captioner
    validator: Validator | None = None  # of the main process, with evaluate_every: measures snapshots of the weights


def batch_rules(losses: LossOptions, options: TrainingOptions) -> BatchRules:
    """Return what the training batches of a model hold."""
    wrong_images = losses.mismatched_pairs if losses.mismatched_pairs in WRONG_IMAGES else None
    return BatchRules(options.captions_per_image, options.sort_by_length, wrong_images, losses.wrong_captions)


def further_inputs(
    batch: Batch,
    encode: Callable[[Tensor, Tensor], EncodedCaptions],
    losses: LossOptions,
    noise: Callable[[int, str], Tensor],
) -> FurtherInputs:
    """Return the inputs of a step that only some losses read; noise(rows, purpose): returns noise of the step."""
    wrong = None if batch.wrong_captions is None else encode(*batch.wrong_captions)
    rows = len(batch.tokens)
    more_noise = noise(rows + rows // 2, "generator noise") if losses.interpolation else None
    return FurtherInputs(batch.wrong_images, wrong, more_noise)


def encode_batch(batch: Batch, encode: Callable[[Tensor, Tensor], EncodedCaptions]) -> EncodedCaptions:
    """Return the features of a batch's captions; of several captions per image the mean sentence feature."""
    captions = encode(batch.tokens, batch.lengths)
    if not batch.further_captions:
        return captions
    sentences = [captions.sentence, *(encode(*each).sentence for each in batch.further_captions)]
    return captions._replace(sentence=torch.stack(sentences).mean(dim=0))


def train(
    name: str,
    inputs: TrainingInputs,
    out: Path,
    settings: TrainingSettings,
    seed: int,
    device: torch.device,
    mlflow: str | None = None,
    distributed: DistributedContext = SINGLE_PROCESS,
) -> None:
    """Train the model called `name`; write generator.safetensors, history.csv and options.json into `out`.

    With evaluate_every, also write snapshots/ and validation.csv, measured on training images that are held out.
    An interrupted run in `out` resumes from its checkpoint, bit-exactly on the CPU. Several processes share each batch.
    UserError if options, data and machine are incompatible.
    """
    settings = replace(settings, engine=resolve_graphs(settings.engine, device, distributed))
    entry, options, engine = find(name), settings.training, settings.engine
    check_training(name, options)
    if distributed.world_size > 1 and entry.stagewise:
        raise UserError(f"{name}: trains its stages one after another, which needs a single process; use one GPU")
    _refuse_unread(name, entry.needs, inputs)
    if distributed.is_main and (inputs.validator is not None) != bool(options.evaluate_every):
        raise ValueError("a validator is needed with evaluate_every, and only then")
    current_engine = describe_engine(engine, options, device, distributed)
    set_deterministic(device, engine.deterministic)
    dataset = whole = PreparedDataset(inputs.data)
    if options.evaluate_every:
        dataset = cut_validation_split(whole, options.held_out(len(whole.indices("train")))).training
    damsm = Damsm.read_for(dataset, inputs.damsm).to(device)
    vgg16_weights = None if entry.retrieves else inputs.vgg16_weights
    networks, sha256 = read_loss_networks(entry.needs, damsm, options, vgg16_weights, inputs.captioner, device)
    torch.manual_seed(seed)
    model = build_model(name, settings.architecture, damsm.options.embedding_dim)
    initialise(model, model.initial_weights)
    if entry.retrieves:  # not later: creating the layers draws random numbers
        features = _feature_network(name, settings.architecture, dataset, inputs.vgg16_weights)
        networks = networks._replace(features=features)
        sha256["features"] = {"name": features.name, "sha256": features.sha256}
    trainer = Trainer(model, damsm.image_encoder, settings, entry.losses, device, distributed, networks)

    mine = distributed.rows(options.batch_size)
    rules = batch_rules(entry.losses, options)
    reading = TrainingBatches(dataset, model.image_sizes, options.batch_size, options.max_words, seed, mine, rules)
    batches = PrefetchedBatches(reading, device)
    steps = options.epochs * batches.steps_per_epoch
    record = EngineRecord(current_engine, distributed)

    written = {
        "model": name,
        "architecture": asdict(settings.architecture),
        "training": asdict(options),
        "gammas": asdict(settings.matching),
        "losses": asdict(entry.losses),
        "seed": seed,
        "inputs": {"data": dataset.sha256, "damsm": damsm.sha256, **sha256},
    }
    parameters = {**written["architecture"], **written["gammas"], **written["losses"], **asdict(engine)}
    parameters["processes"] = distributed.world_size
    run = RunDescription(
        name, "train", f"{dataset.name_of_set} {name} seed{seed}", dataset, seed, written, "training", entry.stagewise,
        parameters, generator_place(name, {}),
    )  # fmt: skip
    with RunFolder(out, run, mlflow, distributed, device) as folder, batches:
        encode = damsm.encode
        if engine.cache_captions:
            # Of all training images: runs with and without held-out images share the folder.
            encode = CachedCaptions(damsm, whole, inputs.damsm, options.max_words, distributed).encode

        def encoded(tokens: Tensor, lengths: Tensor) -> EncodedCaptions:
            captions = encode(tokens, lengths)
            equal_shapes = engine.compile or engine.cuda_graphs  # for all batches
            return captions.padded_to(options.max_words) if equal_shapes else captions

        def inputs_of(step: int) -> StepInputs:
            def noise(rows: int, purpose: str) -> Tensor:
                return to_device(step_noise(seed, step, rows, model.noise_dim, purpose), device)

            batch = batches[step]
            class_ids, own_noise = to_device(batch.class_ids, device), noise(options.batch_size, "training noise")
            further = further_inputs(batch, encoded, entry.losses, noise)
            if options.diff_augment != "none":
                interpolated = options.batch_size // 2 if entry.losses.interpolation else 0
                numbers = augmentation_numbers(seed, step, options.batch_size + interpolated, len(model.image_sizes))
                further = further._replace(augmentation=to_device(numbers, device))
            return StepInputs(batch.images, encode_batch(batch, encoded), class_ids, own_noise, further)

        run_step = captured_steps(trainer, inputs_of, steps, record) if engine.cuda_graphs else None
        snapshots = Snapshots(folder, trainer, inputs.validator, steps) if options.evaluate_every else None

        grids = None
        if folder.mlflow_run.active:
            shown = TrainingBatches(dataset, model.image_sizes, options.batch_size, options.max_words, seed)[0]
            grids = SampleGrids(folder.mlflow_run, trainer, damsm, shown, steps)

        def step_function(step: int) -> dict[str, Tensor]:
            record.begin_step(step)
            model.begin_step(step, steps)
            if grids is not None:
                grids.before_step(step)
            if options.lr_halving_epochs:
                epoch = model.step_of_stage(step, steps) // batches.steps_per_epoch
                trainer.scale_learning_rates(0.5 ** (epoch // options.lr_halving_epochs))
            losses = run_step(step) if engine.cuda_graphs else trainer.step(*inputs_of(step))
            if snapshots is not None:
                snapshots.after_step(step + 1)
            if grids is not None:
                grids.after_step(step + 1)
            return losses

        def describe(step: int) -> dict[str, object]:
            return {**describe_batch(reading, seed, step), "engine": current_engine}

        if distributed.is_main:
            log(
                f"batches of {options.batch_size} in {distributed.world_size} processes of {engine.accumulate} "
                f"micro-batches each, learning rates {options.generator_lr:g} and {options.discriminator_lr:g}, "
                f"{engine.precision}"
            )
            if snapshots is not None:
                log(snapshots.cost(len(whole.indices("train"))))
        stateful = {**trainer.stateful(), "engine_segments": record}
        if snapshots is not None:
            stateful["validation"] = snapshots
        folder.train(step_function, stateful, steps, describe)
        if not distributed.is_main:
            return
        further = {**_relative_folders(inputs, out), "engine": record.segments}
        if snapshots is not None:
            further["validation"] = {**snapshots.finish(), "of_training_images": len(whole.indices("train"))}
        further["selection"] = _select_weights(trainer, snapshots, steps)
        folder.finish({WEIGHTS: model}, {**further, "config_sha256": folder.fingerprints.run})
        write_model_card(folder.folder)
        if grids is not None:
            grids.finish()
        folder.close()


def _select_weights(trainer: Trainer, snapshots: Snapshots | None, steps: int) -> dict[str, object]:
    """Load the weights that the option `select` chooses into the model; return rule and step for options.json."""
    rule = trainer.options.select
    if rule == "last":
        trainer.average.copy_to(trainer.model)
        return {"rule": rule, "step": steps}
    best = snapshots.best()
    path = snapshots.path(best["step"])
    load_weights(trainer.model, path, "restore it, or delete checkpoint.pt to train again")
    log(f"{path}: lowest {best['metric']} on validation images, {best['value']:.4g}, of {best['snapshots']} snapshots")
    return {"rule": rule, **best}


def captured_steps(
    trainer: Trainer, inputs_of: Callable[[int], StepInputs], steps: int, record: EngineRecord
) -> CapturedSteps:
    """Return the training steps as a CUDA graph; `record` notes the reason if a step cannot be captured."""

    def failed(reason: str) -> None:
        trainer.scaler.forget_steps()
        record.without_graphs(reason)

    return CapturedSteps(
        lambda inputs: trainer.step(*inputs),
        lambda step: inputs_of(step).on_device(),
        steps,
        trainer.device,
        version=lambda: (trainer.model.trained_images, trainer.rates()),
        failed=failed,
    )


def _refuse_unread(name: str, needs: frozenset[str], inputs: TrainingInputs) -> None:
    """Raise UserError if weights of a frozen network are given that the model does not use."""
    if inputs.vgg16_weights is not None and not needs & {"perceptual", "features"}:
        raise UserError(f"--vgg16-weights {inputs.vgg16_weights}: {name} does not use VGG-16; leave the option out")
    if inputs.captioner is not None and "captioner" not in needs:
        raise UserError(f"--captioner {inputs.captioner}: {name} does not use a captioner; leave the option out")


def _feature_network(
    name: str, architecture: ArchitectureOptions, dataset: PreparedDataset, vgg16_weights: Path | None
) -> FeatureNetwork:
    """Return the feature network of a retrieving model; UserError if the data set has another image size."""
    if architecture.image_size != dataset.image_size:
        raise UserError(
            f"{dataset.folder}: holds images of {dataset.image_size} px, but {name} is trained with images of "
            f"{architecture.image_size} px and retrieves features of the same size; prepare the data set for that "
            "size, or change base_size or stages"
        )
    return feature_network(architecture.feature_network, vgg16_weights)


def _relative_folders(inputs: TrainingInputs, out: Path) -> dict[str, str]:
    """Return the paths of the inputs relative to the run folder, for options.json."""
    found = {"damsm_folder": inputs.damsm, "data_folder": inputs.data, "vgg16_weights": inputs.vgg16_weights}
    return {name: os.path.relpath(path, out) for name, path in found.items() if path is not None}
