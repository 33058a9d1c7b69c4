"""Trained weights and captions to images, each a pure function of weights, tokens and the image's own seed."""

from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmgan.data.batches import to_uint8
from dmgan.data.coco_objects import plan_coco_images
from dmgan.data.dataset import PreparedDataset
from dmgan.data.vocabulary import fit_caption
from dmgan.errors import UserError
from dmgan.features import give_features
from dmgan.image_folder import SAMPLED, ImageFolder
from dmgan.inference import InferenceGenerator
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.models.registry import build_model
from dmgan.options import (
    DEFAULT_METHOD,
    ArchitectureOptions,
    MatchingOptions,
    SamplingOptions,
    TrainingOptions,
    as_dict,
    from_dict,
)
from dmgan.retrieval import MemoryBank
from dmgan.runtime.progress import Progress, log
from dmgan.runtime.provenance import commit, provenance, versions
from dmgan.runtime.randomness import generator
from dmgan.storage import files
from dmgan.storage.png import write_pngs
from dmgan.storage.weights import load_weights
from dmgan.text.damsm import Damsm, EncodedCaptions
from dmgan.text.encoders import padding_mask

_GENERATED = files.OwnFiles("generate", ("captions.json",), r"captions\.json|caption\d{3,}_\d{3,}_\d+\.png")
IN_THIS_PROCESS = SamplingOptions(workers=0)


class TrainedModel(NamedTuple):
    """A generator with averaged weights, in evaluation mode, and the encoders it was trained with."""

    name: str  # in the registry
    model: TextToImageGAN
    damsm: Damsm
    max_words: int  # longest caption read
    options: dict  # the run's options.json
    folder: Path
    device: torch.device
    memory: MemoryBank | None = None  # where the model retrieves


def load_run(folder: Path, device: torch.device, memory_cache: Path | None = None) -> TrainedModel:
    """Read the run folder that training wrote; UserError where it is missing, unfinished or of another model.

    The memory of a model that retrieves is the training images of the data set it was trained on.
    """
    folder = Path(folder)
    hint = "give the folder of a finished training, such as results/synthbirds/dmgan/seed0"
    written = files.read_json(folder / "options.json", hint)
    try:
        name, damsm_folder = written["model"], folder / written["damsm_folder"]
        architecture = from_dict(ArchitectureOptions, written["architecture"], str(folder / "options.json"))
        training = from_dict(TrainingOptions, written["training"], str(folder / "options.json"))
        recorded, switches = written["inputs"]["damsm"], dict(written.get("switches", {}))
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / 'options.json'}: is not written by training (no {error}); {hint}") from error
    damsm = Damsm.read(damsm_folder).to(device)
    if damsm.sha256 != recorded:
        raise UserError(f"{damsm_folder}: the encoders changed since {folder} was trained with them; train it again")
    model = build_model(name, architecture, damsm.options.embedding_dim, **switches)
    load_weights(model, folder / "generator.safetensors", hint)
    model.to(device).eval().requires_grad_(False)
    memory = _read_memory(model, damsm, training.max_words, written, folder)
    if memory is None and memory_cache is not None:
        raise UserError(f"--memory-cache {memory_cache}: {name} retrieves nothing; leave the option out")
    if memory is not None:
        memory.cache = memory_cache
    return TrainedModel(name, model, damsm, training.max_words, written, folder, device, memory)


def _read_memory(model: TextToImageGAN, damsm: Damsm, max_words: int, written: dict, folder: Path) -> MemoryBank | None:
    """What a trained model retrieves from, if it does; UserError where data set or feature network changed."""
    if not model.reads_features:
        return None
    weights = written.get("vgg16_weights")
    give_features(model, None if weights is None else folder / weights)
    if model.features.sha256 != written["inputs"]["features"]["sha256"]:
        raise UserError(f"{folder / weights}: changed since {folder} was trained with it; put the old file there again")
    dataset = PreparedDataset(folder / written["data_folder"])
    if dataset.sha256 != written["inputs"]["data"]:
        raise UserError(f"{dataset.folder}: changed since {folder} was trained on it; train again")
    gammas = from_dict(MatchingOptions, written["gammas"], str(folder / "options.json"))
    return model.fit_memory(dataset, damsm, gammas, max_words)


def image_noise(seed: int, image: int, noise_dim: int) -> Tensor:
    """The noise (noise_dim,) of one image: depends on `seed` and the image's number alone."""
    random = generator(seed, "image noise", image)
    return torch.from_numpy(random.standard_normal(noise_dim, dtype=np.float32))


