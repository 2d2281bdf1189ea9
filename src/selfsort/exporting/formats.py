"""A graph in the formats that other programs read."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from selfsort.errors import InputError
from selfsort.exporting.graph import INPUT, Graph

Runner = Callable[[np.ndarray], tuple[np.ndarray, ...]]
"""From a batch to the outputs of a graph, in their order."""
OPSET = 20
"""Of ONNX's operators: version 1.15 of November 2023 has it, and onnxruntime since 1.17."""
NEEDED = ("onnx", "onnxruntime", "onnxscript")


def check_onnx_is_there() -> None:
    """Raise unless the packages of the extra are installed."""
    if not all(importlib.util.find_spec(name) for name in NEEDED):
        raise InputError("ONNX needs more packages: pip install 'selfsort[onnx]'")


def write_program(graph: Graph, path: Path) -> Runner:
    """Write the graph as `torch.export` does, and return what runs it."""
    content = io.BytesIO()  # to a path it wants to choose the ending
    with _quiet():
        program = _program(graph)
        torch.export.save(program, content)
        module = program.module()
    path.write_bytes(content.getvalue())

    def run(batch: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.no_grad():
            return tuple(output.numpy() for output in module(torch.from_numpy(batch)))

    return run


def write_onnx(graph: Graph, path: Path, facts: Mapping[str, object]) -> Runner:
    """Write the graph as one ONNX file, and return what runs it, in onnxruntime.

    Parameters
    ----------
    graph : Graph
    path : Path
    facts : mapping of str to anything that JSON holds
        For the file's metadata; what is no text is written as JSON.
    """
    import onnx
    import onnxruntime
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    with _quiet():
        written = torch.onnx.export(
            _program(graph),
            (graph.inputs.example(),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(graph.outputs),
            dynamic_shapes=(graph.inputs.dynamic_shapes(),),
            verbose=False,
        )
    assert written is not None  # noqa: S101 - without a path it returns the model
    RemoveUnusedNodesPass()(written.model)
    model = written.model_proto
    model.producer_name = "selfsort"
    for name, value in facts.items():
        entry = model.metadata_props.add()
        entry.key = name
        entry.value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda batch: tuple(session.run(None, {INPUT: batch}))


def _program(graph: Graph) -> torch.export.ExportedProgram:
    # A new one each time: turning it into ONNX leaves marks in it.
    shapes = (graph.inputs.dynamic_shapes(),)
    with PlainDistances():
        return torch.export.export(graph, (graph.inputs.example(),), dynamic_shapes=shapes)


class PlainDistances(TorchFunctionMode):
    """While it lasts, `torch.cdist` is a sum of squares, for any number of rows.

    PyTorch chooses one of two ways by that number, which a graph for any batch cannot.

    Examples
    --------
    >>> with PlainDistances():
    ...     torch.cdist(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
    tensor([[5.]])
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call a function of PyTorch."""
        if function is torch.cdist:
            left, right = args
            return (left[..., :, None, :] - right[..., None, :, :]).square().sum(-1).sqrt()
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what PyTorch says of itself while exporting from people who cannot change it."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
