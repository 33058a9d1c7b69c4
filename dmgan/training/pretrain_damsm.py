"""DAMSM pretraining (AttnGAN, section 3.2)."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from dmgan.data.batches import TrainingBatches
from dmgan.data.dataset import PreparedDataset
from dmgan.data.prefetch import PrefetchedBatches
from dmgan.data.validation import cut_validation_split
from dmgan.errors import UserError
from dmgan.options import DamsmOptions, DamsmSettings, MatchingOptions
from dmgan.runtime.device import disable_tf32, set_deterministic, to_device
from dmgan.storage import files
from dmgan.storage.weights import read_state_dict
from dmgan.text.damsm import IMAGE_ENCODER, TEXT_ENCODER, VOCABULARY, Damsm, EncodedCaptions
from dmgan.text.efficientnet_lite import load_imagenet_weights
from dmgan.text.encoders import ImageEncoder, TextEncoder, build_image_encoder, padding_mask
from dmgan.text.trunk_maps import BatchesOfMaps, TrunkMaps
from dmgan.training.captured_steps import CapturedSteps
from dmgan.training.damsm_loss import MatchingLosses, matching_losses
from dmgan.training.engine import EngineRecord, resolve_graphs
from dmgan.training.loop import describe_batch
from dmgan.training.optimizers import Adam
from dmgan.training.run_folder import RunDescription, RunFolder


class Pretrainer:
    """Both encoders, their optimiser, and the training step, as in the released code.

    The loss is the unweighted sum of the four cross entropies, in which pairs with other images of the same class are
    masked. Only the text encoder's gradient is clipped. An Inception trunk is frozen, but its batch norms use batch
    statistics; an EfficientNet-lite0 trunk is frozen in evaluation mode.
    """

    def __init__(
        self,
        text_encoder: TextEncoder,
        image_encoder: ImageEncoder,
        options: DamsmOptions,
        gammas: MatchingOptions,
        device: torch.device,
        capturable: bool = False,
    ):
        """Set up the networks; capturable: the step will run as a CUDA graph, with padded captions.

        With options.trunk_crops, the steps read the trunk's feature maps (B, C, h, w) in place of images.
        """
        self.options, self.gammas, self.device = options, gammas, device
        disable_tf32()
        self.text_encoder = text_encoder.to(device).train()
        self.image_encoder = image_encoder.to(device).train()
        groups = [{"params": image_encoder.trained_parameters()}, {"params": list(text_encoder.parameters())}]
        adam = {"capturable": capturable, "rates_on_device": capturable}
        self.adam = Adam(groups, options.lr, betas=(0.5, 0.999), **adam)

    def stateful(self) -> dict[str, object]:
        """Return the objects whose state a step changes, by name."""
        return {"text_encoder": self.text_encoder, "image_encoder": self.image_encoder, "adam": self.adam}

    def schedule(self, epoch: int, position: int) -> None:
        """Set the epoch's learning rates; at position 0 of an epoch, clear Adam's moments if new_adam_each_epoch."""
        if position == 0 and self.options.new_adam_each_epoch:
            self.adam.clear_moments()
        rate = max(self.options.lr * self.options.lr_decay**epoch, self.options.min_lr)
        for group, factor in enumerate((1.0, self.options.text_lr_factor)):
            self.adam.set_rate(factor * rate, group)

    def encode(self, tokens: Tensor, lengths: Tensor) -> EncodedCaptions:
        """Return features of captions, tokens (B, T) and lengths (B,), both on the CPU."""
        words, sentence = self.text_encoder(to_device(tokens, self.device), lengths)
        return EncodedCaptions(sentence, words, to_device(padding_mask(lengths), self.device), lengths)

    def step(self, images: Tensor, tokens: Tensor, lengths: Tensor, class_ids: Tensor) -> dict[str, Tensor]:
        """Update both encoders once; return the losses by name.

        images (B, 3, s, s); tokens (B, T) and lengths (B,), both on the CPU; class_ids (B,).
        """
        return self._update(images, self.encode(tokens, lengths), to_device(class_ids, self.device))

    def padded_step(self, images: Tensor, tokens: Tensor, mask: Tensor, class_ids: Tensor) -> dict[str, Tensor]:
        """Update both encoders as `step` does, for tokens (B, T) and their mask (B, T), all on the device."""
        words, sentence = self.text_encoder.padded(tokens, mask)
        return self._update(images, EncodedCaptions(sentence, words, mask), class_ids)

    def losses(self, images: Tensor, captions: EncodedCaptions, class_ids: Tensor) -> MatchingLosses:
        """Return the four cross entropies of images (B, 3, s, s) and their captions."""
        encode = self.image_encoder.of_maps if self.options.trunk_crops else self.image_encoder
        regions, embedding = encode(images)
        return matching_losses(regions, embedding, captions, class_ids, self.gammas)

    def _update(self, images: Tensor, captions: EncodedCaptions, class_ids: Tensor) -> dict[str, Tensor]:
        losses = self.losses(images, captions, class_ids)
        self.adam.zero_grad(set_to_none=True)
        sum(losses).backward()
        nn.utils.clip_grad_norm_(self.text_encoder.parameters(), self.options.gradient_clip)
        self.adam.step()
        return losses._asdict()


def pretrain(
    data: Path,
    out: Path,
    settings: DamsmSettings,
    seed: int,
    device: torch.device,
    mlflow: str | None = None,
    inception_weights: Path | None = None,
    measure: Callable[[Damsm, PreparedDataset, int, torch.device], dict[str, object] | None] | None = None,
) -> None:
    """Train both encoders to match images with their captions.

    Writes the encoders, their vocabulary, history.csv and options.json into `out`. measure: called at the end with the
    encoders, the data set and the number of held-out training images; options.json keeps what it returns.
    """
    options, gammas, engine = settings.options, settings.matching, resolve_graphs(settings.engine, device)
    set_deterministic(device, engine.deterministic)
    dataset = PreparedDataset(data)
    inputs = {"data": dataset.sha256}
    torch.manual_seed(seed)
    text_encoder = TextEncoder(len(dataset.vocabulary), options.embedding_dim, options.dropout)
    image_encoder = build_image_encoder(options.image_encoder, options.embedding_dim, options.width, options.trunk_size)
    if options.image_encoder == "inception":
        _load_inception(image_encoder, inception_weights)
    elif options.image_encoder == "efficientnet-lite0":
        inputs["efficientnet-lite0"] = load_imagenet_weights(image_encoder.features)
    pretrainer = Pretrainer(text_encoder, image_encoder, options, gammas, device, capturable=engine.cuda_graphs)
    held_out = options.held_out(len(dataset.indices("train")))
    shown = cut_validation_split(dataset, held_out).training if held_out else dataset
    reading = TrainingBatches(shown, [options.image_size], options.batch_size, options.max_words, seed)
    batches = PrefetchedBatches(reading, device)
    inputs_by_step = batches
    if options.trunk_crops:  # of all training images: encoders with and without held-out images share the maps
        maps = TrunkMaps(image_encoder, dataset, options, settings.trunk_cache, device)
        inputs_by_step = BatchesOfMaps(batches, maps)
    total_steps = options.epochs * batches.steps_per_epoch
    record = EngineRecord({"device": device.type, **asdict(engine)})
    run_step = captured_steps(pretrainer, inputs_by_step, total_steps, record) if engine.cuda_graphs else None

    def step_function(step: int) -> dict[str, Tensor]:
        record.begin_step(step)
        pretrainer.schedule(*divmod(step, batches.steps_per_epoch))
        torch.manual_seed((seed << 32) + step)  # dropout depends only on seed and step
        if run_step is not None:
            return run_step(step)
        batch = inputs_by_step[step]
        return pretrainer.step(batch.images[0], batch.tokens, batch.lengths, batch.class_ids)

    if inception_weights is not None:
        inputs["inception"] = files.file_sha256(inception_weights)
    written = {"options": asdict(options), "gammas": asdict(gammas), "seed": seed, "inputs": inputs}
    title = f"{dataset.name_of_set} damsm seed{seed}"
    run = RunDescription("damsm", "pretrain", title, dataset, seed, written, parameters=asdict(gammas))
    with RunFolder(out, run, mlflow, device=device) as folder, batches:
        stateful = {**pretrainer.stateful(), "engine_segments": record}
        folder.train(step_function, stateful, total_steps, partial(describe_batch, reading, seed))
        dataset.vocabulary.write(folder.folder / VOCABULARY)
        further, scores = {"engine": record.segments}, {}
        if measure is not None:
            sha256 = {VOCABULARY: files.file_sha256(folder.folder / VOCABULARY)}
            damsm = Damsm(text_encoder.eval(), image_encoder.eval(), dataset.vocabulary, options, sha256)
            further["r_precision"] = found = measure(damsm, dataset, held_out, device)
            scores = {} if found is None else {"r_precision": found["value"]}
        folder.finish({TEXT_ENCODER: text_encoder, IMAGE_ENCODER: image_encoder}, further, scores)
        folder.close()


def captured_steps(
    pretrainer: Pretrainer, batches: PrefetchedBatches | BatchesOfMaps, steps: int, record: EngineRecord
) -> CapturedSteps:
    """Return the steps of pretraining as a CUDA graph; `record` notes the reason if a step cannot be captured."""
    max_words = pretrainer.options.max_words

    def inputs_of(step: int) -> list[Tensor]:
        batch = batches[step]
        mask = torch.arange(max_words)[None] >= batch.lengths[:, None]
        tokens = nn.functional.pad(batch.tokens, (0, max_words - batch.tokens.shape[1]))
        return [batch.images[0], *(to_device(each, pretrainer.device) for each in (tokens, mask, batch.class_ids))]

    def step_of(inputs: list[Tensor]) -> dict[str, Tensor]:
        return pretrainer.padded_step(*inputs)

    return CapturedSteps(step_of, inputs_of, steps, pretrainer.device, failed=record.without_graphs)


def _load_inception(encoder: ImageEncoder, path: Path | None) -> None:
    """Load ImageNet weights (torchvision's inception_v3 state dict) into the trunk."""
    if path is None:
        raise UserError(
            "image_encoder inception: needs ImageNet weights; give --inception-weights inception_v3_google-*.pth "
            "(torchvision's file), or use --image-encoder efficientnet-lite0 (photographs) or small"
        )
    state = read_state_dict(path, "fetch torchvision's inception_v3 again")
    wanted = encoder.state_dict()
    trunk = {key: value for key, value in state.items() if key in wanted}
    missing = [key for key in wanted if key not in trunk and not key.startswith(("emb_",))]
    if missing:
        raise UserError(f"{path}: is not an inception_v3 state dict (no {missing[0]}); fetch torchvision's file")
    encoder.load_state_dict(trunk, strict=False)
