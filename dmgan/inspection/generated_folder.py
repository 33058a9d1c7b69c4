"""The folder of `generate`: images of a user's captions, with sheets, animations, attention maps and scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from dmgan.data.vocabulary import Vocabulary
from dmgan.errors import UserError
from dmgan.inspection.drawings import (
    SHEET_ROWS,
    SheetRow,
    draw_attention,
    draw_sheet,
    rows_of_caption,
    stage_frames,
)
from dmgan.inspection.inspector import Aspects, ComparedWith, InspectedImage, Inspector, SharedNetworks
from dmgan.inspection.scores import MEANINGS
from dmgan.models.registry import find
from dmgan.options import SHEETS, SamplingOptions
from dmgan.runtime.cost import Cost
from dmgan.runtime.progress import log
from dmgan.runtime.provenance import provenance
from dmgan.sampling.generate import (
    MOST_CAPTIONS,
    MOST_IMAGES,
    CaptionImages,
    OwnCaption,
    encode_own_caption,
    images_of_encoded,
)
from dmgan.sampling.trained_model import TrainedModel, load_run
from dmgan.storage import files
from dmgan.training.run_folder import WEIGHTS

_JPEG_QUALITY = 92
_NAMES = (
    r"captions\.json|scores\.(csv|json)|sheet_\d{3,}\.(png|jpg)|caption\d{3,}_\d{3,}(_\d+|_attention|_nearest)\.png"
    r"|caption\d{3,}_\d{3,}_stages\.gif"
)
_GENERATED = files.OwnFiles("generate", ("captions.json",), _NAMES)
_ITS_OWN_DATA = ComparedWith()


@dataclass(frozen=True)
class GenerateRequest:
    """Captions, and the files that `generate` writes for each image."""

    captions: Sequence[str]
    images_per_caption: int = 1
    seed: int = 100
    sheet: str | None = None  # format of a contact sheet, one of SHEETS; None: no sheet
    gif: bool = False  # an animation of the stages of every image
    aspects: Aspects = Aspects()  # attention: a sheet of attention maps of every image

    def __post_init__(self):
        if not self.captions:
            raise UserError("no caption given; use --caption 'this bird has a red crown' or --captions FILE")
        if len(self.captions) > MOST_CAPTIONS:
            raise UserError(f"{len(self.captions)} captions: must be {MOST_CAPTIONS} at most; divide them into folders")
        if not 1 <= self.images_per_caption <= MOST_IMAGES:
            raise UserError(f"images_per_caption {self.images_per_caption}: must be from 1 to {MOST_IMAGES}")
        if self.sheet not in (None, *SHEETS):
            raise UserError(f"sheet {self.sheet!r}: must be {' or '.join(SHEETS)}")


def generate_from_captions(
    run: Path, request: GenerateRequest, out: Path, device: torch.device, compared: ComparedWith = _ITS_OWN_DATA
) -> None:
    """Generate images of every stage from captions; write captionNNN_NNN_SIDE.png files and captions.json.

    The other files of the request are sheet_NNN.png or .jpg, captionNNN_NNN_stages.gif, captionNNN_NNN_attention.png,
    captionNNN_NNN_nearest.png, scores.csv and scores.json. A caption without a known word is named on standard error
    and left out; UserError if none is left.
    """
    files.refuse_overwrite(out, _GENERATED)
    cost, trained = Cost(device), load_run(run, device)
    captions, skipped = _readable(trained.damsm.vocabulary, request.captions)
    _refuse_unavailable(trained, request)
    inspector, aspects = Inspector(trained, SharedNetworks(compared, device)), request.aspects
    inspector.check(aspects)
    described, rows = [], []
    with files.atomic_folder(out, _GENERATED) as folder:
        sheets = _Sheets(folder, request, _heading(trained, request))
        for each in images_of_encoded(trained, captions, request.images_per_caption, request.seed):
            images = inspector.inspect(each, aspects)
            for number, image in enumerate(images):
                _write_image(folder / f"caption{each.number:03d}_{number:03d}", request, each, image)
                rows.append(_row(each, number, image, inspector))
            sheets.add(each)
            words = {"words_used": each.words_used, "words_unknown": each.words_unknown}
            described.append({"number": each.number, "caption": each.caption, **words})
        sheets.finish()
        made_by = {
            "run": str(run),
            "generator_sha256": files.file_sha256(trained.folder / WEIGHTS),
            "seed": request.seed,
            "provenance": provenance(cost.measured()),
        }
        files.write_json(folder / "captions.json", {**made_by, "captions": described, "skipped": skipped})
        if aspects.scores or aspects.nearest:
            files.write_csv(folder / "scores.csv", rows)
            protocols = {"meanings": MEANINGS, "protocols": inspector.protocols(aspects)}
            files.write_json(folder / "scores.json", {**made_by, **protocols, "images": rows})
    sides = ", ".join(str(size) for size in trained.model.image_sizes)
    left_out = f"; left out {len(skipped)} of {len(request.captions)} captions" if skipped else ""
    log(f"{out}: {len(captions) * request.images_per_caption} images per side ({sides} px){left_out}")


def _readable(vocabulary: Vocabulary, captions: Sequence[str]) -> tuple[list[OwnCaption], list[dict[str, object]]]:
    """Return the captions with a known word, and number, text and reason of the others, which are logged.

    UserError if no caption is left.
    """
    kept, skipped = [], []
    for number, text in enumerate(captions):
        try:
            kept.append(encode_own_caption(vocabulary, number, text))
        except UserError as error:
            skipped.append({"number": number, "caption": text, "reason": str(error)})
    if not kept and len(skipped) == 1:
        raise UserError(skipped[0]["reason"])
    for each in skipped:
        log(f"left out: {each['reason']}")
    if not kept:
        raise UserError(f"none of the {len(captions)} captions can be read; the reasons are above")
    return kept, skipped


def _refuse_unavailable(trained: TrainedModel, request: GenerateRequest) -> None:
    """Raise UserError if the model has no stages to animate."""
    if request.gif and len(trained.model.image_sizes) == 1:
        raise UserError(f"--gif: {trained.name} generates the image of its last stage only; leave --gif out")


def _heading(trained: TrainedModel, request: GenerateRequest) -> str:
    seed = trained.options["seed"]
    training = "released weights" if seed is None else f"training seed {seed}"
    return f"{find(trained.name).title}, {training}; noise seed {request.seed}"


def _write_image(stem: Path, request: GenerateRequest, caption: CaptionImages, image: InspectedImage) -> None:
    """Write the files of one image; their names begin with `stem`."""

    def write(suffix: str, picture: Image.Image) -> None:
        picture.save(stem.with_name(f"{stem.name}_{suffix}.png"), compress_level=SamplingOptions.png_level)

    for pixels in image.stages:
        write(str(pixels.shape[0]), Image.fromarray(pixels))
    if request.gif:
        (first, *others), times = stage_frames(image.stages)
        path = stem.with_name(f"{stem.name}_stages.gif")
        first.save(path, save_all=True, append_images=others, duration=times, loop=0)
    if request.aspects.attention:
        if not image.refinements:
            raise UserError("--attention: the model does not attend to words; leave --attention out")
        write("attention", draw_attention(caption.caption, image))
    if image.nearest is not None:
        write("nearest", Image.fromarray(image.nearest.pixels))


def _row(caption: CaptionImages, number: int, image: InspectedImage, inspector: Inspector) -> dict[str, object]:
    """Return the row of scores.csv of one image."""
    row = {"caption_number": caption.number, "image": number, "caption": caption.caption, **image.scores}
    if image.nearest is not None:
        row |= image.nearest.as_scores(inspector.training_images.extractor.name)
    return row


class _Sheets:
    """Writer of contact sheets: a full sheet is written at once."""

    def __init__(self, folder: Path, request: GenerateRequest, heading: str):
        self._folder, self._request, self._heading = folder, request, heading
        self._rows: list[SheetRow] = []
        self._written = 0

    def add(self, caption: CaptionImages) -> None:
        """Add the last stage of a caption's images."""
        if self._request.sheet is None:
            return
        labels = [f"image {number}" for number in range(len(caption.stages[-1]))]
        self._rows += rows_of_caption(f"{caption.number}: {caption.caption}", labels, caption.stages[-1])
        for rows in self._full():
            self._write(rows)

    def finish(self) -> None:
        """Write the last sheet."""
        if self._rows:
            self._write(self._rows)

    def _full(self) -> Iterator[list[SheetRow]]:
        while len(self._rows) > SHEET_ROWS:
            full, self._rows = self._rows[:SHEET_ROWS], self._rows[SHEET_ROWS:]
            yield full

    def _write(self, rows: Sequence[SheetRow]) -> None:
        path = self._folder / f"sheet_{self._written:03d}.{self._request.sheet}"
        draw_sheet(self._heading, rows).save(path, quality=_JPEG_QUALITY)
        self._written += 1
