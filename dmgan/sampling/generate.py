"""Generation of images from a user's own captions."""

from collections.abc import Sequence
from pathlib import Path

import torch

from dmgan.data.vocabulary import fit_caption
from dmgan.errors import UserError
from dmgan.options import SamplingOptions
from dmgan.runtime.progress import log
from dmgan.runtime.randomness import generator
from dmgan.sampling.image_folder import pixels_by_suffix
from dmgan.sampling.trained_model import generate_images, load_run
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


def generate_from_captions(
    run: Path, captions: Sequence[str], out: Path, images_per_caption: int, seed: int, device: torch.device
) -> None:
    """Generate images of every stage from captions; write captionNNN_NNN_SIDE.png files and captions.json."""
    if not captions:
        raise UserError("no caption given; use --caption 'this bird has a red crown' or --captions FILE")
    if images_per_caption < 1:
        raise UserError(f"--images-per-caption {images_per_caption}: must be 1 or more")
    files.refuse_overwrite(out, _GENERATED)
    trained = load_run(run, device)
    vocabulary = trained.damsm.vocabulary
    encoded = [vocabulary.encode_or_refuse(caption) for caption in captions]
    described = []
    with files.atomic_folder(out, _GENERATED) as folder:
        for number, (caption, tokens) in enumerate(zip(captions, encoded, strict=True)):
            kept = fit_caption(tokens, trained.max_words, generator(seed, "own caption", number))
            unknown = vocabulary.unknown(caption)
            if unknown:
                log(f"caption {caption!r}: left out the unknown words {', '.join(unknown)}")
            noise = trained.noise(seed, range(images_per_caption))
            generated = generate_images(trained, [kept] * images_per_caption, noise)
            names = [f"caption{number:03d}_{image:03d}" for image in range(images_per_caption)]
            for suffix, pixels in pixels_by_suffix(generated.images, all_stages=True).items():
                paths = [folder / f"{name}{suffix}.png" for name in names]
                write_pngs(paths, pixels.cpu().numpy(), SamplingOptions.png_level)
            described.append({"caption": caption, "words_used": vocabulary.decode(kept), "words_unknown": unknown})
        files.write_json(folder / "captions.json", {"run": str(run), "seed": seed, "captions": described})
    sides = ", ".join(str(size) for size in trained.model.image_sizes)
    log(f"{out}: {len(captions) * images_per_caption} images per side ({sides} px)")
