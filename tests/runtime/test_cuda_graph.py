"""CUDA graphs: static buffers, warm-up and replay, with a recorder that replays on the CPU."""

import pytest
import torch

from dmgan.runtime.cuda_graph import CudaGraph, NotCapturable, StaticInputs, forbidden_host_reads
from tests.conftest import CPU
from tests.runtime.eager_recorder import EagerRecorder


def test_static_inputs_keep_addresses_memory_format_and_none():
    image = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    static = StaticInputs([image, None])
    buffer = static.tensors[0]
    assert buffer.is_contiguous(memory_format=torch.channels_last) and torch.equal(buffer, image)
    address, new = buffer.data_ptr(), torch.rand(2, 3, 4, 4)
    static.fill([new, None])
    assert static.tensors[0].data_ptr() == address and torch.equal(buffer, new) and static.tensors[1] is None


@pytest.mark.parametrize(
    "wrong", [[torch.zeros(3)], [torch.zeros(2, dtype=torch.int64)], [None], [torch.zeros(2), None]]
)
def test_static_inputs_refuse_other_shapes_and_types(wrong):
    static = StaticInputs([torch.zeros(2)])
    assert static.fits([torch.ones(2)]) and not static.fits(wrong)
    with pytest.raises(ValueError, match="not "):
        static.fill(wrong)


def test_a_pure_function_gives_its_results_before_and_after_the_capture():
    recorder = EagerRecorder()
    graph = CudaGraph(lambda x, y: {"sum": x + y, "list": [x * y]}, warm_up=2, recorder=recorder)
    for call in range(6):
        x, y = torch.rand(3), torch.rand(3)
        found = graph(x, y)
        assert torch.equal(found["sum"], x + y) and torch.equal(found["list"][0], x * y)
        assert graph.captured == (call >= 2)
    assert (recorder.warm_ups, recorder.captures, recorder.replays) == (2, 1, 4)


def test_a_function_that_changes_state_is_computed_once_per_call():
    weight = torch.zeros(2)

    def step(gradient):
        weight.sub_(gradient)  # in place: the graph knows the address
        return weight.clone()

    graph, expected = CudaGraph(step, recorder=EagerRecorder(state=[weight])), torch.zeros(2)
    for call in range(8):
        gradient = torch.full((2,), float(call))
        expected -= gradient
        assert torch.equal(graph(gradient), expected)
    assert torch.equal(weight, expected)


def test_captured_results_are_overwritten_by_the_next_call():
    graph = CudaGraph(lambda x: x + 1, warm_up=0, recorder=EagerRecorder())
    first = graph(torch.zeros(2))
    assert graph(torch.ones(2)) is first and first.tolist() == [2, 2]


def test_a_released_graph_warms_up_again_with_another_shape():
    graph = CudaGraph(lambda x: x + 1, warm_up=0, recorder=EagerRecorder())
    graph(torch.zeros(2))
    with pytest.raises(ValueError, match="not "):
        graph(torch.zeros(3))
    graph.release()
    assert not graph.captured and graph(torch.zeros(3)).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "reads",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: torch.where(x > 0),
        lambda x: torch.allclose(x, x),
    ],
)
def test_host_reads_are_found_without_a_gpu(reads):
    with pytest.raises(NotCapturable, match="aten"), torch.inference_mode(), forbidden_host_reads(CPU):
        reads(torch.rand(4))


def test_computations_on_the_device_are_allowed():
    with torch.inference_mode(), forbidden_host_reads(CPU):
        x = torch.rand(4, 4)
        x[torch.tensor([1, 0, 2, 2])].masked_fill(x > 0.5, 0.0).softmax(1)
