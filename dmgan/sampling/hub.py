"""Trained models on a model hub, by huggingface_hub: publish a run folder, and find the folder of a published one.

A published model is a folder that `load_run` reads alone: the run's files, with its encoders in damsm/.
"""

import re
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

from dmgan.errors import UserError
from dmgan.models.registry import find
from dmgan.runtime.telemetry import disable_telemetry
from dmgan.storage import files
from dmgan.storage.reading import read_object
from dmgan.storage.seals import FILES, SEAL, write_sealed_json
from dmgan.text.damsm import HASHED

PREFIX = "hub:"  # of the address of a published model, hub:OWNER/NAME or hub:OWNER/NAME@REVISION
_ENCODERS, _CARD = "damsm", "README.md"
_COPIED = ("generator.safetensors", "history.csv", "validation.csv", "metrics.json")
_OF_THIS_MACHINE = ("data_folder", "vgg16_weights")  # entries of options.json that are paths
_PUBLISHED = ("*.json", "*.csv", "*.safetensors", _CARD, f"{_ENCODERS}/*")
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def _hub(address: str) -> ModuleType:
    """Return the package huggingface_hub, without telemetry; UserError if it is not installed."""
    disable_telemetry()
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"{address}: needs the package huggingface_hub; install it: pip install 'dmgan-reproduction[hub]'"
        ) from error
    return huggingface_hub


def local_folder(address: Path | str) -> Path:
    """Return the folder of a run: of a path the path itself, of hub:OWNER/NAME[@REVISION] its downloaded copy.

    UserError if the model cannot be downloaded and no copy of it is on this machine.
    """
    text = str(address)
    if not text.startswith(PREFIX):
        return Path(address)
    name, _, revision = text.removeprefix(PREFIX).partition("@")
    _check_name(name, text)
    hub = _hub(text)
    try:
        return Path(hub.snapshot_download(name, revision=revision or None, allow_patterns=list(_PUBLISHED)))
    except _failures() as error:
        raise UserError(
            f"{text}: could not be downloaded ({_first_line(error)}); check the name and the net"
        ) from error


def self_contained_copy(run: Path, out: Path) -> None:
    """Copy a run and its encoders into the folder `out`, so that the copy loads without any other file.

    UserError if the run is unfinished, or if its model retrieves: that needs the training images.
    """
    hint = "give the folder of a finished training, such as results/synthbirds/dmgan/seed0"
    written = read_object(run / "options.json", hint, {"model": str, "damsm_folder": str})
    name, encoders = written["model"], run / written["damsm_folder"]
    if find(name).retrieves:
        raise UserError(f"{run}: {name} retrieves its training images, which are not published; publish another model")
    kept = {key: value for key, value in written.items() if key not in (*_OF_THIS_MACHINE, SEAL, FILES)}
    with files.user_error_for_disk_errors(run, hint):
        copied = [each for each in _COPIED if (run / each).exists()]
        for each in copied:
            shutil.copyfile(run / each, out / each)
        (out / _ENCODERS).mkdir()
        for each in (*HASHED, "options.json"):
            shutil.copyfile(encoders / each, out / _ENCODERS / each)
    write_sealed_json(out / "options.json", {**kept, "damsm_folder": _ENCODERS}, copied)


def publish(run: Path, name: str, card: str, private: bool) -> str:
    """Upload a run to a hub as the model OWNER/NAME, which is created if it is missing; return its address there.

    card: text of its model card.
    The user must be logged in (`hf auth login`), or HF_TOKEN be set.
    """
    _check_name(name, name)
    hub = _hub(name)
    with tempfile.TemporaryDirectory(prefix="dmgan-hub-") as temporary:
        self_contained_copy(Path(run), Path(temporary))
        files.write_text(Path(temporary) / _CARD, card)
        api = hub.HfApi()
        try:
            api.create_repo(name, private=private, exist_ok=True)
            done = api.upload_folder(repo_id=name, folder_path=temporary, commit_message=f"Publish {Path(run).name}")
        except _failures() as error:
            raise UserError(
                f"{name}: could not be uploaded ({_first_line(error)}); check the name, the net and `hf auth whoami`"
            ) from error
    return str(done.commit_url)


def _check_name(name: str, address: str) -> None:
    if not _NAME.fullmatch(name):
        raise UserError(f"{address}: is not a model of a hub; write OWNER/NAME, such as somebody/dmgan-synthbirds")


def _failures() -> tuple[type[Exception], ...]:
    """Return the exceptions of a hub and of the net."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    of_the_net = HfHubHTTPError.__base__  # HTTPError of the HTTP library, which depends on the version of the package
    return HfHubHTTPError, HFValidationError, of_the_net, OSError


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
