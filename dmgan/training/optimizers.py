"""Adam, float16's loss scale, and averaged weights."""

import torch
from torch import Tensor, nn

_EPS = 1e-8  # Adam's

_KERNELS = ("fused", "foreach", "capturable")  # of torch's optimisers: how they compute, not what


class Adam(torch.optim.Adam):
    """torch's, whose saved state says nothing of how it is computed: that is for the engine that goes on to say."""

    def load_state_dict(self, state: dict) -> None:
        """Go on with the saved moments and rates, on the device and by the kernels of this optimiser."""
        pairs = zip(state["param_groups"], self.param_groups, strict=True)
        groups = [{**saved, **{name: own[name] for name in _KERNELS}} for saved, own in pairs]
        super().load_state_dict({**state, "param_groups": groups})  # it moves the counts of steps to where they belong


class LossScaler(torch.amp.GradScaler):
    """Scales float16's losses so that small gradients do not vanish; does nothing in other precisions."""

    def load_state_dict(self, state: dict) -> None:
        """Go on with the saved scale; a run that comes from another precision has none and begins anew."""
        if self.is_enabled() and state:
            super().load_state_dict(state)


class WeightAverage:
    """Exponential moving average of the parameters; batch-norm statistics stay the live ones (released code)."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.parameters = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """average = decay * average + (1 - decay) * parameter."""
        live = [parameter.detach() for parameter in model.parameters()]
        torch._foreach_lerp_(list(self.parameters.values()), live, 1 - self.decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Give the averaged parameters to `model`."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.parameters[name])

    def state_dict(self) -> dict[str, Tensor]:
        return self.parameters

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, tensor in self.parameters.items():
            tensor.copy_(state[name])
