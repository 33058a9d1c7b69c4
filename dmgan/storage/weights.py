"""Safe reading and strict loading of weights, as safetensors and as torch's state dicts."""

import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dmgan.errors import UserError
from dmgan.storage.files import write_bytes
from dmgan.storage.reading import first_line, open_regular_file

_HASH = "dmgan.sha256"  # key of the metadata


def non_finite(state: object, name: str = "") -> list[str]:
    """Return the names, such as `model.fc.weight`, of the tensors in a nested state that hold NaN or infinity."""
    if isinstance(state, Tensor):
        return [name] if state.is_floating_point() and not state.isfinite().all() else []
    state = dict(enumerate(state)) if isinstance(state, (list, tuple)) else state
    parts = state.items() if isinstance(state, Mapping) else ()
    return [bad for key, part in parts for bad in non_finite(part, f"{name}.{key}" if name else str(key))]


def shortened(names: list[str]) -> str:
    """Return the first three names and the number of the remaining names, as text."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def save_weights(network: nn.Module, path: Path) -> None:
    """Write every parameter and buffer of `network` as safetensors, atomically, with a hash that `load_weights` checks.

    UserError if a value is not finite.
    """
    save_state(network.state_dict(), path)


def save_state(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a state dict as safetensors, atomically; UserError if a value is not finite."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if bad := non_finite(state):
        raise UserError(f"{path}: is not written, because {shortened(bad)} is not finite; train again")
    write_bytes(path, save(state, {_HASH: _sha256(state)}))  # safetensors orders several keys at random


def _sha256(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and values."""
    return hashlib.sha256(save(dict(state))).hexdigest()


Network = TypeVar("Network", bound=nn.Module)


class _NoNormalDraws(TorchFunctionMode):
    """Leave out normal draws: for one on the device `meta`, torch imports its compiler, which takes seconds."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def build_network(build: Callable[[], Network], path: Path, hint: str) -> Network:
    """Return the network that `build` makes, with the weights of the safetensors file `path`.

    UserError that ends with `hint` if the file belongs to another network; see `check_weights`. The network is planned
    without memory first, so that wrong sizes in a file of options cannot fill the RAM.
    """
    state = check_weights(path, hint)
    try:
        with torch.device("meta"), _NoNormalDraws():
            planned = build()
    except (RuntimeError, ValueError, ArithmeticError, TypeError) as error:
        raise UserError(
            f"{path}: its network cannot be built with these options ({first_line(error)}); {hint}"
        ) from error
    _check_entries(planned, state, str(path), hint)
    network = build()
    network.load_state_dict(state)
    return network


def load_weights(network: nn.Module, path: Path, hint: str) -> None:
    """Load the safetensors file `path` into `network`.

    UserError that ends with `hint` if the file belongs to another network; see `check_weights`.
    """
    load_state(network, check_weights(path, hint), str(path), hint)


def check_weights(path: Path, hint: str) -> dict[str, Tensor]:
    """Return the state dict in the safetensors file `path`.

    UserError that ends with `hint` if the file is missing or damaged, or holds a value that is not finite. A file
    without a hash, of another program, is not checked for changed bytes.
    """
    if not Path(path).exists():
        raise UserError(f"{path}: does not exist; {hint}")
    try:
        open_regular_file(path).close()
        with safe_open(path, "pt") as file:
            recorded = (file.metadata() or {}).get(_HASH)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is not a readable safetensors file ({first_line(error)}); {hint}") from error
    if recorded is not None and recorded != _sha256(state):
        raise UserError(f"{path}: its values changed after they were written; {hint}")
    if bad := non_finite(state):
        raise UserError(f"{path}: {shortened(bad)} is not finite; {hint}")
    return state


def load_state(network: nn.Module, state: Mapping[str, Tensor], source: str, hint: str) -> None:
    """Load a state dict; UserError that names `source` if names or shapes differ from those of `network`."""
    _check_entries(network, state, source, hint)
    network.load_state_dict(state)


def _check_entries(network: nn.Module, state: Mapping[str, Tensor], source: str, hint: str) -> None:
    """Raise UserError that names `source` if names or shapes of a state dict differ from those of `network`."""
    wanted = network.state_dict()
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape]
    if missing or unexpected or shapes:
        raise UserError(
            f"{source}: does not hold the weights of a {type(network).__name__} with these options "
            f"({len(missing)} entries missing, {len(unexpected)} unexpected, {len(shapes)} of another shape, "
            f"such as {(missing + unexpected + sorted(shapes))[0]}); {hint}"
        )


def read_state_dict(path: Path, hint: str = "fetch the released file again") -> dict[str, Tensor]:
    """Read the state dict in a file that torch.save wrote, on the CPU, without executing code in the file.

    A state dict under the key "state_dict" is unwrapped, and DataParallel's prefix "module." is removed. UserError that
    ends with `hint` if the file is missing, damaged or not a state dict, or if a value is not finite.
    """
    path = Path(path)
    try:
        with open_regular_file(path) as file:
            head, size = file.read(512), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {hint}") from error
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UserError(f"{path}: is a web page, such as a download's confirmation, not a file of weights; {hint}")
    if not head:
        raise UserError(f"{path}: is empty; {hint}")
    if compressed := compressed_member(path):
        raise UserError(f"{path}: is refused: {compressed} is compressed, which torch.save never does; {hint}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types of exception for other files
        found = re.search(r"(?:GLOBAL|global) `?([\w.]+)", str(error))
        reason = f"it imports {found[1]}, which weights do not need" if found else "damaged, truncated or not weights"
        raise UserError(f"{path}: is refused, and no code in it was executed: {reason}; {hint}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not state or not all(isinstance(key, str) for key in state):
        raise UserError(f"{path}: is not a state dict (a mapping of names to tensors); {hint}")
    for key, value in state.items():
        _check_tensor(path, key, value, size, hint)
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)


def compressed_member(path: Path) -> str | None:
    """Return the name of a compressed member of an archive of torch.save, whose members fill more RAM than disk."""
    try:
        with zipfile.ZipFile(path) as archive:
            compressed = [each.filename for each in archive.infolist() if each.compress_type != zipfile.ZIP_STORED]
    except (zipfile.BadZipFile, OSError, ValueError, LookupError, NotImplementedError, RuntimeError):
        return None  # torch.load reads older formats, and refuses all others
    return next(iter(compressed), None)


def _check_tensor(path: Path, key: str, value: object, size: int, hint: str) -> None:
    """Raise UserError if `value` is not a dense, finite tensor that fits into the file's `size` bytes."""
    if not isinstance(value, Tensor):
        raise UserError(f"{path}: is not a state dict ({key} is {type(value).__name__}, not a tensor); {hint}")
    if value.layout != torch.strided or value.numel() * value.element_size() > size:
        raise UserError(f"{path}: {key} has {value.numel():,} numbers, more than fit into the file; {hint}")
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise UserError(f"{path}: {key} holds values that are not finite; {hint}")
