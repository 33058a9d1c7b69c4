"""A recorder of CUDA graphs without a GPU: a replay calls the function again and fills the captured results."""

import torch
from torch.utils._pytree import tree_leaves


class EagerRecorder:
    """Counts warm-ups, captures and replays; a capture leaves the tensors `state` as they were, as on a GPU.

    state: tensors, or a function that returns the tensors, for state that the warm-up creates.
    """

    def __init__(self, state=()):
        self._state = state if callable(state) else lambda: state
        self.warm_ups = self.captures = self.replays = 0

    def wait(self):
        pass

    def warm_up(self, function):
        self.warm_ups += 1
        return function()

    def capture(self, function):
        self.captures += 1
        before, random_state = [each.clone() for each in self._state()], torch.get_rng_state()
        result = function()
        torch.set_rng_state(random_state)
        for each, values in zip(self._state(), before, strict=True):
            each.copy_(values)

        def replay():
            self.replays += 1
            for buffer, values in zip(tree_leaves(result), tree_leaves(function()), strict=True):
                if isinstance(buffer, torch.Tensor):
                    buffer.copy_(values)

        return result, replay
