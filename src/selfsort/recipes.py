"""Recipes: named compositions of network, bottleneck, objective and training.

A recipe is data: an estimator and its parameters. All of the question's systems are here, as
they stand there; nothing in them is tuned. Normalised units are ``(x - 0.1307) / 0.3081``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from selfsort.errors import unknown_name

MEAN, STD = 0.1307, 0.3081
NORMALISED = 1 / STD**2
"""Multiplier that turns a squared error of [0, 1] pixels into one of normalised pixels."""


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    Attributes
    ----------
    name, description : str
    estimator : str
        Name of the estimator class.
    labels : {"none", "all", "any"}
        Which labels it learns from; "any": those that are given.
    parameters : dict
        The estimator's parameters, where they differ from its defaults.
    extra : {"svm", "tradeoff", None}
        What else the run does: a support vector machine on the features, or one fit for each
        of several multipliers.
    """

    name: str
    description: str
    estimator: str
    labels: Literal["none", "all", "any"]
    parameters: dict[str, Any] = field(default_factory=dict)
    extra: Literal["svm", "tradeoff"] | None = None


_AS_ASKED = {
    "style_dim": 0,
    "transform_strength": 0.0,
    "mean": MEAN,
    "std": STD,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "momentum": 0.5,
    "weight_decay": 0.0,
    "schedule": "constant",
    "batch_size": 64,
    "epochs": 10,
    "reconstruction_weight": NORMALISED,
}
_QUESTION = {
    **_AS_ASKED,
    "epochs": 6,
    "method": "direct",
    "network": "question",
    "bottleneck": "rectified-softmax",
}
_JOINT = {
    **_AS_ASKED,
    "network": "question-rectified",
    "reconstruction_weight": 0.5 * NORMALISED,
    "classification_weight": 0.5,
}

_BOUND = {
    "method": "direct",
    "network": "dense",
    "style_dim": 0,
    "reconstruction": "nll",
    "divergence_weight": 1.0,
    "transform_strength": 0.0,
    "binarize": True,
    "batch_size": 256,
}
"""The evidence lower bound of black and white images, in nats."""


def _bound(name: str, description: str, bottleneck: str, **parameters: Any) -> Recipe:
    own = {"bottleneck": bottleneck, "bottleneck_parameters": parameters}
    return Recipe(name, description, "AutoencoderClusterer", "none", {**_BOUND, **own})


