"""New images, mixtures of images and likelihoods, checked against sums over all codes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.datasets import load_digits

from selfsort import AutoencoderClassifier, AutoencoderClusterer, InputError, load
from selfsort.bottlenecks import BOTTLENECKS, Variational
from selfsort.estimators.classes import covariance_factor
from selfsort.training import Data, Feed

DIGITS = load_digits()
IMAGES = DIGITS.images[:400]
BINARY = (IMAGES > 8).astype(np.float32)
QUICK = {"epochs": 3, "device": "cpu", "n_threads": 1, "random_state": 0, "network": "dense"}
BOUND = {
    "method": "direct",
    "style_dim": 0,
    "reconstruction": "nll",
    "divergence_weight": 1.0,
    "transform_strength": 0.0,
    **QUICK,
}
PRIORS = sorted(name for name, kind in BOTTLENECKS.items() if issubclass(kind, Variational))
ignore_collapse = pytest.mark.filterwarnings("ignore::selfsort.errors.ClassCollapseWarning")
pytestmark = ignore_collapse


def clusterer_of(bottleneck: str, parameters: dict[str, object], **changes: object):
    return AutoencoderClusterer(
        3, bottleneck=bottleneck, bottleneck_parameters=parameters, **{**BOUND, **changes}
    )


@pytest.fixture(scope="module")
def categorical() -> AutoencoderClusterer:
    return clusterer_of("gumbel", {"groups": 2, "categories": 3}).fit(BINARY)


@pytest.fixture(scope="module")
def boltzmann() -> AutoencoderClusterer:
    parameters = {"units": 4, "layers": 2, "continuous": 0, "smoothing": "gumbolt", "hidden": 16}
    return clusterer_of("dvae", parameters).fit(BINARY)


@pytest.fixture(scope="module")
def taught() -> AutoencoderClassifier:
    names = np.array(["zero", "one", "two"])
    known = DIGITS.target < 3
    classifier = AutoencoderClassifier(style_dim=4, **{**QUICK, "epochs": 12})
    return classifier.fit(DIGITS.images[known], names[DIGITS.target[known]])


def log_joint(clusterer: AutoencoderClusterer, X: np.ndarray, codes, log_prior) -> np.ndarray:
    """Return the exact log-likelihood of images, summed over all codes."""
    decoded = clusterer.inverse_transform(np.array(codes, np.float32))
    probability = decoded.reshape(len(codes), -1).astype(np.float64).clip(1e-6, 1 - 1e-6)
    x = X.reshape(len(X), -1).astype(np.float64)
    log_x = x @ np.log(probability).T + (1 - x) @ np.log1p(-probability).T
    return logsumexp(log_x + log_prior, axis=1)


def exact(clusterer: AutoencoderClusterer, X: np.ndarray) -> np.ndarray:
    if clusterer.bottleneck == "gumbel":
        codes = [np.concatenate(pair) for pair in itertools.product(np.eye(3), repeat=2)]
        return log_joint(clusterer, X, codes, -np.log(9))
    machine = clusterer.model_.bottleneck.machine
    weight, bias = (tensor.detach().double().numpy() for tensor in (machine.weight, machine.bias))
    codes = [np.array(z) for z in itertools.product((0.0, 1.0), repeat=4)]
    energies = np.array([-(z[:2] @ weight @ z[2:]) - bias @ z for z in codes])
    return log_joint(clusterer, X, codes, -energies - logsumexp(-energies))


@pytest.mark.parametrize("which", ["categorical", "boltzmann"])
def test_the_likelihood_is_the_sum_over_all_codes(which, request):
    clusterer = request.getfixturevalue(which)
    X = BINARY[:40]
    expected = exact(clusterer, X)
    found = clusterer.log_likelihood(X, 5000, random_state=0)
    assert found.shape == (40,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert abs((found - expected).mean()) < 0.01
    # Fewer codes give a lower bound, in the mean: one gives the evidence lower bound.
    few = [clusterer.log_likelihood(X, n, random_state=1).mean() for n in (1, 10)]
    assert few[0] < few[1] < expected.mean() + 0.01


@pytest.mark.parametrize("which", ["categorical", "boltzmann"])
def test_what_is_learned_falls_and_one_code_gives_less_than_the_likelihood(which, request):
    clusterer = request.getfixturevalue(which)
    history = clusterer.history_
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["loss"] == pytest.approx(
        history[-1]["nll"] + history[-1]["divergence"], rel=1e-6
    )
    bound = np.mean([clusterer.log_likelihood(BINARY, 1, random_state=k) for k in range(5)])
    assert bound < exact(clusterer, BINARY).mean()


def test_the_random_state_decides_the_codes_that_are_drawn(categorical):
    X = BINARY[:20]
    first = categorical.log_likelihood(X, 3000, random_state=0)
    assert np.array_equal(first, categorical.log_likelihood(X, 3000, random_state=0))
    other = categorical.log_likelihood(X, 3000, random_state=1)
    assert not np.array_equal(first, other)
    np.testing.assert_allclose(first, other, atol=0.2)


def test_a_saved_model_has_the_same_likelihoods_and_samples(boltzmann, tmp_path):
    boltzmann.save(tmp_path)
    loaded = load(tmp_path)
    expected = boltzmann.log_likelihood(BINARY[:20], 100, random_state=0)
    assert np.array_equal(loaded.log_likelihood(BINARY[:20], 100, random_state=0), expected)
    assert np.array_equal(loaded.sample(5, random_state=0), boltzmann.sample(5, random_state=0))
    assert np.array_equal(loaded.predict(BINARY), boltzmann.labels_)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"bottleneck": "softmax", "bottleneck_parameters": None, "divergence_weight": 0.0},
            "the bottleneck has no prior: use one that has, such as 'gumbel'",
        ),
        ({"style_dim": 2}, "the style has no prior: use style_dim=0"),
        (
            {"reconstruction": "mse"},
            "it learned another error than that of black and white pixels: use "
            "reconstruction='nll' or 'bce'",
        ),
    ],
)
def test_models_without_a_likelihood(changes, reason):
    clusterer = clusterer_of("gumbel", {}).set_params(**changes, epochs=1).fit(BINARY)
    with pytest.raises(InputError) as error:
        clusterer.log_likelihood(BINARY)
    assert str(error.value) == f"log_likelihood needs a likelihood, and {reason}."


def test_grey_images_have_no_likelihood(categorical):
    grey = BINARY.copy()
    grey[0, 0, 0] = 0.5
    with pytest.raises(InputError) as error:
        categorical.log_likelihood(grey)
    assert str(error.value) == (
        "log_likelihood needs black and white images, all pixels at one end of the range: "
        "binarise them first, such as by X > 127."
    )


def test_arguments_out_of_range(categorical):
    with pytest.raises(InputError, match=r"^The 'n_samples' parameter of log_likelihood must be"):
        categorical.log_likelihood(BINARY, 0)
    with pytest.raises(InputError, match=r"^The 'n_images' parameter of sample must be an int"):
        categorical.sample(0)
    with pytest.raises(InputError, match=r"^The 'n_steps' parameter of interpolate must be an int"):
        categorical.interpolate(BINARY, BINARY, 1)


# Samples


def test_samples_are_of_the_class_and_in_the_layout_of_the_images(taught):
    for label in ("zero", "one", "two"):
        images = taught.sample(30, label=label, random_state=0)
        assert images.shape == (30, 8, 8)
        assert (taught.predict(images) == label).mean() > 0.8
    # Sixteenths of the range are no image of the fit's units.
    assert images.max() > 8
    assert len(np.unique(images[:, 4, 4])) > 10, "styles differ"


def test_samples_of_any_class_are_of_all_of_them(taught):
    found = taught.predict(taught.sample(90, random_state=0))
    assert set(found) == {"zero", "one", "two"}


def test_samples_are_decided_by_the_random_state(taught):
    before = torch.get_rng_state()
    first = taught.sample(5, random_state=3)
    assert np.array_equal(first, taught.sample(5, random_state=3))
    assert not np.array_equal(first, taught.sample(5, random_state=4))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("which", ["categorical", "boltzmann"])
def test_samples_of_a_prior_can_be_of_one_class(which, request):
    clusterer = request.getfixturevalue(which)
    assert clusterer.sample(20, random_state=0).shape == (20, 8, 8)
    bottleneck = clusterer.model_.bottleneck
    label = np.unique(clusterer.labels_)[0]
    images = clusterer.sample(20, label=label, random_state=0)
    assert images.shape == (20, 8, 8)
    codes = bottleneck.prior_of(torch.full((20,), int(label)), torch.Generator().manual_seed(0))
    assert (bottleneck.class_logits(codes, codes).argmax(1) == label).all()


def test_a_class_that_is_not_there(taught):
    with pytest.raises(InputError) as error:
        taught.sample(label="three")
    assert str(error.value) == "There is no class 'three'. Classes: one, two, zero."


def test_styles_have_mean_and_covariance_of_their_class(taught):
    known = DIGITS.target == 1
    style = taught.transform(DIGITS.images[known])[:, 3:]
    k = list(taught.classes_).index("one")
    factor = taught.style_factors_[k].astype(np.float64)
    index = taught.predict(DIGITS.images[known]) == "one"
    assert index.mean() > 0.95
    np.testing.assert_allclose(
        factor @ factor.T, np.cov(style.T, bias=True), atol=0.1 * style.var(0).max()
    )
    drawn = taught._drawn(4000, k, torch.Generator().manual_seed(0))[:, 3:]
    error = style.std(0) / np.sqrt(4000)
    assert (np.abs(drawn.mean(0) - taught.style_means_[k]) < 5 * error).all()
    np.testing.assert_allclose(np.cov(drawn.T), factor @ factor.T, atol=0.2 * style.var(0).max())


@pytest.mark.parametrize("shape", [(50, 3), (2, 3), (1, 3), (5, 0)])
def test_the_factor_of_a_covariance(shape):
    rows = np.random.default_rng(0).normal(size=shape)
    factor = covariance_factor(rows)
    assert factor.dtype == np.float32
    expected = np.cov(rows.T, bias=True).reshape(shape[1], shape[1])
    np.testing.assert_allclose(factor @ factor.T, expected, atol=1e-6)


# Between images


def test_an_interpolation_starts_and_ends_with_the_reconstructions(taught):
    X, Z = DIGITS.images[:3], DIGITS.images[10:13]
    path = taught.interpolate(X, Z, n_steps=5)
    assert path.shape == (3, 5, 8, 8)
    np.testing.assert_allclose(path[:, 0], taught.reconstruct(X), atol=1e-3)
    np.testing.assert_allclose(path[:, -1], taught.reconstruct(Z), atol=1e-3)
    latent = (taught.transform(X) + taught.transform(Z)) / 2
    np.testing.assert_allclose(path[:, 2], taught.inverse_transform(latent), atol=1e-3)


def test_as_many_images_at_both_ends(taught):
    with pytest.raises(InputError) as error:
        taught.interpolate(DIGITS.images[:3], DIGITS.images[:2])
    assert str(error.value) == ("interpolate needs as many images in Z as in X, got 2 and 3.")


# What a bottleneck can be used for


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"bottleneck": "softmax", "bottleneck_parameters": None},
            "The bottleneck 'softmax' has no prior for divergence_weight=1: give 0, or one with a "
            f"prior: {', '.join(PRIORS)}.",
        ),
        (
            {"information_weight": 1.0},
            "The bottleneck 'dvae' does not give one distribution over the classes for each image, "
            "which the information is measured of: use information_weight=0.",
        ),
        (
            {"method": "sort", "divergence_weight": 0.0},
            "The classes cannot be sorted into the codes of the bottleneck 'dvae', which are not "
            "one distribution over the classes for each image: use another, or "
            "AutoencoderClusterer(method='direct').",
        ),
        (
            {
                "method": "sort",
                "divergence_weight": 0.0,
                "bottleneck": "leave-one-out",
                "bottleneck_parameters": None,
            },
            "The classes cannot be sorted into the codes of the bottleneck 'leave-one-out', which "
            "are not one distribution over the classes for each image: use another, or "
            "AutoencoderClusterer(method='direct').",
        ),
        (
            {"method": "sort", "bottleneck": "gumbel", "bottleneck_parameters": None},
            "divergence_weight=1.0 does not go with classes that are learned by stages: leave it "
            "out, or use AutoencoderClusterer(method='direct').",
        ),
        (
            {"bottleneck_parameters": {"unit": 4}},
            "There is no parameter of the bottleneck 'dvae' named 'unit'. Did you mean 'units'? "
            "Known parameters: beta, chains, continuous, continuous_layers, hidden, layers, "
            "smoothing, sweeps, temperature, units.",
        ),
    ],
)
def test_what_a_bottleneck_cannot_do(changes, sentence):
    clusterer = clusterer_of("dvae", {"units": 4, "layers": 2}).set_params(**changes)
    with pytest.raises(InputError) as error:
        clusterer.fit(BINARY)
    assert str(error.value) == sentence


@pytest.mark.parametrize(("bottleneck", "parameters"), [("gumbel", {"groups": 2}), ("vade", {})])
def test_codes_that_name_no_class_cannot_be_taught(bottleneck, parameters):
    classifier = AutoencoderClassifier(
        bottleneck=bottleneck, bottleneck_parameters=parameters, **QUICK
    )
    with pytest.raises(InputError) as error:
        classifier.fit(IMAGES, DIGITS.target[:400])
    assert str(error.value) == (
        f"The code of the bottleneck '{bottleneck}' does not name the classes that labels could be "
        "learned for: use another bottleneck, or AutoencoderClusterer and a classifier on its "
        "transform."
    )


@pytest.mark.parametrize("classes", ["marginal", "gumbel"])
def test_a_class_and_a_style_are_learned_from_a_few_labels(classes):
    labels = DIGITS.target[:400].copy()
    labels[60:] = -1
    classifier = AutoencoderClassifier(
        unlabeled=-1,
        bottleneck="m2",
        bottleneck_parameters={"style": 8, "classes": classes},
        style_dim=0,
        reconstruction="nll",
        divergence_weight=1.0,
        classification_weight=20.0,
        transform_strength=0.0,
        **{**QUICK, "epochs": 40},
    ).fit(BINARY, labels)
    found = classifier.predict(BINARY[60:])
    assert (found == DIGITS.target[60:400]).mean() > 0.75
    few = classifier.log_likelihood(BINARY[:50], 1, random_state=0).mean()
    assert few < classifier.log_likelihood(BINARY[:50], 200, random_state=0).mean()
    images = classifier.sample(30, label=0, random_state=0)
    assert (classifier.predict(images) == 0).mean() > 0.6


def test_binarized_images_are_drawn_anew():
    grey = torch.full((4000, 1, 8, 8), 64, dtype=torch.uint8)
    feed = Feed(Data(grey), binarize=True)
    generator = torch.Generator().manual_seed(0)
    first, second = (
        feed.view(feed.draw(torch.arange(4000), generator, partners=False)) for _ in range(2)
    )
    assert set(first.unique().tolist()) == {0.0, 1.0}
    expected = 64 / 255
    deviation = np.sqrt(expected * (1 - expected) / first.numel())
    assert float(first.mean()) == pytest.approx(expected, abs=4 * deviation)
    assert not torch.equal(first, second)


def test_after_learning_from_binarized_images_the_middle_decides():
    clusterer = clusterer_of("gumbel", {}, binarize=True).fit(IMAGES)
    assert np.array_equal(clusterer.predict(IMAGES), clusterer.labels_)
    assert np.array_equal(clusterer.predict_proba(IMAGES), clusterer.predict_proba(16 * BINARY))
    found = clusterer.log_likelihood(IMAGES[:9], 50, random_state=0)
    assert np.array_equal(found, clusterer.log_likelihood(16 * BINARY[:9], 50, random_state=0))


def test_stages_do_not_binarize():
    with pytest.raises(InputError) as error:
        AutoencoderClusterer(3, binarize=True, **QUICK).fit(IMAGES)
    assert str(error.value) == (
        "binarize=True does not go with classes that are learned by stages: leave it out, or use "
        "AutoencoderClusterer(method='direct')."
    )


def test_a_prototype_is_the_picture_of_the_class_s_code():
    clusterer = clusterer_of("vade", {"width": 3}).fit(BINARY)  # as wide as there are classes
    means = clusterer.model_.bottleneck.means.detach().numpy()
    assert np.array_equal(clusterer.prototypes_, clusterer.inverse_transform(means))
    assert not np.array_equal(clusterer.prototypes_, clusterer.inverse_transform(np.eye(3)))


def test_samples_of_a_prior_beside_a_style():
    clusterer = clusterer_of("gumbel", {"groups": 2, "categories": 3}, style_dim=2).fit(BINARY)
    assert clusterer.sample(30, random_state=0).shape == (30, 8, 8)
    latent = clusterer._drawn(30, None, torch.Generator().manual_seed(0))
    assert latent.shape == (30, 8)
    assert len(np.unique(latent[:, :6], axis=0)) > 5, "codes of the prior"


def test_a_class_and_a_style_are_learned_together_where_all_have_labels():
    classifier = AutoencoderClassifier(
        bottleneck="m2", bottleneck_parameters={"style": 4}, style_dim=0, **QUICK
    ).fit(IMAGES, DIGITS.target[:400])
    assert {row["stage"] for row in classifier.history_} == {"fit"}
