"""CUDA graphs: a function of device tensors that is captured once and then replayed with a single launch."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class NotCapturable(Exception):
    """A function cannot be captured as a CUDA graph; the message is the reason."""


class StaticInputs:
    """Device tensors at fixed addresses, which a CUDA graph reads; None stays None."""

    def __init__(self, tensors: Sequence[Tensor | None]):
        """Allocate one buffer per tensor, with its shape, type, device and memory format, and copy the values."""
        self.tensors = [None if each is None else torch.empty_like(each) for each in tensors]
        self.fill(tensors)

    def fits(self, tensors: Sequence[Tensor | None]) -> bool:
        """Return whether `tensors` have the shapes and types of the buffers, and None in the same places."""
        return [_shape(each) for each in tensors] == [_shape(each) for each in self.tensors]

    def fill(self, tensors: Sequence[Tensor | None]) -> None:
        """Copy values into the buffers on the current stream, without waiting for copies from pinned memory.

        ValueError if a shape or type differs.
        """
        if not self.fits(tensors):
            raise ValueError(f"got {[_shape(each) for each in tensors]}, not {[_shape(each) for each in self.tensors]}")
        for buffer, given in zip(self.tensors, tensors, strict=True):
            if buffer is not None and buffer is not given:
                buffer.copy_(given, non_blocking=True)


def _shape(tensor: Tensor | None) -> tuple | None:
    return None if tensor is None else (tuple(tensor.shape), tensor.dtype)


class CudaRecorder:
    """Warm-up and capture on a side stream of a GPU."""

    def __init__(self, device: torch.device | None = None):
        """device: the GPU; None: the current one."""
        self._side = torch.cuda.Stream(device)

    def wait(self) -> None:
        """Wait until the launched replays are finished; their graphs may then be deleted."""
        torch.cuda.current_stream(self._side.device).synchronize()

    def warm_up(self, function: Callable[[], object]) -> object:
        """Run `function` on the side stream and return its result; the current stream waits for the result."""
        current = torch.cuda.current_stream(self._side.device)
        self._side.wait_stream(current)
        with torch.cuda.stream(self._side):
            result = function()
        current.wait_stream(self._side)
        for each in _tensors(result):
            each.record_stream(current)  # or the side stream would reuse the memory of a freed result too early
        return result

    def capture(self, function: Callable[[], object]) -> tuple[object, Callable[[], None]]:
        """Capture `function` without executing it; return its result, whose tensors every replay fills, and `replay`.

        NotCapturable if the function synchronises with the host or calls another forbidden operation.
        """
        graph = torch.cuda.CUDAGraph()
        # Other threads may allocate pinned memory during the capture, which the default mode forbids.
        graph_context = torch.cuda.graph(graph, stream=self._side, capture_error_mode="thread_local")
        try:
            # The outer block restores the current stream, which a failed capture does not.
            with torch.cuda.stream(torch.cuda.current_stream(self._side.device)), graph_context:
                result = function()
        except RuntimeError as error:
            raise NotCapturable(_first_line(error)) from error
        return result, graph.replay


class CudaGraph:
    """A function that runs eagerly for `warm_up` calls, and from then on as one CUDA graph.

    Every call computes `function(*tensors)` exactly once: warm-up calls are real calls, and the call that captures also
    replays. A function may therefore change state (a training step) or be pure (a generator). All tensors that the
    function reads, changes and keeps must stay at their addresses: state is updated in place, values of the host are
    frozen at the capture. Captured results lie in static memory, which the next call overwrites.
    """

    def __init__(self, function: Callable[..., object], warm_up: int = 3, recorder: "CudaRecorder | None" = None):
        """function: takes tensors (or None) and returns tensors nested in tuples, lists and dicts.

        recorder: warms up and captures; default: a CudaRecorder of the current GPU.
        """
        self._function, self._warm_up, self._warm_up_left = function, warm_up, warm_up
        self._recorder = CudaRecorder() if recorder is None else recorder
        self._inputs: StaticInputs | None = None
        self._result, self._replay = None, None

    @property
    def captured(self) -> bool:
        """Whether calls replay the graph."""
        return self._replay is not None

    def fits(self, tensors: Sequence[Tensor | None]) -> bool:
        """Return whether a call may have these tensors: before the first call any tensors, then those of its shapes."""
        return self._inputs is None or self._inputs.fits(tensors)

    def __call__(self, *tensors: Tensor | None) -> object:
        """Return `function(*tensors)`, with the tensors copied into static buffers; captured results are static.

        ValueError if shapes differ from those of the first call. NotCapturable if the capture fails: nothing was
        computed on the device.
        """
        if self._inputs is None:
            self._inputs = StaticInputs(tensors)
        else:
            self._inputs.fill(tensors)
        if self._warm_up_left > 0:
            self._warm_up_left -= 1
            return self._recorder.warm_up(self._run)
        if self._replay is None:
            self._result, self._replay = self._recorder.capture(self._run)
        self._replay()
        return self._result

    def release(self) -> None:
        """Wait until the last replay is finished and free its memory; the next call warms up anew, with any shapes."""
        if self.captured:
            self._recorder.wait()
        self._inputs, self._result, self._replay = None, None, None
        self._warm_up_left = self._warm_up

    def _run(self) -> object:
        return self._function(*self._inputs.tensors)


@contextmanager
def forbidden_host_reads(device: torch.device) -> Iterator[None]:
    """Raise NotCapturable, naming the operation, if code inside waits for values of `device`.

    On a GPU every operation is found that synchronises; on the CPU, for tests, operations whose result or whose shape
    of the result is a value of a tensor.
    """
    if device.type == "cpu":
        with _NoHostReads():
            yield
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    except RuntimeError as error:
        if "synchronizing CUDA operation" not in str(error):
            raise
        raise NotCapturable(_first_line(error)) from error
    finally:
        torch.cuda.set_sync_debug_mode(before)


class _NoHostReads(TorchDispatchMode):
    """Mode in which operations raise NotCapturable whose result or result's shape is a value of a tensor."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, which takes seconds

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        by_value = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(function.tags)
        indexing = function.overloadpacket in _INDEXING
        if function in _WITHOUT_TAG or by_value and (not indexing or _has_boolean_index(args)):
            raise NotCapturable(f"{function} reads values of a tensor on the host")
        return function(*args, **(kwargs or {}))


# Composite operations, which inference mode dispatches whole: bool(tensor) and where(condition).
_WITHOUT_TAG = (torch.ops.aten.is_nonzero.default, torch.ops.aten.where.default)
_INDEXING = (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)


def _has_boolean_index(args: tuple) -> bool:
    """Return whether a tensor is indexed by a mask, so that the shape of the result is a value of the mask."""
    return any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1])


def _tensors(result: object) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, dict):
        for each in result.values():
            yield from _tensors(each)
    elif isinstance(result, (tuple, list)):
        for each in result:
            yield from _tensors(each)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
