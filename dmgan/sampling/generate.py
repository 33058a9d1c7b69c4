"""Generation of images from a user's own captions."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmgan.data.batches import to_uint8
from dmgan.data.vocabulary import fit_caption
from dmgan.errors import UserError
from dmgan.options import SamplingOptions
from dmgan.runtime.progress import log
from dmgan.runtime.randomness import generator
from dmgan.sampling.trained_model import TrainedModel, generate_images, load_run
from dmgan.storage import files
from dmgan.storage.png import write_pngs

_GENERATED = files.OwnFiles("generate", ("captions.json",), r"captions\.json|caption\d{3,}_\d{3,}_\d+\.png")


def read_captions(path: Path) -> list[str]:
    """Return the non-empty lines of a UTF-8 text file; UserError if all lines are empty."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read as UTF-8 text ({error}); give a file with one caption per line"
        ) from error
    captions = [line.strip() for line in lines if line.strip()]
    if not captions:
        raise UserError(f"{path}: holds no caption; write one caption per line")
    return captions


class CaptionImages(NamedTuple):
    """The images generated from one caption."""

    caption: str
    words_used: list[str]  # words that the generator read
    words_unknown: list[str]  # words that the text encoder does not know
    stages: list[np.ndarray]  # one array (images_per_caption, s, s, 3) uint8 per stage, in ascending size


def images_from_captions(
    trained: TrainedModel, captions: Sequence[str], images_per_caption: int, seed: int
) -> Iterator[CaptionImages]:
    """Return an iterator over the images of every caption; images of a caption differ in their noise.

    UserError, before any image is generated, if a caption holds no known word or images_per_caption is below 1.
    """
    if images_per_caption < 1:
        raise UserError(f"images_per_caption {images_per_caption}: must be 1 or more")
    encoded = [trained.damsm.vocabulary.encode_or_refuse(caption) for caption in captions]
    noise = trained.noise(seed, range(images_per_caption))
    return _generate(trained, list(zip(captions, encoded, strict=True)), noise, seed)


def _generate(
    trained: TrainedModel, captions: Sequence[tuple[str, np.ndarray]], noise: Tensor, seed: int
) -> Iterator[CaptionImages]:
    """Yield the images of every caption (text, tokens) for the same noise (images_per_caption, noise_dim)."""
    vocabulary = trained.damsm.vocabulary
    for number, (caption, tokens) in enumerate(captions):
        kept = fit_caption(tokens, trained.max_words, generator(seed, "own caption", number))
        unknown = vocabulary.unknown(caption)
        if unknown:
            log(f"caption {caption!r}: left out the unknown words {', '.join(unknown)}")
        generated = generate_images(trained, [kept] * len(noise), noise)
        stages = [to_uint8(images) for images in generated.images]
        yield CaptionImages(caption, vocabulary.decode(kept), unknown, stages)


def generate_from_captions(
    run: Path, captions: Sequence[str], out: Path, images_per_caption: int, seed: int, device: torch.device
) -> None:
    """Generate images of every stage from captions; write captionNNN_NNN_SIDE.png files and captions.json."""
    if not captions:
        raise UserError("no caption given; use --caption 'this bird has a red crown' or --captions FILE")
    files.refuse_overwrite(out, _GENERATED)
    trained = load_run(run, device)
    generated = images_from_captions(trained, captions, images_per_caption, seed)
    described = []
    with files.atomic_folder(out, _GENERATED) as folder:
        for number, each in enumerate(generated):
            for pixels in each.stages:
                suffix = f"{pixels.shape[1]}.png"
                paths = [folder / f"caption{number:03d}_{image:03d}_{suffix}" for image in range(images_per_caption)]
                write_pngs(paths, pixels, SamplingOptions.png_level)
            words = {"words_used": each.words_used, "words_unknown": each.words_unknown}
            described.append({"caption": each.caption, **words})
        files.write_json(folder / "captions.json", {"run": str(run), "seed": seed, "captions": described})
    sides = ", ".join(str(size) for size in trained.model.image_sizes)
    log(f"{out}: {len(captions) * images_per_caption} images per side ({sides} px)")
