"""Cache of encoded captions, whose features are constant because the text encoder is frozen."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.runtime.device import to_device
from dmgan.runtime.distributed import DistributedContext
from dmgan.runtime.progress import log
from dmgan.storage import files
from dmgan.storage.npy import NpyWriter, open_array
from dmgan.storage.reading import read_object
from dmgan.storage.seals import is_unaltered, write_sealed_json
from dmgan.text.damsm import Damsm, EncodedCaptions
from dmgan.text.encoders import padding_mask

FORMAT = 1
_ARRAYS, _HASHES = ("words.npy", "sentences.npy", "tokens.npy", "starts.npy"), "sha256.json"
_CACHED = files.OwnFiles("cache_captions", ("starts.npy",), r"(words|sentences|tokens|starts)\.npy|sha256\.json")
_AT_ONCE = 512  # captions of one length per pass


class CachedCaptions:
    """Features of the training captions of a data set, read from memory-mapped files beside the encoders.

    The folder's name contains a hash of encoders, data set and device type, so that runs of several models and seeds
    share the folder. A caption longer than max_words is not cached: every step encodes a different random subset of its
    words. Features may differ in their last bits from those of `Damsm.encode`, which depend on the batch.
    """

    def __init__(
        self, damsm: Damsm, dataset: PreparedDataset, folder: Path, max_words: int, distributed: DistributedContext
    ):
        """Open the cache in the encoders' folder; the main process writes the cache if it is missing."""
        self._damsm = damsm
        device = damsm.text_encoder.encoder.weight.device.type
        key = [FORMAT, damsm.sha256, dataset.sha256, max_words, device, torch.__version__]
        self.folder = Path(folder) / f"captions-{files.json_sha256(key)[:16]}"
        if distributed.is_main and not self._is_whole():
            with files.locked(self.folder, "fix the permissions, or train without cache_captions"):
                if not self._is_whole():
                    self._write(dataset, max_words)
        distributed.barrier()
        self._words = open_array(self.folder / "words.npy")  # (tokens of all captions, E)
        self._sentences = open_array(self.folder / "sentences.npy")  # (captions, E)
        tokens = np.load(self.folder / "tokens.npy")
        self._starts = np.load(self.folder / "starts.npy")
        spans = zip(self._starts[:-1], self._starts[1:], strict=True)
        self._row_of = {tokens[start:stop].tobytes(): row for row, (start, stop) in enumerate(spans)}

    def _is_whole(self) -> bool:
        """Return whether all files of the cache fit each other and have the bytes that were written."""
        try:
            words, sentences, tokens, starts = (open_array(self.folder / name) for name in _ARRAYS)
            hashes = self.folder / _HASHES  # a cache of an earlier version has none
            if hashes.exists() and not is_unaltered(self.folder, read_object(hashes, "delete it", {}, check=False)):
                raise ValueError("its bytes are not those that were written")
        except (OSError, ValueError, UserError) as error:
            if self.folder.exists():
                log(f"{self.folder}: is damaged ({error}); encoding the captions again")
            return False
        return len(starts) > 0 and len(words) == len(tokens) == starts[-1] and len(sentences) == len(starts) - 1

    def _write(self, dataset: PreparedDataset, max_words: int) -> None:
        """Encode and store every distinct caption of the training images, in order of length."""
        captions = _distinct_captions(dataset, max_words)
        starts = np.cumsum([0] + [len(each) for each in captions])
        width = self._damsm.options.embedding_dim
        log(
            f"{self.folder}: encoding {len(captions)} captions, {(starts[-1] + len(captions)) * width * 4 / 1e6:.0f} MB"
        )
        with files.atomic_folder(self.folder, _CACHED) as temporary:
            words = NpyWriter(temporary / "words.npy", (starts[-1], width), np.float32)
            sentences = NpyWriter(temporary / "sentences.npy", (len(captions), width), np.float32)
            for first, last in _equal_lengths(captions):
                encoded = self._damsm.encode_captions(captions[first:last])
                words.write(starts[first], encoded.words.transpose(1, 2).flatten(0, 1).cpu().numpy())
                sentences.write(first, encoded.sentence.cpu().numpy())
            words.close()
            sentences.close()
            np.save(temporary / "tokens.npy", np.concatenate(captions).astype(np.int64))
            np.save(temporary / "starts.npy", starts)
            write_sealed_json(temporary / _HASHES, {}, _ARRAYS)

    def encode(self, tokens: Tensor, lengths: Tensor) -> EncodedCaptions:
        """Return features of captions, tokens (B, T') padded with 0 and lengths (B,), as `Damsm.encode` does."""
        captions = [row[:length] for row, length in zip(tokens.numpy(), lengths.tolist(), strict=True)]
        rows = [self._row_of.get(caption.tobytes()) for caption in captions]
        width = self._sentences.shape[1]
        words = torch.zeros(len(captions), int(lengths.max()), width)
        sentence = torch.zeros(len(captions), width)
        for i, row in enumerate(rows):
            if row is not None:
                span = slice(self._starts[row], self._starts[row + 1])
                words[i, : lengths[i]] = torch.from_numpy(np.array(self._words[span]))
                sentence[i] = torch.from_numpy(np.array(self._sentences[row]))
        device = self._damsm.text_encoder.encoder.weight.device
        words, sentence = to_device(words, device), to_device(sentence, device)
        new = [i for i, row in enumerate(rows) if row is None]
        if new:
            encoded = self._damsm.encode_captions([captions[i] for i in new])
            places = to_device(torch.tensor(new), device)
            words[places, : encoded.words.shape[2]] = encoded.words.transpose(1, 2)
            sentence[places] = encoded.sentence
        mask = to_device(padding_mask(lengths), device)
        tokens = to_device(tokens, device)[:, : mask.shape[1]]
        return EncodedCaptions(sentence, words.transpose(1, 2), mask, lengths, tokens)


def _distinct_captions(dataset: PreparedDataset, max_words: int) -> list[np.ndarray]:
    """Return the token ids of the distinct training captions of at most max_words words, in order of length."""
    every = (dataset.tokens(i, k) for i in dataset.indices("train") for k in range(dataset.caption_count(i)))
    kept = {tokens.tobytes(): tokens for tokens in every if len(tokens) <= max_words}
    return sorted(kept.values(), key=len)


def _equal_lengths(captions: list[np.ndarray]) -> Iterable[tuple[int, int]]:
    """Yield start and end of batches of captions of equal length, which need no padding."""
    first = 0
    for i in range(1, len(captions) + 1):
        if i == len(captions) or len(captions[i]) != len(captions[first]) or i - first == _AT_ONCE:
            yield first, i
            first = i
