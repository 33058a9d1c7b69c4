"""Pretraining of the captioner for MirrorGAN's STREAM loss."""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from dmgan.data.batches import TrainingBatches
from dmgan.data.dataset import PreparedDataset
from dmgan.options import CaptionerOptions
from dmgan.runtime.device import disable_tf32, to_device
from dmgan.text.captioner import WEIGHTS, Captioner
from dmgan.text.damsm import Damsm
from dmgan.text.encoders import padding_mask
from dmgan.training.loop import describe_batch
from dmgan.training.optimizers import PlainAdam
from dmgan.training.run_folder import RunDescription, RunFolder


def train_captioner(
    data: Path,
    damsm_folder: Path,
    out: Path,
    options: CaptionerOptions,
    seed: int,
    device: torch.device,
    mlflow: str | None = None,
) -> None:
    """Train the captioner on real images; write its weights, history.csv and options.json into `out`."""
    disable_tf32()
    dataset = PreparedDataset(data)
    damsm = Damsm.read_for(dataset, damsm_folder).to(device)
    torch.manual_seed(seed)
    network = Captioner(len(damsm.vocabulary), damsm.options.embedding_dim, options).to(device).train()
    adam = PlainAdam(network.parameters(), lr=options.lr)
    batches = TrainingBatches(dataset, [damsm.options.image_size], options.batch_size, options.max_words, seed)

    def step_function(step: int) -> dict[str, Tensor]:
        batch = batches[step]
        with torch.no_grad():
            _, embedding = damsm.image_encoder(to_device(batch.images[0], device))
        mask = to_device(padding_mask(batch.lengths), device)
        loss = network.cross_entropy(embedding, to_device(batch.tokens, device)[:, : mask.shape[1]], mask)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        return {"cross_entropy": loss}

    inputs = {"data": dataset.sha256, "damsm": damsm.sha256}
    written = {"options": asdict(options), "seed": seed, "inputs": inputs}
    run = RunDescription("captioner", "captioner", "captioner", dataset, seed, written)
    with RunFolder(out, run, mlflow, device=device) as folder:
        stateful = {"network": network, "adam": adam}
        total_steps = options.epochs * batches.steps_per_epoch
        folder.train(step_function, stateful, total_steps, partial(describe_batch, batches, seed))
        folder.finish({WEIGHTS: network})
        folder.close()
