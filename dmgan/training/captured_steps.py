"""Training steps as one CUDA graph: one launch a step, instead of thousands of kernels that the host launches."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from dmgan.runtime.cuda_graph import CudaGraph, CudaRecorder, NotCapturable

Inputs = tuple | list  # tensors of the device, nested in tuples and lists; None stays None
WARM_UP = 3  # ordinary steps before the capture: they choose cuDNN's algorithms and allocate Adam's moments


def new_graph(function: Callable[..., Tensor], device: torch.device) -> CudaGraph:
    """Return a graph that captures `function` after the warm-up."""
    return CudaGraph(function, WARM_UP, CudaRecorder(device))


class CapturedSteps:
    """Runs steps of a training as a CUDA graph; every step is computed exactly once, captured or not.

    The inputs of the next step are made on a side stream while the GPU runs the current step. If the capture fails,
    the steps run one kernel at a time, as they would without a graph.
    """

    def __init__(
        self,
        function: Callable[[Inputs], dict[str, Tensor]],
        inputs: Callable[[int], Inputs],
        steps: int,
        device: torch.device,
        version: Callable[[], object] = lambda: None,
        failed: Callable[[str], None] = lambda reason: None,
    ):
        """Prepare `steps` steps.

        function(inputs(step)): one step; returns 0-d losses by name. The function must not read values of the device on
        the host, and the shapes of its inputs must not change. version(): value of the host that the graph holds, such
        as the stage of a stagewise model; when it changes, the step is captured again. failed(reason): called once if
        the step cannot be captured.
        """
        self._function, self._version, self._failed = function, version, failed
        self._ahead, self._graph = InputsAhead(inputs, steps, device), new_graph(self._losses, device)
        self._captured_version = version()
        self._names: tuple[str, ...] = ()
        self._eager = False

    def __call__(self, step: int) -> dict[str, Tensor]:
        """Run step number `step` and return its losses."""
        losses = self._run(self._ahead.take(step))
        self._ahead.make(step + 1)
        return dict(zip(self._names, losses.unbind(), strict=True))

    def _run(self, inputs: Inputs) -> Tensor:
        tensors, self._nesting = tree_flatten(inputs)
        if not self._eager:
            try:
                if self._captured_version != self._version():
                    self._graph.release()
                    self._captured_version = self._version()
                return self._graph(*tensors).clone()  # the next replay overwrites the captured losses
            except NotCapturable as reason:
                self._eager = True
                self._graph.release()
                self._failed(str(reason))
        return self._losses(*tensors)

    def _losses(self, *tensors: Tensor | None) -> Tensor:
        """Run the step and return its losses as one tensor, whose copy needs one kernel."""
        losses = self._function(tree_unflatten(tensors, self._nesting))
        self._names = tuple(losses)
        return torch.stack(list(losses.values()))


class InputsAhead:
    """Inputs of steps 0 ... steps - 1, made one step ahead; on a GPU, on a side stream."""

    def __init__(self, inputs: Callable[[int], Inputs], steps: int, device: torch.device):
        self._inputs, self._steps = inputs, steps
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._made: tuple[int, Inputs] | None = None

    def make(self, step: int) -> None:
        """Make the inputs of `step`, if there is such a step; the call returns before the GPU has copied them."""
        if step < self._steps:
            with torch.cuda.stream(self._stream):
                self._made = step, self._inputs(step)

    def take(self, step: int) -> Inputs:
        """Return the inputs of `step`, which the current stream waits for."""
        if self._made is None or self._made[0] != step:
            self.make(step)
        _, inputs = self._made
        self._made = None
        if self._stream is not None:
            current = torch.cuda.current_stream()
            current.wait_stream(self._stream)
            for each in tree_leaves(inputs):
                if each is not None:
                    each.record_stream(current)  # or the side stream would reuse the memory while it is read
        return inputs
