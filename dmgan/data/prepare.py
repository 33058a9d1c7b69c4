"""From a source of captioned images to a prepared data set."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

from dmgan.data.dataset import oversize, pack
from dmgan.data.example import Example
from dmgan.data.synthbirds import SynthBirds
from dmgan.errors import UserError
from dmgan.progress import Progress


def prepare_synthbirds(
    out: Path,
    image_size: int,
    num_species: int,
    images_per_species: int,
    captions_per_image: int,
    seed: int,
    workers: int,
) -> None:
    """Draw the embedded data set into the folder `out`; the number of workers changes nothing but speed."""
    birds = SynthBirds(
        num_species=num_species,
        images_per_species=images_per_species,
        captions_per_image=captions_per_image,
        image_size=oversize(image_size),
        seed=seed,
    )
    source = {"name": "synthbirds", **asdict(birds)}
    pack(_drawn(birds, workers), out, source=source, image_size=image_size)


def _drawn(birds: SynthBirds, workers: int) -> Iterator[Example]:
    """The set's examples in order, drawn by several processes."""
    if workers < 1:
        raise UserError(f"--workers {workers}: must be 1 or more")
    progress = Progress(len(birds), "images")
    with ProcessPoolExecutor(workers) as pool:
        for example in pool.map(partial(SynthBirds.__getitem__, birds), range(len(birds)), chunksize=64):
            progress.step()
            yield example
    progress.close()
