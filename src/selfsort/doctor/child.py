"""The process that a stranger's module runs in: a crash or a hang there is not ours.

``python -m selfsort.doctor.child FOLDER`` reads ``request.json`` and ``images.npz`` of a folder
and writes ``answer.json``, and ``rebuilt.npz``.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfsort.doctor.examination import examine, to_dict
from selfsort.doctor.patient import MakeOptimizer
from selfsort.errors import InputError, SelfsortError

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}


def main(folder: Path) -> None:
    """Answer the request that lies in a folder."""
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    try:
        answer = _answer(request, folder)
    except SelfsortError as error:
        answer = {"error": str(error)}
    except Exception as error:  # whatever a stranger's code raises while it trains
        what = f"{request['file']}: {request['class']}"
        answer = {"error": f"{what} cannot be trained ({type(error).__name__}: {error})."}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def _answer(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    if request["threads"]:
        torch.set_num_threads(request["threads"])
    torch.manual_seed(request["seed"])
    path = Path(request["file"])
    code = _run_file(path)
    module = _module(code, path, request["class"])
    with np.load(folder / "images.npz", allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays.get("labels")
    found = examine(
        module,
        images,
        labels,
        prepare=_prepare(code, request["normalise"]),
        loss=_function(code, "loss"),
        optimizer=_optimizer(code, request["optimizer"], request["lr"]),
        random_state=request["seed"],
    )
    np.savez(folder / "rebuilt.npz", images=found.images, rebuilt=found.rebuilt)
    return to_dict(found)


def _run_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: is no Python file. Give FILE.py:CLASS.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # as Python does for a file that it runs
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a stranger's file raises
        raise InputError(f"{path}: cannot be run ({type(error).__name__}: {error}).") from error
    return module


def _module(code: Any, path: Path, name: str) -> nn.Module:
    found = getattr(code, name, None)
    if isinstance(found, nn.Module):
        return found
    if found is None:
        known = [key for key, value in vars(code).items() if _is_module_class(value, code)]
        hint = f" It has {', '.join(known)}." if known else ""
        raise InputError(f"{path}: has no '{name}'.{hint}")
    if not callable(found):
        raise InputError(f"{path}: {name} is no class, function or torch.nn.Module.")
    try:
        module = found()
    except Exception as error:  # whatever a stranger's class raises
        raise InputError(
            f"{path}: {name}() cannot be made ({type(error).__name__}: {error}). Give a class or "
            "a function that needs no arguments."
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{path}: {name}() is no torch.nn.Module, but {type(module).__name__}.")
    return module


def _is_module_class(value: Any, code: Any) -> bool:
    own = getattr(value, "__module__", None) == code.__name__
    return own and isinstance(value, type) and issubclass(value, nn.Module)


def _function(code: Any, name: str) -> Any:
    """Return a function of the file; None for what only has its name, such as a tensor."""
    found = getattr(code, name, None)
    return found if callable(found) else None


def _prepare(code: Any, normalise: list[float] | None) -> Callable[[Tensor], Tensor] | None:
    if normalise is None:
        return _function(code, "prepare")
    mean, deviation = normalise
    return lambda images: (images - mean) / deviation


def _own_optimizer(code: Any) -> MakeOptimizer | None:
    """Return what makes the file's optimizer: its function, or the kind that it made itself."""
    found = getattr(code, "optimizer", None)
    if isinstance(found, torch.optim.Optimizer):
        kind: Any = type(found)
        known = inspect.signature(kind).parameters
        settings = {name: value for name, value in found.defaults.items() if name in known}
        return lambda parameters: kind(parameters, **settings)
    return found if callable(found) else None


def _optimizer(code: Any, name: str | None, lr: float | None) -> MakeOptimizer | None:
    own = _own_optimizer(code)
    if name is None and lr is None:
        return own
    if name is not None:
        kind = OPTIMIZERS[name]
        more: dict[str, Any] = {} if lr is None else {"lr": lr}
        return lambda parameters: kind(parameters, **more)

    def with_rate(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = (own or torch.optim.Adam)(parameters)
        for group in made.param_groups:
            group["lr"] = lr
        return made

    return with_rate


if __name__ == "__main__":
    main(Path(sys.argv[1]))
