"""Files as the authors of DM-GAN would have released them, and run folders made of them."""

from pathlib import Path

import torch

from dmgan.models.registry import build_model
from dmgan.options import ArchitectureOptions
from dmgan.text.encoders import InceptionImageEncoder, TextEncoder
from dmgan.training.import_released import ReleasedFiles, import_released
from tests.data.made_sources import write_captions_pickle

EMBEDDING = 16
SMALL = ArchitectureOptions(
    base_size=8, stages=3, generator_width=4, noise_dim=6, condition_dim=5, residual_blocks=3
)  # fmt: skip
LEFT_OUT = "white"  # a word of the data set that the released vocabulary lacks


def write_released_files(folder: Path, words: tuple[str, ...]) -> ReleasedFiles:
    """Write networks of small widths and a vocabulary of `words` in another order, without LEFT_OUT."""
    words = ["<end>", *[word for word in reversed(words[1:]) if word != LEFT_OUT], "naïve"]
    torch.manual_seed(0)
    networks = {
        "netG": build_model("dmgan", SMALL, EMBEDDING),
        "text_encoder": TextEncoder(len(words), EMBEDDING),
        "image_encoder": InceptionImageEncoder(EMBEDDING),
    }
    for name, network in networks.items():
        torch.save(network.state_dict(), folder / f"{name}.pth")
    captions = write_captions_pickle(folder / "captions.pickle", words)
    return ReleasedFiles(*(folder / f"{name}.pth" for name in networks), captions)


def import_files(
    released: ReleasedFiles, out: Path, damsm_out: Path | None = None, word_mask: str = "corrected"
) -> Path:
    """Import released files of a DM-GAN, and return the run folder."""
    import_released("dmgan", released, out, damsm_out=damsm_out, word_mask=word_mask, max_words=12)
    return out
