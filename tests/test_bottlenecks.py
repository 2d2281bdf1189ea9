"""Every registered bottleneck, and each one's numbers against independent ones."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import gumbel_r, kstest, multivariate_normal
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from selfsort.bottlenecks import BOTTLENECKS, Variational, checks, make_bottleneck
from selfsort.bottlenecks.base import ClassReader, gumbel_noise
from selfsort.bottlenecks.gumbel import Gumbel
from selfsort.bottlenecks.softmax import RectifiedSoftmax, Softmax
from selfsort.bottlenecks.straight_through import StraightThrough
from selfsort.errors import InputError

ALSO = {
    "gumbel": [{"groups": 3, "categories": 4}, {"straight_through": True}],
    "leave-one-out": [{"groups": 3, "categories": 4, "draws": 2}],
    "m2": [{"style_prior": "class", "classes": "gumbel"}],
    "vq": [{"groups": 3, "categories": 4}],
}
everything = pytest.mark.parametrize(
    ("name", "parameters"),
    [(name, {}) for name in sorted(BOTTLENECKS)]
    + [(name, parameters) for name, others in ALSO.items() for parameters in others],
)
naming = pytest.mark.parametrize(
    "name", [name for name in sorted(BOTTLENECKS) if make_bottleneck(name, 3).names_classes]
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits_of(n: int = 40, n_classes: int = 5, size: float = 2.0) -> torch.Tensor:
    return size * torch.randn(n, n_classes, generator=seeded(7))


# Everything registered


@everything
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_every_bottleneck_passes_the_checks(name, parameters, check):
    assert make_bottleneck(name, 3, parameters).name == name
    with torch.random.fork_rng():
        torch.manual_seed(0)
        check(lambda n_classes: make_bottleneck(name, n_classes, parameters))


@naming
@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_flows_and_moving_all_logits_of_a_row_changes_nothing(name, training):
    logits = logits_of().abs().requires_grad_()  # above 0, where no ReLU stops the gradient
    bottleneck = make_bottleneck(name, 5).train(training)
    code = bottleneck(logits, 0.5, seeded())
    values = (code * torch.arange(5.0)).sum(1)
    if training:
        values = bottleneck.combine(logits, code, values.view(len(logits), -1))
    values.sum().backward()
    reached = logits.grad.abs().sum(1) > 1e-3
    # Draws of the same class have nothing to tell from each other, and cold ones hardly move.
    drawn = training and isinstance(bottleneck, Variational)
    assert reached.float().mean() > (0.5 if drawn else 0.999)
    np.testing.assert_allclose(logits.grad.sum(1).numpy(), 0, atol=1e-5)


@naming
def test_the_largest_logit_is_the_class(name):
    bottleneck = make_bottleneck(name, 5).eval()
    code = bottleneck(logits_of())
    assert torch.equal(code.argmax(1), logits_of().argmax(1))
    assert torch.equal(bottleneck.class_logits(logits_of(), code).argmax(1), code.argmax(1))


@pytest.mark.parametrize("name", ["softmax", "rectified-softmax", "straight-through", "gumbel"])
def test_these_have_no_weights(name):
    assert not make_bottleneck(name, 10).state_dict()


def test_a_reader_finds_the_kinds_of_codes():
    codes, kinds = make_blobs(300, 4, centers=3, cluster_std=0.5, random_state=0)
    reader = ClassReader(3, 4)
    reader.fit(codes.astype(np.float32), seed=0)
    logits = reader(torch.from_numpy(codes).float())
    assert adjusted_rand_score(kinds, logits.argmax(1).numpy()) == 1.0
    # Those of a mixture of normal distributions of one variance, up to what all classes share.
    found = torch.log_softmax(logits, 1).numpy()
    density = np.stack(
        [
            multivariate_normal(centre, float(reader.variance)).logpdf(codes)
            for centre in reader.centres.numpy()
        ],
        axis=1,
    )
    np.testing.assert_allclose(found, log_softmax(density, axis=1), atol=1e-2)
    assert float(reader.variance) == pytest.approx(0.25, rel=0.1)


def test_a_parameter_that_a_bottleneck_does_not_have():
    with pytest.raises(InputError) as error:
        make_bottleneck("gumbel", 10, {"group": 2})
    assert str(error.value) == (
        "There is no parameter of the bottleneck 'gumbel' named 'group'. Did you mean 'groups'? "
        "Known parameters: categories, end, groups, start, straight_through."
    )


def test_an_unknown_name_lists_all_registered():
    with pytest.raises(InputError) as error:
        make_bottleneck("softmx", 10)
    assert str(error.value) == (
        "There is no bottleneck named 'softmx'. Did you mean 'softmax'? "
        f"Known bottlenecks: {', '.join(sorted(BOTTLENECKS))}."
    )


# Each one's numbers


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_softmax_is_that_of_scipy(temperature):
    found = Softmax(5, temperature)(logits_of().double())
    expected = softmax(logits_of().double().numpy() / temperature, axis=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_rectified_softmax_knows_no_negative_logit():
    logits = logits_of().double().requires_grad_()
    code = RectifiedSoftmax(5)(logits)
    expected = softmax(np.maximum(logits.detach().numpy(), 0), axis=1)
    np.testing.assert_allclose(code.detach().numpy(), expected, rtol=1e-12)
    (code * torch.arange(5.0)).sum().backward()
    assert (logits.grad[logits < 0] == 0).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_straight_through_is_one_hot_with_the_gradient_of_softmax(temperature):
    weights = torch.randn(40, 5, generator=seeded(3), dtype=torch.float64)
    hard, soft = (logits_of().double().requires_grad_() for _ in range(2))
    code = StraightThrough(5, temperature)(hard)
    (code * weights).sum().backward()
    (torch.softmax(soft / temperature, 1) * weights).sum().backward()
    assert code.tolist() == np.eye(5)[logits_of().argmax(1).numpy()].tolist()
    np.testing.assert_allclose(hard.grad.numpy(), soft.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_straight_through_takes_the_first_of_equal_logits():
    assert StraightThrough(3)(torch.zeros(2, 3)).tolist() == [[1, 0, 0], [1, 0, 0]]


def test_gumbel_noise_has_the_standard_gumbel_distribution():
    n = 200_000
    noise = gumbel_noise(torch.zeros(n), seeded()).double().numpy()
    deviation = math.pi / math.sqrt(6)
    assert noise.mean() == pytest.approx(0.5772156649, abs=4 * deviation / math.sqrt(n))
    assert noise.std() == pytest.approx(deviation, rel=0.01)
    assert kstest(noise[:20_000], gumbel_r.cdf).pvalue > 0.01


def test_gumbel_noise_follows_shape_and_type_of_the_logits():
    like = torch.zeros(3, 4, dtype=torch.float64)
    noise = gumbel_noise(like, seeded())
    assert noise.shape == like.shape
    assert noise.dtype == torch.float64
    assert torch.equal(noise.float(), gumbel_noise(torch.zeros(3, 4), seeded()))


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_the_largest_entry_is_drawn_from_the_softmax(progress):
    n, logits = 100_000, torch.tensor([1.0, 0.0, -1.0, 2.0])
    code = Gumbel(4)(logits.expand(n, -1), progress, seeded(5))
    found = np.bincount(code.argmax(1).numpy(), minlength=4) / n
    expected = softmax(logits.numpy())
    assert (np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / n)).all()


def test_a_gumbel_code_is_the_softmax_of_noisy_logits():
    logits = logits_of()
    noise = gumbel_noise(logits, seeded(2)).numpy()
    expected = softmax((logits.numpy() + noise) / (2.0 * math.sqrt(0.25)), axis=1)
    found = Gumbel(5, start=2.0, end=0.5)(logits, 0.5, seeded(2))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-7)


def test_the_temperature_falls_geometrically():
    bottleneck = Gumbel(5, start=4.0, end=0.25)  # a sixteenth: halved at every quarter
    found = [bottleneck.temperature(progress) for progress in (0, 0.25, 0.5, 0.75, 1)]
    assert found == pytest.approx([4, 2, 1, 0.5, 0.25])
    assert Gumbel(5, start=0.7, end=0.7).temperature(0.3) == 0.7


def test_low_temperatures_give_nearly_one_hot_codes():
    sharp = Gumbel(5, start=0.01, end=0.01)(logits_of(500), 1.0, seeded())
    blunt = Gumbel(5, start=10.0, end=10.0)(logits_of(500), 1.0, seeded())
    assert sharp.amax(1).mean() > 0.97
    assert blunt.amax(1).mean() < 0.4


def test_evaluation_gives_the_distribution_that_was_sampled_from():
    found = Gumbel(5, start=5.0, end=0.1).eval()(logits_of(), 0.0)
    np.testing.assert_allclose(found.numpy(), softmax(logits_of().numpy(), axis=1), rtol=1e-5)


@pytest.mark.parametrize("value", [0, -1.0, math.nan])
@pytest.mark.parametrize(
    ("make", "parameter"),
    [
        (Softmax, "temperature"),
        (StraightThrough, "temperature"),
        (Gumbel, "start"),
        (Gumbel, "end"),
    ],
)
def test_temperatures_out_of_range(make, parameter, value):
    with pytest.raises(InputError) as error:
        make(5, **{parameter: value})
    assert str(error.value) == (
        f"The '{parameter}' parameter of {make.__name__} must be a number above 0. "
        f"Got {value!r} instead."
    )


def test_a_rising_temperature_is_refused():
    with pytest.raises(InputError) as error:
        Gumbel(5, start=0.5, end=0.6)
    assert str(error.value) == (
        "The 'start' parameter of Gumbel must be at least 'end' (0.6). Got 0.5 instead."
    )


# The checks find what is wrong


class Wrong(Gumbel):
    """A Gumbel bottleneck with a fault of each kind, one at a time."""

    name = ""  # registered by the tests only, and for as long as they last

    def __init__(self, n_classes: int, fault: str = "") -> None:
        super().__init__(n_classes)
        self.name = "wrong"
        self.fault = fault

    def forward(self, logits, progress=1.0, generator=None):
        code = super().forward(logits, progress, generator)
        changed = {
            "too wide": lambda: torch.cat([code, code[:, :1]], dim=1),
            "not normalised": lambda: 2 * code,
            "no gradient": lambda: code.detach() + 0 * logits,
            "noise in use": lambda: code if self.training else self.draw(logits, generator),
            "progress in use": lambda: code if self.training else code + 0.1 * progress,
            "other noise": lambda: (
                code if not self.training else super(Wrong, self).forward(logits)
            ),
            "depends on others": lambda: code + 0.1 * logits.mean(),
        }
        return changed.get(self.fault, lambda: code)()

    def class_logits(self, logits, code):
        return logits * 0 if self.fault == "one class" else super().class_logits(logits, code)

    def divergence(self, logits, code, generator=None):
        found = super().divergence(logits, code, generator)
        return found + 0.1 if self.fault == "divergence too large" else found

    def log_ratio(self, logits, code):
        found = super().log_ratio(logits, code)
        return found + {"density too large": 0.5, "density too small": -1.0}.get(self.fault, 0.0)

    def prior(self, n, generator=None):
        code = super().prior(n, generator)
        if self.fault == "one draw":
            code = torch.eye(self.n_classes)[[0]].expand(n, -1)
        return code[1:] if self.fault == "draws missing" else code


@pytest.fixture
def wrong(monkeypatch):
    monkeypatch.setitem(BOTTLENECKS, "wrong", Wrong)


@pytest.mark.usefixtures("wrong")
@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("too wide", checks.shapes, "must give (1, 2). Found (1, 3) instead."),
        (
            "not normalised",
            checks.distributions,
            "must give rows that sum to 1, none below 0. Found sums tensor([2.0",
        ),
        (
            "no gradient",
            checks.gradients,
            "must give a gradient for most images. Found 0% of them instead.",
        ),
        (
            "noise in use",
            checks.evaluation,
            "must give no random numbers in evaluation mode. Found some were drawn instead.",
        ),
        (
            "progress in use",
            checks.evaluation,
            "must give the same codes at any progress in evaluation mode. Found others instead.",
        ),
        (
            "other noise",
            checks.generators,
            "must give the same codes from the same seed. Found others instead.",
        ),
        (
            "depends on others",
            checks.rows,
            "must give the code of an image alone. Found a difference of",
        ),
        ("one class", checks.classes, "must give all of 5 classes in use. Found 1 instead."),
        (
            "divergence too large",
            checks.divergences,
            "must give the divergence that the draws have. Found [0.",
        ),
        (
            "density too large",
            checks.priors,
            "must give weights p / q whose mean is 1. Found 1.6",
        ),
        ("density too small", checks.priors, "must give weights q / p whose mean is 1. Found 2.7"),
        ("one draw", checks.priors, "must give weights q / p whose mean is 1. Found "),
        ("draws missing", checks.priors, "must give (7, 3). Found (6, 3) instead."),
    ],
)
def test_a_faulty_bottleneck_is_found(fault, check, sentence):
    check(lambda n_classes: Wrong(n_classes))
    with pytest.raises(InputError) as error:
        check(lambda n_classes: Wrong(n_classes, fault))
    assert str(error.value).startswith(f"The bottleneck 'wrong' {sentence}")
    checks.check_bottleneck("wrong")
    with pytest.raises(InputError):
        checks.check_bottleneck("wrong", {"fault": fault})


def test_a_name_is_given_once():
    with pytest.raises(InputError) as error:

        class Mine(Gumbel):
            name = "softmax"

    assert str(error.value) == ("There is a bottleneck named 'softmax' already: choose another.")

    class Nameless(Softmax):
        """Inherits a name, which stays with its owner."""

    assert BOTTLENECKS["softmax"] is Softmax


@pytest.mark.parametrize("name", ["vq", "vade"])
def test_what_is_frozen_does_not_move(name):
    bottleneck = make_bottleneck(name, 3, {"width": 2}).train()
    before = {key: value.clone() for key, value in bottleneck.state_dict().items()}
    logits = logits_of(50, bottleneck.n_logits)
    bottleneck.frozen = True
    bottleneck(logits, 1.0, seeded())
    after = bottleneck.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    bottleneck.frozen = False
    bottleneck(logits, 1.0, seeded())
    after = bottleneck.state_dict()
    assert not all(torch.equal(before[key], after[key]) for key in before)


def test_where_all_codes_are_one_others_are_not_infinitely_far():
    reader = ClassReader(2, 32)
    codes = np.zeros((50, 32), np.float32)
    codes[0] = 1e-6
    reader.fit(codes, seed=0)
    assert torch.isfinite(torch.softmax(reader(torch.ones(1, 32)), 1)).all()


@pytest.mark.parametrize("value", [-0.1, 1.0, "half", math.nan])
@pytest.mark.parametrize(
    ("name", "owner", "parameter"),
    [("vade", "MixturePrior", "warm_up"), ("vq", "VectorQuantised", "decay")],
)
def test_shares_out_of_range(name, owner, parameter, value):
    with pytest.raises(InputError) as error:
        make_bottleneck(name, 3, {parameter: value})
    assert str(error.value) == (
        f"The '{parameter}' parameter of {owner} must be a number in the range [0, 1). "
        f"Got {value!r} instead."
    )


@pytest.mark.parametrize("name", ["gumbel", "leave-one-out", "vq", "vade", "m2", "dvae"])
@pytest.mark.parametrize("value", ["many", -1, None, math.inf])
def test_a_wrong_value_of_any_parameter_is_one_line(name, value):
    bottleneck = make_bottleneck(name, 3)
    for parameter in inspect.signature(type(bottleneck)).parameters:
        if parameter in {"n_classes", "straight_through"}:
            continue
        if (parameter, value) in {("categories", None)}:
            continue
        with pytest.raises(InputError) as error:
            make_bottleneck(name, 3, {parameter: value})
        assert "\n" not in str(error.value)