@torch.inference_mode()
def generate_images(
    trained: TrainedModel, captions: Sequence[np.ndarray], noise: Tensor, retrieved: Sequence[int] | None = None
) -> Generated:
    """Images of every stage for B captions (token arrays) and noise (B, noise_dim).

    A model that retrieves gets the features of the images `retrieved` (B,); without them of what `retrieve` finds.
    """
    encoded = trained.damsm.encode_captions(list(captions))
    memory = None
    if trained.memory is not None:
        memory = trained.memory.values(retrieve(trained, captions) if retrieved is None else retrieved)
    return trained.model.generate(noise.to(trained.device), encoded.sentence, encoded.words, encoded.mask, memory)


@torch.inference_mode()
def retrieve(trained: TrainedModel, captions: Sequence[np.ndarray], method: str = DEFAULT_METHOD) -> np.ndarray:
    """Training image (B,) that each of B captions (token arrays) retrieves."""
    starts = range(0, len(captions), 256)
    encoded = (trained.damsm.encode_captions(list(captions[start : start + 256])) for start in starts)
    return np.concatenate([trained.memory.search(method, each) for each in encoded])


class CaptionEncodings:
    """Encodes every distinct caption once, for batches in an order in which equal captions follow one another."""

    def __init__(self, damsm: Damsm):
        self._damsm = damsm
        self._last: dict[bytes, tuple[Tensor, Tensor]] = {}  # of the last batch: sentence (E,), words (E, T)

    @torch.inference_mode()
    def encode(self, captions: Sequence[np.ndarray]) -> EncodedCaptions:
        """Features of B captions (token arrays)."""
        keys = [caption.tobytes() for caption in captions]
        known = {key: self._last[key] for key in keys if key in self._last}
        new = {key: caption for key, caption in zip(keys, captions, strict=True) if key not in known}
        if new:
            encoded = self._damsm.encode_captions(list(new.values()))
            each = zip(new, encoded.sentence, encoded.words, encoded.lengths.tolist(), strict=True)
            known |= {key: (sentence, words[:, :length]) for key, sentence, words, length in each}
        self._last = known
        sentence = torch.stack([known[key][0] for key in keys])
        lengths = torch.tensor([len(caption) for caption in captions])
        words = sentence.new_zeros(len(keys), sentence.shape[1], int(lengths.max()))
        for row, key, length in zip(words, keys, lengths, strict=True):
            row[:, :length] = known[key][1]
        return EncodedCaptions(sentence, words, padding_mask(lengths).to(sentence.device), lengths)


class CaptionChoice(NamedTuple):
    """The caption of one sampled image."""

    image: int  # number of the test image in the data set
    caption: int  # which of its captions
    tokens: np.ndarray  # (length,) int32


def choose_test_caption(
    dataset: PreparedDataset,
    number: int,
    seed: int,
    max_words: int,
    read: Callable[[int, int], np.ndarray] | None = None,
) -> CaptionChoice:
    """The caption of sampled image `number`: passes over the test images, a random caption each time.

    A pure function of its arguments; of a longer caption a random ordered subset of max_words is kept. `read` gives
    the tokens of (image, caption) where they are not the data set's own (Damsm.caption_reader).
    """
    indices = dataset.indices("test")
    index = int(indices[number % len(indices)])
    random = generator(seed, "test caption", number)
    caption = int(random.integers(dataset.caption_count(index)))
    return CaptionChoice(index, caption, fit_caption((read or dataset.tokens)(index, caption), max_words, random))


def choose_soa_captions(
    dataset: PreparedDataset,
    seed: int,
    max_words: int,
    read: Callable[[int, int], np.ndarray] | None = None,
) -> tuple[list[CaptionChoice], list[int]]:
    """The captions of the images that SOA asks for, and the number of the COCO class that each is made for."""
    keys = [(int(image), n) for image in dataset.indices("test") for n in range(dataset.caption_count(image))]
    plan = plan_coco_images({key: dataset.caption(*key) for key in keys}, seed)
    if not plan:
        raise UserError(f"{dataset.folder}: no test caption names an object of COCO; sample without --soa")
    choices = []
    for number, each in enumerate(plan):
        tokens = (read or dataset.tokens)(each.image, each.caption)
        kept = fit_caption(tokens, max_words, generator(seed, "SOA caption", number))
        choices.append(CaptionChoice(each.image, each.caption, kept))
    return choices, [each.class_number for each in plan]


