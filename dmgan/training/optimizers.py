"""Adam, the loss scale of float16, and averaged weights."""

import inspect

import torch
from torch import Tensor, nn

EPS = 1e-8  # Adam's
_IMPLEMENTATION = ("fused", "foreach", "capturable")  # flags that choose the implementation, not the values


def _without_compiler(kind: type) -> type:
    """Remove torch's wrappers that keep torch.compile from tracing an optimiser; this project compiles no update.

    The first call of a wrapper imports the compiler, which takes longer than the first steps of a training.
    """
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        setattr(kind, name, inspect.unwrap(getattr(kind, name)))
    kind.step = torch.no_grad()(inspect.unwrap(kind.step))
    return kind


@_without_compiler
class PlainAdam(torch.optim.Adam):
    """torch's Adam, without import of the compiler."""


@_without_compiler
class PlainAdamW(torch.optim.AdamW):
    """torch's AdamW, without import of the compiler."""


class Adam(PlainAdam):
    """Adam that keeps its own implementation when it loads a checkpoint.

    With capturable=True, a CUDA graph can hold the update: one fused kernel, with step counts on the device, which
    `clear_moments` resets in place. With rates_on_device=True, `set_rate` changes the rate of a captured update too;
    such a rate is rounded to float32.
    """

    def __init__(
        self,
        params,
        lr: float,
        betas: tuple[float, float],
        fused: bool | None = None,
        capturable: bool = False,
        rates_on_device: bool = False,
    ):
        fused = True if capturable else fused
        super().__init__(params, lr=lr, betas=betas, eps=EPS, fused=fused, capturable=capturable)
        self._rates_on_device = rates_on_device
        self._place_rates()

    def _place_rates(self) -> None:
        """Make the learning rates tensors or numbers."""
        for group in self.param_groups:
            rate, device = float(group["lr"]), group["params"][0].device
            group["lr"] = torch.tensor(rate, device=device) if self._rates_on_device else rate

    def set_rate(self, rate: float, group: int = 0) -> None:
        """Set the learning rate of a parameter group."""
        if isinstance(self.param_groups[group]["lr"], Tensor):
            self.param_groups[group]["lr"].fill_(rate)
        else:
            self.param_groups[group]["lr"] = rate

    def rates(self) -> list[float]:
        """Return the learning rate of every parameter group."""
        return [float(group["lr"]) for group in self.param_groups]

    def clear_moments(self) -> None:
        """Start over with moments and step counts of zero."""
        if not self.defaults["capturable"]:
            self.state.clear()
        for state in self.state.values():
            torch._foreach_zero_(list(state.values()))

    def state_dict(self) -> dict:
        """Return moments, step counts and learning rates; the rates are numbers."""
        state = super().state_dict()
        pairs = zip(state["param_groups"], self.rates(), strict=True)
        return {**state, "param_groups": [{**group, "lr": rate} for group, rate in pairs]}

    def load_state_dict(self, state: dict) -> None:
        """Load moments and learning rates, but keep this optimiser's device and implementation flags."""
        pairs = zip(state["param_groups"], self.param_groups, strict=True)
        groups = [{**saved, **{name: own[name] for name in _IMPLEMENTATION}} for saved, own in pairs]
        super().load_state_dict({**state, "param_groups": groups})
        self._place_rates()


class LossScaler(torch.amp.GradScaler):
    """Scaler of float16 losses, which keeps small gradients from underflow; inactive in other precisions."""

    def load_state_dict(self, state: dict) -> None:
        """Restore the loss scale; start fresh if the checkpoint was not float16."""
        if self.is_enabled() and state:
            super().load_state_dict(state)

    def forget_steps(self) -> None:
        """Forget the optimisers that stepped since the last update, after a step that was captured but not computed."""
        if self.is_enabled():
            self._per_optimizer_states.clear()


class WeightAverage:
    """Exponential moving average of the parameters; as in the released code, batch-norm statistics are not averaged."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.parameters = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the average: average = decay * average + (1 - decay) * parameter."""
        live = [parameter.detach() for parameter in model.parameters()]
        torch._foreach_lerp_(list(self.parameters.values()), live, 1 - self.decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Copy the averaged parameters into `model`."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.parameters[name])

    def state_dict(self) -> dict[str, Tensor]:
        return self.parameters

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, tensor in self.parameters.items():
            tensor.copy_(state[name])
