"""Adam, the loss scale of float16, and averaged weights."""

import torch
from torch import Tensor, nn

EPS = 1e-8  # Adam's
_IMPLEMENTATION = ("fused", "foreach", "capturable")  # flags that choose the implementation, not the values


class Adam(torch.optim.Adam):
    """Adam that keeps its own `fused`, `foreach` and `capturable` flags when it loads a checkpoint."""

    def load_state_dict(self, state: dict) -> None:
        """Load moments and learning rates, but keep this optimiser's device and implementation flags."""
        pairs = zip(state["param_groups"], self.param_groups, strict=True)
        groups = [{**saved, **{name: own[name] for name in _IMPLEMENTATION}} for saved, own in pairs]
        super().load_state_dict({**state, "param_groups": groups})


class LossScaler(torch.amp.GradScaler):
    """Scaler of float16 losses, which keeps small gradients from underflow; inactive in other precisions."""

    def load_state_dict(self, state: dict) -> None:
        """Restore the loss scale; start fresh if the checkpoint was not float16."""
        if self.is_enabled() and state:
            super().load_state_dict(state)


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