def sample_test_captions(
    run: Path,
    data: Path,
    out: Path,
    num_images: int,
    seed: int,
    batch_size: int,
    all_stages: bool,
    device: torch.device,
    options: SamplingOptions = IN_THIS_PROCESS,
    soa: bool = False,
    retrieval: str = DEFAULT_METHOD,
    memory_cache: Path | None = None,
    max_words: int | None = None,
) -> None:
    """Write `num_images` PNG files and manifest.json into the folder `out`, whole or not at all.

    Files are named NUMBER.png, with all_stages NUMBER_SIDE.png; the manifest gives each image's test
    image and caption, and where the model retrieves the image it retrieved, by the method `retrieval`. Batches hold
    captions of like length; that changes nothing but speed. With `soa` the images are those that semantic object
    accuracy asks for, however many, and the manifest gives the class of each. max_words: longest caption read, as the
    manifest says; None: as long as in training. Cut short, the same call goes on from the images that are complete.
    """
    if num_images < 1 or batch_size < 1:
        raise UserError(f"--num-images {num_images}, --batch-size {batch_size}: must both be 1 or more")
    if max_words is not None and max_words < 1:
        raise UserError(f"--max-words {max_words}: must be 1 or more")
    files.refuse_overwrite(out, SAMPLED)
    trained, dataset = load_run(run, device, memory_cache), PreparedDataset(data)
    if max_words is not None:
        trained = trained._replace(max_words=max_words)
    read = trained.damsm.caption_reader(
        dataset, f"{run}: was trained on captions of another data set than {data}; give the data set it was trained on"
    )
    choices = [choose_test_caption(dataset, number, seed, trained.max_words, read) for number in range(num_images)]
    made_for = {}
    if soa:
        choices, classes = choose_soa_captions(dataset, seed, trained.max_words, read)
        num_images, made_for = len(choices), {"soa_classes": classes}
    unknown = sorted({word for each in choices for word in _unknown_words(trained, dataset, each)})
    if unknown:
        log(f"{run}: left out {len(unknown)} words that its encoders do not know ({', '.join(unknown[:12])})")
    retrieved = _retrieved(trained, choices, retrieval, seed, dataset)
    manifest = _manifest(trained, dataset, choices, seed, options) | made_for
    manifest |= _memory_used(trained, retrieval, retrieved)
    model = InferenceGenerator(trained.model, options, device, batch_size, trained.max_words)
    encodings = CaptionEncodings(trained.damsm)
    subject = _subject(trained, dataset, seed, all_stages, options) | {"soa": soa, "retrieval": retrieval}
    subject["max_words"] = trained.max_words
    sides = _sides(trained.model.image_sizes, all_stages)
    with ImageFolder(out, subject, num_images, sides, options.workers, options.packed) as folder:
        progress = Progress(num_images, "images", done=len(folder.done))
        for numbers in _by_length(choices, batch_size, folder.done):
            noise = torch.stack([image_noise(seed, number, trained.model.noise_dim) for number in numbers])
            captions = encodings.encode([choices[number].tokens for number in numbers])
            memory = None if retrieved is None else trained.memory.values(retrieved[numbers])
            images = model.images(noise, captions, memory)
            progress.step(folder.write(numbers, _pixels(images, all_stages)))
        last = folder.finish({**manifest, "batch_size": batch_size, "words_left_out": unknown})
        if last:
            progress.step(last)
        progress.close()


def _retrieved(
    trained: TrainedModel, choices: Sequence[CaptionChoice], method: str, seed: int, dataset: PreparedDataset
) -> np.ndarray | None:
    """The image (N,) that each sampled caption retrieves; None where the model does not retrieve."""
    if trained.memory is None:
        if method != DEFAULT_METHOD:
            raise UserError(f"--retrieval {method}: {trained.name} retrieves nothing; leave the option out")
        return None
    if method == "random":
        return trained.memory.random(range(len(choices)), seed)
    if method == "oracle":
        if dataset.sha256 != trained.memory.dataset.sha256:
            raise UserError(f"--retrieval oracle: {dataset.folder} is not the data set that {trained.folder} read")
        return np.array([each.image for each in choices])
    return retrieve(trained, [each.tokens for each in choices], method)


def _memory_used(trained: TrainedModel, method: str, retrieved: np.ndarray | None) -> dict:
    """The manifest's entry of a model that retrieves; images are numbers in the data set it was trained on."""
    if retrieved is None:
        return {}
    memory = trained.memory
    described = {"method": method, "entries": len(memory.images), "data_sha256": memory.dataset.sha256}
    described |= {"feature_network": memory.features.name, "feature_sha256": memory.features.sha256}
    return {"retrieval": described | {"images": retrieved.tolist()}}


