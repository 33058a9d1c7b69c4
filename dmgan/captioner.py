"""The captioner of MirrorGAN's STREAM: an image encoder and an LSTM, pretrained on real images."""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan import files
from dmgan.captions import Vocabulary
from dmgan.checkpoints import Checkpoint, exclusive, run_steps
from dmgan.damsm import load_inception
from dmgan.data.batches import TrainingBatches
from dmgan.data.dataset import PreparedDataset
from dmgan.encoders import build_image_encoder
from dmgan.options import CaptionerOptions, from_dict
from dmgan.provenance import provenance
from dmgan.tracking import LabBook
from dmgan.weights import load_weights, save_weights

ROW_EVERY = 20  # steps per row of history.csv
WEIGHTS, VOCABULARY = "captioner.safetensors", "vocabulary.json"


class Captioner(nn.Module):
    """Images -> how likely captions are, word by word."""

    def __init__(self, vocabulary_size: int, options: CaptionerOptions):
        super().__init__()
        dim = options.embedding_dim
        self.image_encoder = build_image_encoder(options.image_encoder, dim, options.width)
        self.image_encoder.emb_features.requires_grad_(False)  # the regions are not read
        self.embedding = nn.Embedding(vocabulary_size, dim)
        self.lstm = nn.LSTM(dim, options.hidden_dim, batch_first=True)
        self.logits = nn.Linear(options.hidden_dim, vocabulary_size)

    # MirrorGAN, section 3.3: x_{-1} = CNN(I), x_t = W_e T_t, p_{t+1} = RNN(x_t)
    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) of every word, each from the image (B, 3, s, s) and the words (B, T) before it."""
        _, code = self.image_encoder(images)
        x = torch.cat([code[:, None, :], self.embedding(tokens[:, :-1])], dim=1)
        hidden, _ = self.lstm(x)
        return self.logits(hidden)

    # MirrorGAN, section 3.4: L_stream = -sum_t log p_t(T_t), here the mean over all words of the batch
    def cross_entropy(self, images: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Mean over the words (B, T) that are no padding; mask (B, T) true at padding."""
        logits = self(images, tokens)
        return F.cross_entropy(logits.transpose(1, 2), tokens.masked_fill(mask, -1), ignore_index=-1)


class TrainedCaptioner(NamedTuple):
    """A frozen captioner."""

    network: Captioner
    options: CaptionerOptions
    vocabulary: Vocabulary
    sha256: str  # of its weights

    @classmethod
    def read(cls, folder: Path, device: torch.device) -> "TrainedCaptioner":
        """Read the folder that `train_captioner` wrote."""
        folder = Path(folder)
        mend = f"train it: python -m dmgan captioner --data FOLDER --out {folder}"
        written = files.read_json(folder / "options.json", mend)
        options = from_dict(CaptionerOptions, written["options"], str(folder / "options.json"))
        vocabulary = Vocabulary.read(folder / VOCABULARY)
        network = Captioner(len(vocabulary), options)
        load_weights(network, folder / WEIGHTS, mend)
        network.to(device).eval().requires_grad_(False)
        network.lstm.train()  # it has no dropout; on CUDA an LSTM passes gradients on in this mode alone
        return cls(network, options, vocabulary, files.file_sha256(folder / WEIGHTS))


def train_captioner(
    data: Path,
    out: Path,
    options: CaptionerOptions,
    seed: int,
    device: torch.device,
    mlflow: str | None = None,
    inception_weights: Path | None = None,
) -> None:
    """Train the captioner on real images; writes its weights, vocabulary, history.csv and options.json into `out`."""
    dataset = PreparedDataset(data)
    torch.manual_seed(seed)
    network = Captioner(len(dataset.vocabulary), options)
    if options.image_encoder == "inception":
        load_inception(network.image_encoder, inception_weights)
    network.to(device).train()
    adam = torch.optim.Adam([each for each in network.parameters() if each.requires_grad], lr=options.lr)
    batches = TrainingBatches(dataset, [options.image_size], options.batch_size, options.max_words, seed)

    def step_function(step: int) -> dict[str, Tensor]:
        batch = batches[step]
        tokens = batch.tokens[:, : int(batch.lengths.max())].to(device)
        mask = torch.arange(tokens.shape[1], device=device)[None, :] >= batch.lengths.to(device)[:, None]
        loss = network.cross_entropy(batch.images[0].to(device), tokens, mask)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        return {"cross_entropy": loss}

    inputs = {"data": dataset.sha256}
    if inception_weights is not None:
        inputs["inception"] = files.file_sha256(inception_weights)
    written = {"options": asdict(options), "seed": seed, "inputs": inputs}
    fingerprint = files.json_sha256(written)
    with exclusive(out):
        tags = {"stage": "captioner", "dataset": dataset.description["source"]["name"], "model": "captioner"}
        tags |= {"seed": str(seed), "config": fingerprint[:12], "commit": provenance()["commit"]}
        lab_book = LabBook(mlflow, out, "captioner", tags, asdict(options))
        history = run_steps(
            step_function,
            {"network": network, "adam": adam},
            options.epochs * batches.steps_per_epoch,
            ROW_EVERY,
            Checkpoint(out, "captioner", fingerprint),
            options.checkpoint_every,
            lab_book,
        )
        save_weights(network, out / WEIGHTS)
        dataset.vocabulary.write(out / VOCABULARY)
        files.write_csv(out / "history.csv", history)
        files.write_json(out / "options.json", {**written, "provenance": provenance()})
        lab_book.file(out / "options.json")
        lab_book.close()
