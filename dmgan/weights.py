"""Weights as safetensors, loaded strictly."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dmgan.errors import UserError
from dmgan.files import write_bytes


def non_finite(state: object, name: str = "") -> list[str]:
    """Names, such as `model.fc.weight`, of a nested state's floating-point tensors that hold NaN or infinity."""
    if isinstance(state, Tensor):
        return [name] if state.is_floating_point() and not state.isfinite().all() else []
    state = dict(enumerate(state)) if isinstance(state, (list, tuple)) else state
    parts = state.items() if isinstance(state, Mapping) else ()
    return [bad for key, part in parts for bad in non_finite(part, f"{name}.{key}" if name else str(key))]


def shortened(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def save_weights(network: nn.Module, path: Path) -> None:
    """Write every parameter and buffer of `network`, whole or not at all; UserError where one is not finite."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if bad := non_finite(state):
        raise UserError(f"{path}: is not written, for {shortened(bad)} is not finite; make the weights anew")
    write_bytes(path, save(state))


def load_weights(network: nn.Module, path: Path, mend: str) -> None:
    """Read `path` into `network`; a missing, damaged or foreign file is a UserError that ends with `mend`."""
    if not Path(path).exists():
        raise UserError(f"{path}: does not exist; {mend}")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is not a readable safetensors file ({error}); {mend}") from error
    load_state(network, state, str(path), mend)


def load_state(network: nn.Module, state: Mapping[str, Tensor], source: str, mend: str) -> None:
    """Give `network` the entries of `state`, which must be its own, each of its shape; UserError naming `source`."""
    wanted = network.state_dict()
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape]
    if missing or unexpected or shapes:
        raise UserError(
            f"{source}: holds the weights of another network than {type(network).__name__} of these options "
            f"({len(missing)} entries missing, {len(unexpected)} unexpected, {len(shapes)} of another shape, "
            f"such as {(missing + unexpected + sorted(shapes))[0]}); {mend}"
        )
    network.load_state_dict(state)
