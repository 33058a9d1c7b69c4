"""Captions that are not those of a prepared test set, in the form in which metrics read a data set's captions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dmgan.data.dataset import PreparedDataset
from dmgan.evaluation.captions_file import CaptionLine
from dmgan.storage import files


class FreeCaptions:
    """The distinct captions of an image folder; each stands for a test image with one caption.

    Without classes every caption is its own class, so that the mismatched captions of an image are those of the others.
    """

    vocabulary = None  # encoders tokenise the captions in their own vocabulary

    def __init__(self, folder: Path, lines: Sequence[CaptionLine], dataset: PreparedDataset | None, title: str):
        """dataset: the data set whose real images the folder is compared with, if any; title: its name otherwise."""
        self.folder = folder
        row_of: dict[tuple[str, str | None], int] = {}
        rows = [row_of.setdefault((each.text, each.class_name), len(row_of)) for each in lines]
        self.rows = np.array(rows, dtype=int)  # (N,) the caption of every line
        self._texts = [text for text, _ in row_of]
        classes = [str(number) if name is None else name for number, (_, name) in enumerate(row_of)]
        self.class_ids = np.unique(np.array(classes, dtype=str), return_inverse=True)[1]
        self.captions_sha256 = files.json_sha256([list(each) for each in row_of])
        self.name_of_set = title if dataset is None else dataset.name_of_set
        self.published_set = None if dataset is None else dataset.published_set
        self.description = {"source": {"name": title}} if dataset is None else dataset.description
        self.sha256 = {} if dataset is None else dataset.sha256

    def __len__(self) -> int:
        return len(self._texts)

    def indices(self, split: str) -> np.ndarray:
        """Return the numbers of the captions of a split; all are of the test split."""
        return np.arange(len(self) if split == "test" else 0)

    def caption_count(self, index: int) -> int:
        """Return 1."""
        return 1

    def caption(self, index: int, caption: int) -> str:
        """Return the text of caption `index`."""
        return self._texts[index]

    def name(self, index: int) -> str:
        """Return a name for error messages."""
        return f"number {index} of the folder's distinct captions"
