"""Models to and from the Hugging Face Hub: safetensors and JSON, checked on arrival."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selfsort.checkpoints import CONFIG, WEIGHTS
from selfsort.errors import InputError, one_line
from selfsort.estimators import load_estimator
from selfsort.estimators.base import BaseAutoencoder
from selfsort.hub.card import PICTURE, check_extra, model_card
from selfsort.verified import MANIFEST, manifest, naming

README = "README.md"
NAME = "selfsort"
"""What the manifest calls the folder, wherever it lies."""
OWN = (CONFIG, WEIGHTS, MANIFEST)


def push_to_hub(
    model: Any,
    repo_id: str,
    *,
    token: str | None = None,
    private: bool | None = None,
    message: str = "Upload a selfsort model",
) -> str:
    """Upload a fitted estimator, or the model of a run, with its card.

    Everything goes up in one commit: ``model.safetensors``, ``config.json``, ``manifest.json``
    with the checksums of both, ``README.md`` and, of a run, ``prototypes.png``. A ``README.md`` in
    the run's folder, such as `selfsort card` writes, is taken as it is. Nothing else of a run
    leaves the machine.

    Parameters
    ----------
    model : estimator, str or Path
        A fitted estimator, or the folder of a run.
    repo_id : str
        Such as "user/name"; made where there is none.
    token : str or None, default=None
        None: the one that ``hf auth login`` or ``HF_TOKEN`` gives.
    private : bool or None, default=None
        Whether a new repository can be seen by its owner only; None: as is usual for the owner.
    message : str
        Of the commit.

    Returns
    -------
    url : str
        Of the commit.

    Raises
    ------
    InputError
        If the model is damaged, the hub refuses it or cannot be reached, or the extra `hub` is
        missing.
    NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> import selfsort
    >>> selfsort.push_to_hub("runs/digits-sort", "user/digits")  # doctest: +SKIP
    'https://huggingface.co/user/digits/commit/0c4f...'
    """
    check_extra()
    from huggingface_hub import CommitOperationAdd, HfApi

    if isinstance(model, str | Path):
        files = _files(Path(model), repo_id)
    elif isinstance(model, BaseAutoencoder):
        with tempfile.TemporaryDirectory() as folder:
            model.save(folder)
            files = _files(Path(folder), repo_id)
    else:
        raise InputError(
            "push_to_hub takes a fitted estimator of selfsort, or the folder of a run. Got "
            f"{type(model).__name__} instead."
        )
    with _one_line(repo_id):
        api = HfApi(token=token, library_name="selfsort")
        api.create_repo(repo_id, private=private, exist_ok=True)
        added = [CommitOperationAdd(name, content) for name, content in files.items()]
        done = api.create_commit(repo_id, added, commit_message=message)
    return str(done.commit_url)


def _files(folder: Path, repo_id: str) -> dict[str, bytes]:
    """Return what is uploaded of a folder, after it was found sound."""
    load_estimator(folder)
    with naming(folder):
        files = {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}
        files[MANIFEST] = manifest(NAME, _digests(files))
        for name in (README, PICTURE):
            if (folder / name).is_file():
                files[name] = (folder / name).read_bytes()
    if README not in files:
        files[README] = model_card(folder, repo_id=repo_id).encode()
    return files


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def from_hub(repo_id: str, *, revision: str | None = None, token: str | None = None) -> Any:
    """Return the estimator that `push_to_hub` uploaded.

    Only ``config.json``, ``model.safetensors`` and ``manifest.json`` are fetched, into the cache
    of ``huggingface_hub``; without a network, a copy that is there is taken. They are compared
    with the checksums of the manifest, and read as `load` reads them: no code of theirs is run.

    Parameters
    ----------
    repo_id : str
        Such as "user/name".
    revision : str or None, default=None
        A branch, tag or commit; None: the main branch. A commit cannot be changed by anybody.
    token : str or None, default=None
        For what is not public; None: the one that ``hf auth login`` or ``HF_TOKEN`` gives.

    Returns
    -------
    estimator : Autoencoder, AutoencoderClusterer or AutoencoderClassifier

    Raises
    ------
    InputError
        If there is no such repository or model, it cannot be reached, it is not what was
        uploaded, or the extra `hub` is missing.

    Examples
    --------
    >>> import selfsort
    >>> model = selfsort.from_hub("user/digits")  # doctest: +SKIP
    """
    check_extra()
    from huggingface_hub import snapshot_download

    with _one_line(repo_id):
        folder = snapshot_download(
            repo_id,
            revision=revision,
            token=token,
            allow_patterns=list(OWN),
            library_name="selfsort",
        )
    _check(Path(folder), repo_id)
    return load_estimator(folder)


def _check(folder: Path, repo_id: str) -> None:
    """Raise unless the files are those that the manifest was written for."""
    missing = [name for name in OWN if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{repo_id}: holds no model of selfsort (there is no {missing[0]}). Name a repository "
            "that selfsort.push_to_hub has written."
        )
    with naming(folder):
        files = {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}
        written = (folder / MANIFEST).read_bytes()
    digests = _digests(files)
    if manifest(NAME, digests) != written:
        changed = [name for name, digest in digests.items() if digest.encode() not in written]
        what = " and ".join(changed) or MANIFEST
        raise InputError(
            f"{repo_id}: {what} is not what was uploaded (in {folder}). Delete that folder to "
            "fetch it again, or ask whoever publishes it."
        )


@contextlib.contextmanager
def _one_line(repo_id: str) -> Iterator[None]:
    """Turn whatever the hub or the network says into one sentence."""
    from huggingface_hub import errors

    http_error: Any = errors.HfHubHTTPError.__mro__[1]  # of httpx, or of what takes its place
    try:
        yield
    except errors.HFValidationError as error:
        raise InputError(
            f"'{repo_id}' is no name of a repository: give one such as user/name."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"{repo_id}: has no such revision. Give a branch, tag or commit."
        ) from error
    except errors.GatedRepoError as error:
        raise InputError(
            f"{repo_id}: its owner lets in only whom they know. Ask on its page, then log in with "
            "'hf auth login'."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{repo_id}: there is no such repository, or you may not see it. Check the name, and "
            "log in with 'hf auth login' if it is private."
        ) from error
    except (http_error, OSError, ValueError, RuntimeError) as error:
        raise _refused(repo_id, error) from error


def _refused(repo_id: str, error: BaseException) -> InputError:
    """Return the sentence for an answer that is none of the usual ones, or for none at all."""
    from huggingface_hub import constants

    error = error if error.__cause__ is None else error.__cause__  # of an upload: what it met
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status in (401, 403):
        return InputError(
            f"{repo_id}: you may not do that (the hub says {status}). Log in with 'hf auth login', "
            "with a token that may write."
        )
    if status is not None:
        said = getattr(error, "server_message", None)
        why = f": {one_line(str(said)).rstrip('.')}" if said else ""
        return InputError(
            f"{repo_id}: the hub refuses (it says {status}{why}). Mend what it names, or try again "
            "later."
        )
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return InputError(
        f"{repo_id}: {constants.ENDPOINT} cannot be reached ({reason.rstrip('.')}). Try again with "
        "a network."
    )
