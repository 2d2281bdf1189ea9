"""One file with all that another program needs of a model, checked before it gets its name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from selfsort.checkpoints import write_atomically
from selfsort.errors import InputError, ran_out_of_memory
from selfsort.exporting.checking import largest_difference
from selfsort.exporting.formats import Runner, check_onnx_is_there, write_onnx, write_program
from selfsort.exporting.graph import Graph, graph_of
from selfsort.exporting.page import check_page, page_of
from selfsort.version import __version__

ENDINGS = {".onnx": "ONNX", ".pt2": "torch.export", ".html": "a page to draw on"}


class Exported(NamedTuple):
    """What was written: the file, its size, and how near it is to the estimator.

    `difference` is the largest between a probability (without classes: a feature, the largest one
    being 1) of the graph and of the estimator, on images like those of the fit.
    """

    path: Path
    n_bytes: int
    difference: float


def export(
    estimator: Any,
    path: str | Path,
    *,
    command: str | None = None,
    runtime: str | Path | None = None,
    force: bool = False,
) -> Exported:
    """Write a fitted estimator into one file that other programs run.

    The file takes what the estimator takes, in the same layout and units. All that happens to it
    is inside: padding, resizing, scaling, the second look at images in doubt. Images of bytes may
    have any size, and are resized as `selfsort predict` resizes pictures, to the same bit. Before
    the file gets its name, it is run and compared with the estimator.

    Parameters
    ----------
    estimator : Autoencoder, AutoencoderClusterer or AutoencoderClassifier
        Fitted.
    path : str or Path
        Its ending says what is written: ``.onnx``, ``.pt2`` (for `torch.export.load`), or
        ``.html``, a page that classifies drawings in a browser, without a server.
    command : str, optional
        What made the model, for the metadata.
    runtime : str or Path, optional
        For a page: the folder of the npm package onnxruntime-web, which the page takes along.
    force : bool, default=False
        Replace an existing file.

    Returns
    -------
    exported : Exported

    Raises
    ------
    InputError
        If the ending is none of these, the file exists, packages are missing, the model cannot be
        exported, or what was written says something else than the model. Nothing is written then.

    Notes
    -----
    Outputs: ``probability`` ``(n, n_classes)`` float32, as `predict_proba`; ``label`` ``(n,)``
    int64, an index into the names of the metadata's ``classes``; ``reconstruction`` float32, as
    `reconstruct`. An `Autoencoder` without classes has ``features``, as `transform`, and
    ``reconstruction``.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> from selfsort import Autoencoder
    >>> from selfsort.exporting import export
    >>> digits = load_digits().data[:50]
    >>> autoencoder = Autoencoder(style_dim=4, epochs=1, random_state=0).fit(digits)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     exported = export(autoencoder, Path(folder, "features.pt2"))
    >>> exported.path.name, exported.difference < 1e-5
    ('features.pt2', True)
    """
    path = Path(path)
    ending = _check_path(path, force=force)
    check_is_fitted(estimator, "model_")
    if ending != ".pt2":
        check_onnx_is_there()
    if ending == ".html":
        check_page(estimator, runtime)
    elif runtime is not None:
        raise InputError(f"{path}: only a page (.html) takes a runtime along. Leave it out.")
    facts = facts_of(estimator, command)
    difference = 0.0

    def write(temporary: Path) -> None:
        nonlocal difference
        as_onnx = functools.partial(write_onnx, facts=facts)
        run = _written(estimator, temporary, write_program if ending == ".pt2" else as_onnx)
        difference = largest_difference(estimator, run)
        if ending == ".html":
            content = page_of(estimator, facts, temporary.read_bytes(), Path(runtime or ""))
            temporary.write_text(content, encoding="utf-8")

    write_atomically(path, write)
    return Exported(path, path.stat().st_size, difference)


def _written(estimator: Any, path: Path, write: Callable[[Graph, Path], Runner]) -> Runner:
    """Write the graph of an estimator, and return what runs it."""
    try:
        return write(graph_of(estimator), path)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:  # PyTorch has many
        if ran_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error) else type(error)
        raise InputError(
            f"The model with the network '{estimator.network_}' and the bottleneck "
            f"'{getattr(estimator, 'bottleneck', 'none')}' cannot be exported ({reason}). Nothing "
            "was written: use 'selfsort predict' in its place."
        ) from error


def _check_path(path: Path, *, force: bool) -> str:
    """Return the ending of a path where a file may be written."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        known = ", ".join(f"{name} ({what})" for name, what in ENDINGS.items())
        raise InputError(f"{path}: its ending says what to write. Give one of {known}.")
    if path.exists() and not force:
        raise InputError(f"{path}: exists already. Give another name, or --force to replace it.")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{path}: cannot be written there. Give a file in an existing folder.")
    return ending


def facts_of(estimator: Any, command: str | None) -> dict[str, object]:
    """Return what a file says of its model, as JSON can hold it."""
    facts: dict[str, object] = {
        "selfsort": __version__,
        "estimator": type(estimator).__name__,
        "shape": list(estimator.input_shape_),
        "layout": estimator.input_layout_,
        "range": list(estimator.input_range_),
    }
    if hasattr(estimator, "style_means_"):
        n_classes = len(estimator.style_means_)
        classes = getattr(estimator, "classes_", np.arange(n_classes))
        facts["classes"] = [str(name) for name in classes.tolist()]
    return facts if command is None else facts | {"command": command}