def _unknown_words(trained: TrainedModel, dataset: PreparedDataset, choice: CaptionChoice) -> list[str]:
    if trained.damsm.vocabulary == dataset.vocabulary:
        return []
    return trained.damsm.vocabulary.unknown(dataset.caption(choice.image, choice.caption))


def _by_length(choices: Sequence[CaptionChoice], batch_size: int, done: Set[int]) -> Iterator[list[int]]:
    """Numbers of the images that are not done, in batches of captions of like length; equal captions follow another."""
    left = (number for number in range(len(choices)) if number not in done)
    order = sorted(left, key=lambda number: (len(choices[number].tokens), choices[number].tokens.tolist(), number))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _sides(image_sizes: Sequence[int], all_stages: bool) -> dict[str, int]:
    """What is written of an image: what its files' names end in, and their sides in pixels."""
    return {f"_{side}": side for side in image_sizes} if all_stages else {"": image_sizes[-1]}


def _pixels(stages: Sequence[Tensor], all_stages: bool) -> dict[str, np.ndarray]:
    """What is written of each stage (B, 3, s, s): what its files' names end in, and (B, s, s, 3) uint8."""
    if not all_stages:
        return {"": to_uint8(stages[-1])}
    return {f"_{images.shape[-1]}": to_uint8(images) for images in stages}


def _subject(
    trained: TrainedModel, dataset: PreparedDataset, seed: int, all_stages: bool, options: SamplingOptions
) -> dict:
    """All that the pixels of sampled images depend on, and the names of their files."""
    return {
        "generator": files.file_sha256(trained.folder / "generator.safetensors"),
        "run options": files.file_sha256(trained.folder / "options.json"),
        "damsm": trained.damsm.sha256,
        "data": dataset.sha256,
        "seed": seed,
        "all_stages": all_stages,
        "options": _computed(options),
        "device": trained.device.type,
        "commit": commit(),
        "versions": versions(),
    }


def _computed(options: SamplingOptions) -> dict[str, object]:
    """The options that shape the pixels."""
    return {name: value for name, value in as_dict(options).items() if name not in ("workers", "packed")}


def _manifest(
    trained: TrainedModel,
    dataset: PreparedDataset,
    choices: Sequence[CaptionChoice],
    seed: int,
    options: SamplingOptions,
) -> dict:
    return {
        "model": trained.name,
        "training_seed": trained.options["seed"],
        "config_sha256": trained.options["config_sha256"],
        "generator_sha256": files.file_sha256(trained.folder / "generator.safetensors"),
        "data_sha256": dataset.sha256,
        "vocabulary_sha256": trained.damsm.sha256["vocabulary.json"],
        "imported": trained.options.get("imported", False),
        "switches": trained.options.get("switches", {}),
        "image_size": trained.model.architecture.image_size,
        "stages": list(trained.model.image_sizes),
        "seed": seed,
        "max_words": trained.max_words,
        "computed": {**_computed(options), "device": trained.device.type},
        "images": [{"test_image": each.image, "caption": each.caption} for each in choices],
        "tokens": [each.tokens.tolist() for each in choices],
        "provenance": provenance(),
    }


def read_captions(path: Path) -> list[str]:
    """The lines of a text file that hold something."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read as UTF-8 text ({error}); give a file with one caption a line"
        ) from error
    captions = [line.strip() for line in lines if line.strip()]
    if not captions:
        raise UserError(f"{path}: holds no caption; write one caption a line")
    return captions


def generate_from_captions(
    run: Path, captions: Sequence[str], out: Path, images_per_caption: int, seed: int, device: torch.device
) -> None:
    """Write images of every stage for a person's own captions, as CAPTION_IMAGE_SIDE.png, and captions.json."""
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
            noise = torch.stack(
                [image_noise(seed, image, trained.model.noise_dim) for image in range(images_per_caption)]
            )
            generated = generate_images(trained, [kept] * images_per_caption, noise)
            names = [f"caption{number:03d}_{image:03d}" for image in range(images_per_caption)]
            for suffix, pixels in _pixels(generated.images, all_stages=True).items():
                write_pngs([folder / f"{name}{suffix}.png" for name in names], pixels)
            described.append({"caption": caption, "words_used": vocabulary.decode(kept), "words_unknown": unknown})
        files.write_json(folder / "captions.json", {"run": str(run), "seed": seed, "captions": described})
    sides = ", ".join(str(size) for size in trained.model.image_sizes)
    log(f"{out}: {len(captions) * images_per_caption} images of each side ({sides} px)")
