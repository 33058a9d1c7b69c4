"""Feature maps of a frozen trunk, computed once for a fixed number of random crops of every training image."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dmgan.data.batches import Batch, random_crops, scaled
from dmgan.data.dataset import PreparedDataset
from dmgan.data.prefetch import PrefetchedBatches
from dmgan.errors import UserError
from dmgan.options import DamsmOptions
from dmgan.runtime.device import to_device
from dmgan.runtime.progress import Progress, log
from dmgan.runtime.randomness import generator
from dmgan.storage import files
from dmgan.storage.npy import NpyWriter, open_array
from dmgan.storage.reading import read_object
from dmgan.storage.seals import is_unaltered, write_sealed_json
from dmgan.text.efficientnet_lite import CHANNELS, SHA256
from dmgan.text.encoders import EfficientNetLite0ImageEncoder
from dmgan.text.folded_encoder import folded_encoder

FORMAT = 1
_SEED = 0  # of the crops, so that encoders of all seeds share the maps
_FILE = "maps.npy"
_HASHES = "sha256.json"
_OWN = files.OwnFiles("trunk_cache", (_FILE,), r"maps\.npy|sha256\.json")
_AT_ONCE = 32  # crops per pass


class TrunkMaps:
    """Feature maps (C, h, w) of every crop of every training image, float16, in a memory-mapped file.

    The file's folder is named by a hash of the data set, the trunk's weights and all options that change the maps.
    """

    def __init__(
        self,
        encoder: EfficientNetLite0ImageEncoder,
        dataset: PreparedDataset,
        options: DamsmOptions,
        folder: Path,
        device: torch.device,
    ):
        """Open the maps in a folder within `folder`; compute and write them if they are missing."""
        self._crops, self._images = options.trunk_crops, dataset.indices("train")
        side = options.trunk_size // 32
        self._shape = (len(self._images) * self._crops, CHANNELS, side, side)
        key = [
            FORMAT, dataset.sha256, SHA256, options.image_size, options.trunk_size, options.trunk_crops, device.type,
            torch.__version__,
        ]  # fmt: skip
        self.folder = Path(folder) / files.json_sha256(key)[:16]
        if not self._is_whole():
            with files.locked(self.folder, "fix the permissions, or give another --trunk-cache"):
                if not self._is_whole():
                    self._write(encoder, dataset, options.image_size, device)
        self._maps = open_array(self.folder / _FILE)

    def _is_whole(self) -> bool:
        """Return whether the file has its shape and the bytes that were written."""
        try:
            if (shape := open_array(self.folder / _FILE).shape) != self._shape:
                raise ValueError(f"{_FILE} has the shape {shape}, not {self._shape}")
            hashes = self.folder / _HASHES  # maps of an earlier version have none
            if hashes.exists() and not is_unaltered(self.folder, read_object(hashes, "delete it", {}, check=False)):
                raise ValueError("its bytes are not those that were written")
        except (OSError, ValueError, UserError) as error:
            if self.folder.exists():
                log(f"{self.folder}: is damaged ({error}); computing the trunk's maps again")
            return False
        return True

    @torch.inference_mode()
    def _write(
        self, encoder: EfficientNetLite0ImageEncoder, dataset: PreparedDataset, image_size: int, device: torch.device
    ) -> None:
        crops = [(int(image), generator(_SEED, "crop of the trunk", image, crop))
                 for image in self._images for crop in range(self._crops)]  # fmt: skip
        log(f"{self.folder}: feature maps of {len(crops)} crops, {2e-6 * np.prod(self._shape):,.0f} MB")
        trunk = folded_encoder(encoder.features)
        with files.atomic_folder(self.folder, _OWN) as temporary, Progress(len(crops), "crops") as progress:
            maps = NpyWriter(temporary / _FILE, self._shape, np.float16)
            for first in range(0, len(crops), _AT_ONCE):
                (images,) = random_crops(dataset, crops[first : first + _AT_ONCE], [image_size])
                made = trunk(scaled(images.to(device)))
                maps.write(first, made.half().cpu().numpy())
                progress.step(len(images))
            maps.close()
            write_sealed_json(temporary / _HASHES, {}, [_FILE])

    def read(self, images: np.ndarray, seed: int, epoch: int) -> Tensor:
        """Return the maps (B, C, h, w) float32 of a random crop of every image, given by index.

        The crop is a pure function of seed, epoch and image.
        """
        drawn = [generator(seed, "crop of the trunk's maps", epoch, image).integers(self._crops) for image in images]
        rows = np.searchsorted(self._images, images) * self._crops + np.array(drawn)
        return torch.from_numpy(self._maps[rows].astype(np.float32))


class BatchesOfMaps:
    """Training batches by step, with the trunk's feature maps (B, C, h, w) in place of the images."""

    def __init__(self, batches: PrefetchedBatches, maps: TrunkMaps):
        self._batches, self._maps = batches, maps

    def __getitem__(self, step: int) -> Batch:
        reading = self._batches.batches
        maps = self._maps.read(reading.rows(step), reading.seed, step // reading.steps_per_epoch)
        return self._batches[step]._replace(images=[to_device(maps, self._batches.device)])
