"""Several processes that learn one thing: what each of them does, and what they exchange.

Every process holds the same network and draws the same random numbers. Of each batch it takes its
share, and what depends on the whole batch is exchanged: sums for the normalisation and for the
information term, the logits for bottlenecks that draw, and the gradients. The loss is the sum of
the processes' parts, and each exchange passes gradients back as its adjoint does, so that what is
learned is what one process learns, but for the order of sums.

Everything works with one process too, without `torch.distributed` and with the same bits as ever.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from selfsort.errors import InputError, ProcessLostError

PATIENCE = datetime.timedelta(minutes=30)
"""How long to wait for the others: the first process may be making pictures, or a checkpoint."""
Arrays = dict[str, Tensor]
T = TypeVar("T")


def n_processes() -> int:
    """Return how many processes learn together.

    Examples
    --------
    >>> n_processes()
    1
    """
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0; the first one writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def launched() -> bool:
    """Return whether torchrun started this process with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


def follows() -> bool:
    """Return whether another process writes what this one learns: the first one does.

    Examples
    --------
    >>> follows()
    False
    """
    return launched() and int(os.environ.get("RANK", "0")) > 0


def local_device() -> str:
    """Return the device of this process: its own GPU, if the machine has one for each process."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return f"cuda:{local}" if torch.cuda.device_count() >= here else "cpu"


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Learn together with the processes that torchrun started; alone, where there are none."""
    if not launched() or dist.is_initialized():
        yield
        return
    check_reachable()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except RuntimeError as error:
        raise ProcessLostError(
            f"Process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} does not reach the others "
            f"({str(error).splitlines()[0]}). Do all machines name the same --master-addr and "
            "--master-port, and does GLOO_SOCKET_IFNAME name the network that joins them?"
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def check_reachable() -> None:
    """Raise unless the other machines, if there are any, can find this one.

    gloo tells them the address that the machine's name stands for, which is its own loopback on
    many (Debian's installer writes 127.0.1.1 into /etc/hosts): they would reach themselves, and
    the first process would wait for half an hour.

    Raises
    ------
    InputError
        If its name stands for a loopback address, the first machine's does not, and
        ``GLOO_SOCKET_IFNAME`` names no interface instead.

    Examples
    --------
    >>> check_reachable()  # one process alone
    """
    processes, here = (int(os.environ.get(f"{whose}WORLD_SIZE", "1")) for whose in ("", "LOCAL_"))
    if processes == here or "GLOO_SOCKET_IFNAME" in os.environ:
        return
    name, first = socket.gethostname(), os.environ["MASTER_ADDR"]
    if _is_loopback(name) and not _is_loopback(first):
        raise InputError(
            f"The name of this machine, {name}, stands for an address that others cannot reach. "
            "Set GLOO_SOCKET_IFNAME to the network interface that joins the machines (eth0, say: "
            "`ip address` lists them), on each of them, and start again."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except OSError:  # a name that nobody knows: what comes next says so
        return False


@contextlib.contextmanager
def _exchanging() -> Iterator[None]:
    """Say in one line that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError(
            f"Process {rank()} of {n_processes()} lost the others "
            f"({str(error).splitlines()[0]}): the training ends here. To go on from its last "
            "checkpoint, with any number of processes, start it again with --resume RUN."
        ) from error


def share(n: int) -> slice:
    """Return which of n rows are this process's: one after the other, as even as can be.

    Examples
    --------
    >>> share(10)
    slice(0, 10, None)
    """
    return share_of(n, rank(), n_processes())


def share_of(n: int, rank: int, n_processes: int) -> slice:
    """Return which of n rows are a process's.

    Examples
    --------
    >>> [share_of(10, rank, 3) for rank in range(3)]
    [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
    """
    return slice(n * rank // n_processes, n * (rank + 1) // n_processes)


class _Summed(torch.autograd.Function):
    """The sum over all processes; its adjoint is the same."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _sum(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _sum(gradient.clone())


class _Gathered(torch.autograd.Function):
    """The rows of all processes; the adjoint sums over them, and takes this process's share."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, n: int) -> Tensor:
        ctx.n = n
        return gathered(rows, n)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _sum(gradient.clone())[share(ctx.n)], None


def _sum(values: Tensor) -> Tensor:
    """Sum over all processes, in place."""
    with _exchanging():
        values = values.contiguous()
        dist.all_reduce(values)
    return values


def summed(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, with gradients."""
    if n_processes() == 1:
        return values
    return _Summed.apply(values)


def mean_part(values: Tensor, n: int) -> Tensor:
    """Return this process's part of the mean over n values, of which it has its share."""
    return values.mean() if n_processes() == 1 else values.sum() / n


def mean_row(rows: Tensor) -> Tensor:
    """Return the mean over the rows of all processes.

    Examples
    --------
    >>> mean_row(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([2., 3.])
    """
    if n_processes() == 1:
        return rows.mean(0)
    sums = summed(torch.cat([rows.sum(0).flatten(), rows.new_tensor([len(rows)])]))
    return (sums[:-1] / sums[-1]).view(rows.shape[1:])


def whole(rows: Tensor, n: int) -> Tensor:
    """Return all n rows from every process's share of them, with gradients."""
    if n_processes() == 1:
        return rows
    return _Gathered.apply(rows, n)


@torch.no_grad()
def gathered(rows: Tensor, n: int) -> Tensor:
    """Return all n rows from every process's share of them, of any type."""
    count = n_processes()
    if count == 1:
        return rows
    sizes = [share_of(n, other, count) for other in range(count)]
    lengths = [part.stop - part.start for part in sizes]
    padded = rows.new_zeros((max(lengths), *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(count)]
    with _exchanging():
        dist.all_gather(parts, padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def dealt(tasks: Sequence[T], work: Callable[[T], Iterable[float]]) -> list[list[float]]:
    """Return what a function gives for each task, each worked out by one process.

    Examples
    --------
    >>> dealt([2, 3], lambda x: [x, x**2])
    [[2.0, 4.0], [3.0, 9.0]]
    """
    count = n_processes()
    mine = {i: [float(v) for v in work(tasks[i])] for i in range(rank(), len(tasks), count)}
    if count == 1:
        return list(mine.values())
    lengths = torch.zeros(len(tasks), dtype=torch.long)
    for i, values in mine.items():
        lengths[i] = len(values)
    found = torch.zeros(len(tasks), int(_sum(lengths).max()), dtype=torch.float64)
    for i, values in mine.items():
        found[i, : len(values)] = torch.tensor(values, dtype=torch.float64)
    rows = _sum(found).tolist()
    return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]


def add_gradients(weights: Iterable[torch.nn.Parameter]) -> None:
    """Replace every gradient by its sum over all processes, in one exchange."""
    if n_processes() == 1:
        return
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    flat = _sum(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def any_of(asked: bool) -> bool:
    """Return whether any process says so."""
    if n_processes() == 1:
        return asked
    return bool(_sum(torch.tensor([int(asked)]))[0])


def from_first(arrays: Arrays | None, facts: Mapping[str, Any] | None = None) -> tuple[Arrays, Any]:
    """Return the first process's arrays, and facts that JSON can hold, in every process.

    No pickle: names, types and shapes go as JSON, the rest as bytes.
    """
    if n_processes() == 1:
        return arrays or {}, facts
    kept = arrays or {}
    about = [[name, str(a.dtype).removeprefix("torch."), list(a.shape)] for name, a in kept.items()]
    text = torch.tensor(list(json.dumps([about, facts]).encode()), dtype=torch.uint8)
    with _exchanging():
        length = torch.tensor([len(text)])
        dist.broadcast(length, 0)
        if rank():
            text = torch.empty(int(length[0]), dtype=torch.uint8)
        dist.broadcast(text, 0)
        about, facts = json.loads(bytes(text.tolist()))
        found = {}
        for name, kind, shape in about:
            array = torch.empty(shape, dtype=getattr(torch, kind))
            if not rank():
                array = kept[name].detach().cpu().contiguous()
            if array.numel():
                dist.broadcast(array.view(-1).view(torch.uint8), 0)
            found[name] = array
    return found, facts
