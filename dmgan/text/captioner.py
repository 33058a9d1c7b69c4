"""The captioner of MirrorGAN's STREAM loss: an LSTM on the DAMSM's image embeddings, pretrained on real images."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.errors import UserError
from dmgan.options import CaptionerOptions, from_dict
from dmgan.storage import files
from dmgan.storage.reading import read_object
from dmgan.storage.weights import build_network
from dmgan.text.damsm import Damsm

WEIGHTS = "captioner.safetensors"


class Captioner(nn.Module):
    """LSTM that predicts a caption from an image embedding, word by word."""

    def __init__(self, vocabulary_size: int, image_dim: int, options: CaptionerOptions):
        super().__init__()
        dim = options.embedding_dim
        self.read_code = nn.Sequential(nn.Linear(image_dim, dim), nn.BatchNorm1d(dim))
        self.embedding = nn.Embedding(vocabulary_size, dim)
        self.lstm = nn.LSTM(dim, options.hidden_dim, batch_first=True)
        self.logits = nn.Linear(options.hidden_dim, vocabulary_size)

    # MirrorGAN, section 3.3: x_{-1} = CNN(I), x_t = W_e T_t, p_{t+1} = RNN(x_t)
    def forward(self, embedding: Tensor, tokens: Tensor) -> Tensor:
        """Return logits (B, T, V) of every word, given the embedding (B, E) and the previous words of tokens (B, T)."""
        x = torch.cat([self.read_code(embedding)[:, None, :], self.embedding(tokens[:, :-1])], dim=1)
        hidden, _ = self.lstm(x)
        return self.logits(hidden)

    # MirrorGAN, section 3.4: L_stream = -sum_t log p_t(T_t), here the mean over all words of the batch
    def cross_entropy(self, embedding: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the mean cross entropy over the words (B, T) without padding; mask (B, T) is true at padding."""
        logits, wanted = self(embedding, tokens), tokens.masked_fill(mask, -1)
        # Over (B T, V): torch's loss over (B, V, T) is not bit-exact on a GPU.
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-1)


class TrainedCaptioner(NamedTuple):
    """A frozen captioner."""

    network: Captioner
    sha256: str  # of the weights' file

    @classmethod
    def read(cls, folder: Path, damsm: Damsm, device: torch.device) -> "TrainedCaptioner":
        """Read the folder that `train_captioner` wrote; UserError if the captioner was trained with other encoders."""
        folder = Path(folder)
        hint = f"train it: python -m dmgan captioner --data FOLDER --damsm FOLDER --out {folder}"
        written = read_object(folder / "options.json", hint, {"options": dict, "inputs": {"damsm": dict}})
        options = from_dict(CaptionerOptions, written["options"], str(folder / "options.json"))
        if written["inputs"]["damsm"] != damsm.sha256:
            raise UserError(f"{folder}: was trained with other encoders than the generator; {hint}")
        words, dim = len(damsm.vocabulary), damsm.options.embedding_dim
        network = build_network(lambda: Captioner(words, dim, options), folder / WEIGHTS, hint)
        network.to(device).eval().requires_grad_(False)
        network.lstm.train()  # cuDNN's LSTM has a backward pass only in training mode; the LSTM has no dropout
        return cls(network, files.file_sha256(folder / WEIGHTS))
