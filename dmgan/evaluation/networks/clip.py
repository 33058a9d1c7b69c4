"""CLIP as an encoder of images and captions."""

import functools
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation.networks.base import CODEC, FeatureExtractor, channels_first
from dmgan.evaluation.networks.caption_encoder import CaptionEncoder
from dmgan.options import EvaluationOptions
from dmgan.storage import files
from dmgan.storage.weights import load_state, load_weights, read_state_dict


class ClipEmbeddings(FeatureExtractor):
    """CLIP's image embeddings; images are resized by CLIP's own transform (Pillow bicubic, 8 bits)."""

    name = "clip"
    packages = ("torch", "pillow", "open-clip-torch")

    def __init__(self, model_name: str, model: torch.nn.Module, sha256: str, device: torch.device):
        visual = model.visual
        size = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
        self.prepare = functools.partial(_bicubic, size=size)
        self._model = model
        self._mean, self._sd = (
            torch.tensor(each, device=device)[:, None, None] for each in (visual.image_mean, visual.image_std)
        )
        protocol = {
            "feature_network": f"CLIP {model_name}",
            "feature_network_sha256": sha256,
            "resize": f"to {size} px, Pillow bicubic, rounded to 8 bits",
            "codec": CODEC,
        }
        super().__init__({"embeddings": model.text_projection.shape[-1]}, protocol)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        images = (channels_first(batch) / 255 - self._mean) / self._sd
        return {"embeddings": self._model.encode_image(images)}


class ClipEncoder(CaptionEncoder):
    """CLIP, trained by others on other images; no generator of this project is trained with CLIP."""

    def __init__(self, model: str, weights: Path, device: torch.device):
        """model: a name that open_clip knows, or one of its JSON configurations; weights: its state dict."""
        name, network, tokenizer, sha256 = _read_clip(model, weights)
        network.to(device).eval().requires_grad_(False)
        self.name, self.extractor = f"CLIP {name}", ClipEmbeddings(name, network, sha256, device)
        self._model, self._tokenizer, self._device = network, tokenizer, device

    def caption(self, dataset: PreparedDataset, image: int, caption: int, options: EvaluationOptions) -> Hashable:
        return dataset.caption(image, caption)

    def reading(self, options: EvaluationOptions) -> str:
        return f"whole, up to CLIP's {self._tokenizer.context_length} tokens"

    @torch.no_grad()
    def encode(self, captions: list[Hashable]) -> np.ndarray:
        batches = (captions[start : start + 64] for start in range(0, len(captions), 64))
        embeddings = [self._model.encode_text(self._tokenizer(batch).to(self._device)) for batch in batches]
        return torch.cat(embeddings).float().cpu().numpy()


def _bicubic(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.BICUBIC))


def _read_clip(model: str, weights: Path) -> tuple[str, torch.nn.Module, Callable, str]:
    """Return name, network, tokenizer and the SHA-256 of the weights."""
    if not Path(weights).is_file():
        raise UserError(
            f"{weights}: does not exist; give --clip-weights the state dict of CLIP {model}, such as "
            f"open_clip_model.safetensors, from the address in open_clip.get_pretrained_cfg({model!r}, TAG), where "
            f"TAG is one of open_clip.list_pretrained_tags_by_model({model!r}); the file is not checked against a "
            "known hash, its hash is written into metrics.json"
        )
    try:
        import open_clip
    except ImportError as error:
        raise UserError(f"--clip: open_clip cannot be imported ({error}); pip install open_clip_torch") from error
    if model.endswith(".json"):
        files.read_json(Path(model), "give --clip a name that open_clip knows, or one of its JSON configurations")
        open_clip.add_model_config(Path(model))
    name = Path(model).name.removesuffix(".json")
    if name not in open_clip.list_models():
        raise UserError(f"--clip {model}: is not known to open_clip; see open_clip.list_models()")
    network = open_clip.create_model(name, pretrained=None)
    hint = f"give the weights of CLIP {name}"
    if Path(weights).suffix == ".safetensors":
        load_weights(network, weights, hint)
    else:
        load_state(network, read_state_dict(weights, hint), str(weights), hint)
    return name, network, open_clip.get_tokenizer(name), files.file_sha256(weights)
