"""A model card: Markdown for people, with a header for the hub."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from selfsort import checkpoints
from selfsort.checkpoints import Config
from selfsort.errors import InputError, one_line
from selfsort.hub import facts
from selfsort.report.numbers import count, decimal, percent
from selfsort.report.reading import read_history, read_result
from selfsort.report.sections import FIGURES
from selfsort.report.words import n_training, summary

PICTURE = "prototypes.png"
NO_REPO = "user/name"


def check_extra() -> None:
    """Raise where the packages of the extra `hub` are missing."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise InputError("Model cards and the hub need more packages: pip install 'selfsort[hub]'")


def model_card(
    folder: str | Path, *, repo_id: str | None = None, licence: str | None = None
) -> str:
    """Return the model card of a run, or of a model that `save` wrote.

    Parameters
    ----------
    folder : str or Path
        With ``config.json`` and ``model.safetensors``; of a run, also with ``result.json``, from
        which data, figures and origin are taken.
    repo_id : str or None, default=None
        Where it will lie on the hub, such as "user/name", for the lines that show its use.
    licence : str or None, default=None
        Of the weights, as the hub writes it, such as "cc-by-4.0"; None: the card says that it is
        not stated.

    Returns
    -------
    card : str
        Markdown; its header (between lines of ``---``) is what the hub reads.

    Raises
    ------
    InputError
        If the folder holds no model, or the extra `hub` is missing.

    References
    ----------
    Mitchell et al. (2019), arXiv:1810.03993, on what a model card should say.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> from selfsort import Autoencoder
    >>> from selfsort.hub import model_card
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = Autoencoder(style_dim=4, epochs=1, random_state=0)
    ...     model.fit(load_digits().images[:50]).save(folder)
    ...     card = model_card(folder, licence="mit")
    >>> print(card.split("# ")[1].splitlines()[0])
    An autoencoder of images
    """
    check_extra()
    from huggingface_hub import ModelCard

    folder = Path(folder)
    config, _ = checkpoints.load(folder)
    result = read_result(folder) if (folder / "result.json").exists() else {}
    header = _header(config, result, licence)
    body = _body(folder, config, result, repo_id, licence)
    form = "---\n{{ card_data }}\n---\n\n{{ body }}"
    return str(ModelCard.from_template(header, template_str=form, body=body))


def _header(config: Config, result: Mapping[str, Any], licence: str | None) -> Any:
    from huggingface_hub import ModelCardData

    results = _eval_results(config, result)
    task = "image-classification" if config.n_classes else "image-feature-extraction"
    return ModelCardData(
        library_name="selfsort",
        pipeline_tag=task,
        license=licence.lower() if licence else None,
        tags=["selfsort", "autoencoder", *(_tags(config, result))],
        metrics=["accuracy"] if results else None,
        eval_results=results or None,
        model_name=one_line(facts.title(config, result)) if results else None,
    )


def _tags(config: Config, result: Mapping[str, Any]) -> list[str]:
    if config.estimator == "AutoencoderClusterer":
        return ["clustering", "unsupervised"]
    n_images = n_training(result)
    few = n_images and (result.get("n_labels") or 0) < n_images and config.n_classes
    return ["semi-supervised"] if few else []


def _eval_results(config: Config, result: Mapping[str, Any]) -> list[Any]:
    """Return the figures as the hub's tables take them; the name says where classes are matched."""
    from huggingface_hub import EvalResult

    part = "test" if result.get("test") else "train"
    scores = result.get(part) or {}
    if scores.get("accuracy") is None:
        return []
    matched = ", classes matched to labels" if result.get("matched") else ""
    names = {"accuracy": f"accuracy{matched}", "nmi": "NMI", "ari": "ARI"}
    data = one_line(str(result.get("data") or "images"))
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=data,
            dataset_name=data,
            dataset_split=part,
            metric_type=key,
            metric_name=name,
            metric_value=round(float(scores[key]), 6),
        )
        for key, name in names.items()
        if scores.get(key) is not None
    ]


def _body(
    folder: Path,
    config: Config,
    result: Mapping[str, Any],
    repo_id: str | None,
    licence: str | None,
) -> str:
    sets = [(name, result[part]) for part, name in _PARTS if result.get(part)]
    return (
        _environment()
        .get_template("card.md")
        .render(
            title=facts.title(config, result),
            summary=summary(result, read_history(folder)) if result else [_what_it_is(config)],
            has_picture=(folder / PICTURE).is_file(),
            data=facts.data_rows(config, result),
            classes=facts.class_lines(config, result),
            sets=sets,
            figures=FIGURES,
            measured=facts.measured_lines(result),
            choices=facts.choice_lines(config, result),
            limits=facts.limit_lines(config, result),
            repo=json.dumps(repo_id or NO_REPO, ensure_ascii=False),
            images=facts.images_in_words(config),
            n_classes=config.n_classes,
            command=facts.command_of(result),
            origin=facts.origin_rows(result),
            licences=facts.licence_lines(result, licence),
        )
    )


_PARTS = (("train", "training"), ("test", "test"))


def _what_it_is(config: Config) -> str:
    kind = "without classes" if not config.n_classes else f"with {config.n_classes} classes"
    return f"An autoencoder {kind}, saved from Python: its figures were not kept."


def _environment() -> Environment:
    """Return what fills the template in: every value is text, whatever it looks like."""
    environment = Environment(  # noqa: S701 - this is Markdown, and `finalize` escapes it
        loader=PackageLoader("selfsort"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else as_text(str(value)),
    )
    environment.globals.update(formats={"percent": percent, "decimal": decimal, "count": count})
    environment.filters["code"] = lambda value: Markup(one_line(str(value)))  # noqa: S704
    return environment


def as_text(text: str) -> str:
    r"""Return Markdown that shows a text as it is, in one line.

    Examples
    --------
    >>> print(as_text("<b>1_000</b> | [a](b)"))
    \<b\>1\_000\</b\> \| \[a\](b)
    """
    return re.sub(r"([\\`*_\[\]<>&#|~$]|:(?=//)|(?<=www)\.)", r"\\\1", one_line(text))