_ALL = (
    Recipe(
        "sort",
        "Classes without labels: fine clusters, grouping, self-training, decoder. The default "
        "without labels.",
        "AutoencoderClusterer",
        "none",
    ),
    Recipe(
        "teach",
        "Classes from the labels there are. The default with labels.",
        "AutoencoderClassifier",
        "any",
    ),
    Recipe(
        "question",
        "The asker's model as it stands: it does not learn the classes.",
        "AutoencoderClusterer",
        "none",
        _QUESTION,
    ),
    # Each of the next five mends one thing more than the one before.
    Recipe(
        "question-sigmoid-output",
        "The asker's model without the ReLU before the output's sigmoid.",
        "AutoencoderClusterer",
        "none",
        {**_QUESTION, "network": "question-sigmoid"},
    ),
    Recipe(
        "question-linear-output",
        "And with an output that reaches every pixel value.",
        "AutoencoderClusterer",
        "none",
        {**_QUESTION, "network": "question-linear"},
    ),
    Recipe(
        "question-plain-softmax",
        "And without the ReLU before the softmax.",
        "AutoencoderClusterer",
        "none",
        {**_QUESTION, "network": "question-linear", "bottleneck": "softmax"},
    ),
    Recipe(
        "question-normalised-logits",
        "And with normalised features, so that the softmax is not saturated.",
        "AutoencoderClusterer",
        "none",
        {**_QUESTION, "network": "question-linear-normalised", "bottleneck": "softmax"},
    ),
    Recipe(
        "question-all-fixed",
        "And with Adam: everything mended.",
        "AutoencoderClusterer",
        "none",
        {
            **_QUESTION,
            "network": "question-linear-normalised",
            "bottleneck": "softmax",
            "optimizer": "adam",
            "learning_rate": 0.001,
        },
    ),
    Recipe(
        "plain",
        "First answer: a convolutional autoencoder without classes. It converges.",
        "Autoencoder",
        "none",
        {
            "network": "plain",
            "style_dim": 0,
            "optimizer": "adam",
            "learning_rate": 0.001,
            "weight_decay": 1e-5,
            "schedule": "constant",
            "batch_size": 16,
            "epochs": 20,
        },
    ),
    Recipe(
        "features-svm",
        "An autoencoder's features, then scikit-learn's SVC on them, and on raw pixels.",
        "Autoencoder",
        "all",
        {"epochs": 4},
        "svm",
    ),
    Recipe(
        "gumbel",
        "A 10-way bottleneck with the Gumbel-softmax, reconstruction only, no labels.",
        "AutoencoderClusterer",
        "none",
        {
            "method": "direct",
            "bottleneck": "gumbel",
            "style_dim": 0,
            "transform_strength": 0.0,
            "batch_size": 256,
            "epochs": 4,
        },
    ),
    # The bottlenecks of the papers, all with the same encoder and decoder.
    _bound(
        "categorical",
        "20 groups of 10 categories with the Gumbel-softmax: a categorical autoencoder.",
        "gumbel",
        groups=20,
        categories=10,
    ),
    _bound(
        "categorical-straight-through",
        "The same, the decoder seeing one-hot codes.",
        "gumbel",
        groups=20,
        categories=10,
        straight_through=True,
    ),
    _bound(
        "categorical-score",
        "The same, with an unbiased gradient: leave-one-out draws.",
        "leave-one-out",
        groups=20,
        categories=10,
    ),
    _bound("dvae", "The discrete variational autoencoder: 128 binary units, a prior.", "dvae"),
    _bound("gumbolt", "The same, smoothed as GumBolt.", "dvae", smoothing="gumbolt"),
    _bound("vq", "Vector quantisation: 8 groups of 32 vectors.", "vq", groups=8, categories=32),
    _bound("vade", "The class as a component of a Gaussian mixture.", "vade"),
    _bound("m2", "A class and a style, as many decodings as classes.", "m2"),
    _bound(
        "gmvae", "The same, with a prior of the style for each class.", "m2", style_prior="class"
    ),
    Recipe(
        "m2-labels",
        "A class and a style from a few labels: the semi-supervised model M2.",
        "AutoencoderClassifier",
        "any",
        {
            **{name: value for name, value in _BOUND.items() if name != "method"},
            "bottleneck": "m2",
            "classification_weight": 50.0,
        },
    ),
    Recipe(
        "joint",
        "Second answer: reconstruction and cross-entropy, 0.5 each, as they trained it.",
        "AutoencoderClassifier",
        "any",
        _JOINT,
    ),
    Recipe(
        "joint-fast",
        "The same network and loss as 'joint' under our own optimizer and batch size.",
        "AutoencoderClassifier",
        "any",
        {
            **_JOINT,
            "optimizer": "adamw",
            "learning_rate": 0.003,
            "weight_decay": 0.01,
            "schedule": "cosine",
            "batch_size": 128,
        },
    ),
    Recipe(
        "tradeoff",
        "'joint' over multipliers from 0.01 to 0.99: accuracy against reconstruction.",
        "AutoencoderClassifier",
        "any",
        {**_JOINT, "epochs": 4},
        "tradeoff",
    ),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}
MULTIPLIERS = (0.01, 0.1, 0.5, 0.9, 0.99)
"""Multipliers of the cross-entropy that `tradeoff` trains; the reconstruction gets the rest."""


def get_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Examples
    --------
    >>> get_recipe("joint").parameters["batch_size"]
    64
    >>> get_recipe("sorts")
    Traceback (most recent call last):
    selfsort.errors.InputError: There is no recipe named 'sorts'. Did you mean 'sort'? Known \
recipes: categorical, categorical-score, categorical-straight-through, dvae, features-svm, gmvae, \
gumbel, gumbolt, joint, joint-fast, m2, m2-labels, plain, question, question-all-fixed, \
question-linear-output, question-normalised-logits, question-plain-softmax, \
question-sigmoid-output, sort, teach, tradeoff, vade, vq.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]


def recipe_for_bottleneck(name: str, *, has_prior: bool) -> Recipe:
    """Return the recipe that compares a bottleneck of a user's own with those above.

    Without a prior only the images' likelihood under the decoder is learned, no bound.

    Examples
    --------
    >>> recipe_for_bottleneck("mine", has_prior=True).parameters["divergence_weight"]
    1.0
    """
    recipe = _bound(name, f"The bottleneck '{name}' of one's own.", name)
    if not has_prior:
        recipe.parameters["divergence_weight"] = 0.0
    return recipe


def default_recipe(has_labels: bool) -> Recipe:
    """Return the recipe for data with, or without, labels to learn from."""
    return RECIPES["teach" if has_labels else "sort"]


def multiplier_parameters(multiplier: float) -> dict[str, float]:
    """Return the weights of `tradeoff` at a multiplier of the cross-entropy in [0, 1].

    Examples
    --------
    >>> multiplier_parameters(0.5)["classification_weight"]
    0.5
    """
    return {
        "classification_weight": multiplier,
        "reconstruction_weight": (1 - multiplier) * NORMALISED,
    }
