"""Training steps whose kernels a GPU launches by itself.

A step of these small networks is two hundred kernels of a few microseconds each: to launch them
one by one takes the host five to ten times as long as they run. A CUDA graph holds them all, and
is launched at once.

Reference: https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from selfsort.training.data import Batch, moved

WARM_UP = 2
"""Steps before a capture, in which libraries choose and load what they need."""


class Replay:
    """One training step, captured for batches like the first one and replayed for each.

    Parameters
    ----------
    learn : callable
        From a batch on the device to what is wanted of the step; it changes weights, buffers and
        the optimizer's state, always in the same way, and draws no number.
    model : Module
    optimizer : Optimizer
        One that is "capturable".
    batch : Batch
        On the CPU. Others must have the same shapes.
    """

    def __init__(
        self,
        learn: Callable[[Batch], Tensor],
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batch: Batch,
    ) -> None:
        device = next(model.parameters()).device
        self.batch = moved(batch, device)
        self._warm_up(learn, model, optimizer)
        optimizer.zero_grad(set_to_none=True)  # so that the graph makes its own gradients
        self.graph = torch.cuda.CUDAGraph()
        stream = _side_stream(device)
        with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
            self.result = learn(self.batch)

    def _warm_up(
        self,
        learn: Callable[[Batch], Tensor],
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Go through some steps and undo them: every step that counts is a replay.

        A fit that goes on in the middle then makes the same kernels' steps as one that does not.
        """
        tensors = list(itertools.chain(model.parameters(), model.buffers()))
        before = [tensor.detach().clone() for tensor in tensors]
        state = {id(t): t.clone() for t in _state_of(optimizer)}
        try:
            side = _side_stream(self.batch["index"].device)
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    learn(self.batch)
            torch.cuda.current_stream().wait_stream(side)
        finally:  # also where memory ran out: the step is tried again with half of the images
            with torch.no_grad():
                torch._foreach_copy_(tensors, before)
                for tensor in _state_of(optimizer):
                    if id(tensor) in state:
                        tensor.copy_(state[id(tensor)])
                    else:  # made by the first step
                        tensor.zero_()

    def __call__(self, batch: Batch) -> Tensor:
        """Take the step with another batch; what it gives is overwritten by the next one."""
        for name, numbers in batch.items():
            self.batch[name].copy_(numbers.pin_memory(), non_blocking=True)
        self.graph.replay()
        return self.result


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all captures: libraries keep a workspace for every stream."""
    return torch.cuda.Stream(device)


def _state_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return the tensors that an optimizer keeps of the steps before."""
    return [
        value
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    ]
