"""Bottlenecks with a prior: what they say is checked against sums over all codes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import entropy, kstest, multivariate_normal
from sklearn.datasets import make_blobs
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import adjusted_rand_score
from torch.distributions import Normal, kl_divergence

from selfsort.bottlenecks import BOTTLENECKS, Variational, make_bottleneck
from selfsort.bottlenecks.boltzmann import MEASURED_EVERY, BoltzmannMachine
from selfsort.bottlenecks.dvae import DiscreteVariational
from selfsort.errors import InputError

N_CLASSES = 3
SMALL = {
    "dvae": [
        {"units": 6, "layers": 2, "continuous": 2, "hidden": 7, "chains": 50},
        {"units": 6, "layers": 3, "continuous": 0, "hidden": 7, "smoothing": "gumbolt"},
        {"units": 4, "layers": 1, "continuous": 2, "continuous_layers": 2, "hidden": 7},
    ],
    "m2": [{"style": 2}, {"style": 2, "style_prior": "class", "classes": "gumbel"}],
    "vade": [{"width": 2}],
    "vq": [{"width": 2}, {"groups": 2, "categories": 4, "width": 3}],
    "gumbel": [{}, {"groups": 2, "categories": 4}, {"groups": 2, "straight_through": True}],
}
everything = pytest.mark.parametrize(
    ("name", "parameters"),
    [
        (name, parameters)
        for name, kind in sorted(BOTTLENECKS.items())
        if issubclass(kind, Variational)
        for parameters in SMALL.get(name, [{}])
    ],
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(name: str, parameters: dict[str, object], seed: int = 0) -> Variational:
    """Return a bottleneck with weights that make everything depend on everything."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        bottleneck = make_bottleneck(name, N_CLASSES, parameters)
        assert isinstance(bottleneck, Variational)
        for weight in bottleneck.parameters():
            weight.data += 0.25 * torch.randn(weight.shape)
    bottleneck.settle(seeded())
    return bottleneck.eval()


def logits_of(bottleneck: Variational, n: int = 3, wider: float = 1.5) -> torch.Tensor:
    """Return logits; where their last two are log-variances, those are moved by `wider`.

    The mean of weights can be told only if the density drawn from is the wider one.
    """
    logits = torch.randn(n, bottleneck.n_logits, generator=seeded(7))
    if bottleneck.name in {"m2", "vade"}:
        logits[:, -2:] += wider
    return logits


# Everything that has a prior


@everything
def test_the_mean_importance_weight_is_one(name, parameters):
    """``E_q p(code) / q(code)`` is the prior's whole mass: both are normalised."""
    bottleneck = made(name, parameters)
    logits, n = logits_of(bottleneck), 20_000
    many = logits.repeat_interleave(n, dim=0)
    with torch.no_grad():
        weights = bottleneck.log_ratio(many, bottleneck.draw(many, seeded())).exp()
    weights = weights.view(len(logits), n).double().numpy()
    error = weights.std(1) / math.sqrt(n)
    assert (np.abs(weights.mean(1) - 1) < 4.5 * error + 1e-6).all(), (weights.mean(1), error)


@everything
def test_draws_of_the_prior_have_its_density(name, parameters):
    """``E_p q(code) / p(code)`` is one too, if `prior` draws what `log_ratio` says."""
    bottleneck = made(name, parameters)
    logits, n = logits_of(bottleneck, 1, wider=-1.5), 20_000
    with torch.no_grad():
        code = bottleneck.prior(n, seeded())
        weights = (-bottleneck.log_ratio(logits.expand(n, -1), code)).exp().double().numpy()
    assert code.shape == (n, bottleneck.code_dim)
    assert abs(weights.mean() - 1) < 5 * weights.std() / math.sqrt(n) + 1e-6


@everything
def test_the_divergence_is_that_of_the_draws(name, parameters):
    """``KL(q || p)`` is minus the mean of ``log p - log q`` over draws from the posterior."""
    bottleneck = made(name, parameters)
    logits, n = logits_of(bottleneck), 20_000
    many = logits.repeat_interleave(n, dim=0)
    with torch.no_grad():
        code = bottleneck.draw(many, seeded())
        found = bottleneck.divergence(many, code).view(-1, n).double().numpy()
        expected = -bottleneck.log_ratio(many, code).view(-1, n).double().numpy()
    error = (found - expected).std(1) / math.sqrt(n)
    assert (np.abs((found - expected).mean(1)) < 4.5 * error + 1e-5).all()


@everything
def test_codes_of_each_class_can_be_drawn_from_the_prior(name, parameters):
    bottleneck = made(name, parameters)
    if bottleneck.reader is not None:
        with torch.no_grad():
            bottleneck.reader.fit(bottleneck.read(bottleneck.prior(500, seeded())).numpy(), seed=0)
    classes = torch.tensor([2, 0, 1, 2])
    code = bottleneck.prior_of(classes, seeded(1))
    assert code.shape == (4, bottleneck.code_dim)
    assert bottleneck.class_of(code).tolist() == classes.tolist()


@everything
def test_draws_are_decided_by_the_generator(name, parameters):
    bottleneck = made(name, parameters)
    logits = logits_of(bottleneck)
    before = torch.get_rng_state()
    with torch.no_grad():
        for draw in (lambda g: bottleneck.draw(logits, g), lambda g: bottleneck.prior(5, g)):
            assert torch.equal(draw(seeded(3)), draw(seeded(3)))
            assert not torch.equal(draw(seeded(3)), draw(seeded(4)))
    assert torch.equal(before, torch.get_rng_state())


# Categories


def test_the_divergence_of_categories_is_the_sum_over_all_of_them():
    bottleneck = made("gumbel", {"groups": 2, "categories": 4})
    logits = logits_of(bottleneck).double()
    probabilities = logits.view(3, 2, 4).softmax(2).numpy()
    expected = (probabilities * np.log(probabilities / 0.25)).sum((1, 2))
    found = bottleneck.divergence(logits, logits)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(1, 5), (2, 3)])
@pytest.mark.parametrize("draws", [2, 4])
def test_the_gradient_of_leave_one_out_is_unbiased(shape, draws):
    groups, categories = shape
    parameters = {"groups": groups, "categories": categories, "draws": draws}
    bottleneck = make_bottleneck("leave-one-out", N_CLASSES, parameters)
    table = torch.randn(groups * categories, 4, generator=seeded(1)).double()
    logits = torch.randn(1, groups * categories, generator=seeded(2)).double()

    def of_code(code: torch.Tensor) -> torch.Tensor:
        return 3 * torch.tanh(code.double() @ table).sum(1) + 10

    exact = logits.clone().requires_grad_()
    probabilities = exact.view(groups, categories).softmax(1)
    expected = torch.zeros((), dtype=torch.float64)
    for chosen in itertools.product(range(categories), repeat=groups):
        code = torch.cat([torch.eye(categories)[k] for k in chosen])
        share = torch.stack([probabilities[g, k] for g, k in enumerate(chosen)]).prod()
        expected = expected + share * of_code(code[None])[0]
    expected.backward()

    n = 20_000
    many = logits.expand(n, -1).clone().requires_grad_()
    code = bottleneck(many, 1.0, seeded(3))
    values = of_code(code).view(n, draws)
    combined = bottleneck.combine(many, code, values)
    np.testing.assert_allclose(combined.detach().numpy(), values.mean(1).numpy(), rtol=1e-12)
    combined.sum().backward()
    error = many.grad.std(0) / math.sqrt(n)
    assert exact.grad.norm() > 0.3
    assert ((many.grad.mean(0) - exact.grad[0]).abs() < 4 * error).all()


# Vector quantisation


def test_a_code_is_the_nearest_vector_and_its_gradient_the_identity():
    bottleneck = made("vq", {"groups": 2, "categories": 4, "width": 3})
    logits = logits_of(bottleneck, 20).requires_grad_()
    code = bottleneck(logits)
    rows, vectors = logits.detach().view(20, 2, 3).numpy(), bottleneck.vectors.numpy()
    for i, group in itertools.product(range(20), range(2)):
        distances = ((rows[i, group] - vectors[group]) ** 2).sum(1)
        nearest = vectors[group, distances.argmin()]
        np.testing.assert_array_equal(code[i].detach().view(2, 3)[group].numpy(), nearest)
    weights = torch.randn(20, 6)
    (code * weights).sum().backward()
    np.testing.assert_allclose(logits.grad.numpy(), weights.numpy(), rtol=1e-6)


def test_vectors_come_to_the_means_of_their_images():
    points, kinds = make_blobs(600, 2, centers=[[0, 0], [6, 0], [0, 6]], random_state=0)
    logits = torch.from_numpy(points).float()
    bottleneck = make_bottleneck("vq", 3, {"width": 2, "decay": 0.5}).train()
    generator = seeded(1)
    for _ in range(60):
        bottleneck(logits, 1.0, generator)
    means = np.stack([points[kinds == k].mean(0) for k in range(3)])
    found = bottleneck.vectors[0].numpy()
    gaps = np.abs(found[:, None] - means).sum(2)
    assert sorted(gaps.argmin(1)) == [0, 1, 2]
    assert gaps.min(1).max() < 1e-3
    assert float(bottleneck.variance) == pytest.approx(1.0, rel=0.1)  # as the blobs have
    bottleneck.eval()
    predicted = bottleneck.class_logits(logits, bottleneck(logits)).argmax(1)
    assert adjusted_rand_score(kinds, predicted.numpy()) == 1.0


def test_a_vector_that_is_not_used_starts_again_where_images_are():
    bottleneck = make_bottleneck("vq", 3, {"width": 2, "decay": 0.5}).train()
    generator, logits = seeded(), torch.randn(50, 2, generator=seeded(1))
    bottleneck(logits, 1.0, generator)
    bottleneck.vectors[0, 1] = bottleneck.sums[0, 1] = 1e3
    for _ in range(10):
        bottleneck(logits, 1.0, generator)
    assert bottleneck.vectors.abs().max() < 10
    used = bottleneck.eval().distances(logits).argmin(-1).unique()
    assert len(used) == 3


def test_the_commitment_pulls_the_logits_to_their_vectors():
    bottleneck = make_bottleneck("vq", 3, {"width": 2, "commitment": 0.5}).train()
    logits = torch.randn(20, 2, generator=seeded(1)).requires_grad_()
    code = bottleneck(logits, 1.0, seeded())
    cost = bottleneck.divergence(logits, code)
    gap = (logits - code).detach()
    expected = math.log(3) + 0.5 * gap.square().sum(1)
    np.testing.assert_allclose(cost.detach().numpy(), expected.numpy(), rtol=1e-5)
    cost.sum().backward()
    np.testing.assert_allclose(logits.grad.numpy(), gap.numpy(), rtol=1e-4, atol=1e-6)


# A mixture of normal distributions


def test_the_components_are_found_among_the_codes():
    centres = 4 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    kinds = torch.arange(3000) % 3
    logits = torch.cat([centres[kinds], torch.full((3000, 2), -2.0)], dim=1)
    bottleneck = make_bottleneck("vade", 3, {"width": 2, "warm_up": 0.5}).train()
    generator = seeded(1)
    code = bottleneck(logits[:1500], 0.0, generator)
    # The prior is a standard normal distribution at first.
    expected = multivariate_normal(np.zeros(2), np.eye(2)).logpdf(code.numpy())
    np.testing.assert_allclose(bottleneck.log_prior(code).detach().numpy(), expected, rtol=1e-4)
    bottleneck(logits[1500:], 0.5, generator)
    gaps = torch.cdist(bottleneck.means.detach(), centres)
    assert sorted(gaps.argmin(1).tolist()) == [0, 1, 2]
    assert gaps.amin(1).max() < 0.1
    variance = bottleneck.log_variances.exp()
    assert torch.allclose(variance, torch.full((3, 2), math.exp(-2.0)), rtol=0.2)
    bottleneck.eval()
    found = bottleneck.class_logits(logits, bottleneck(logits)).argmax(1)
    assert adjusted_rand_score(kinds.numpy(), found.numpy()) == 1.0


def test_the_prior_is_the_mixture_s_density():
    bottleneck = made("vade", {"width": 2})
    bottleneck.shares.data = torch.tensor([0.5, 0.0, -1.0])
    code = bottleneck.prior(50, seeded()).double()
    parts = (bottleneck.shares.softmax(0), bottleneck.means, bottleneck.log_variances.exp())
    density = sum(
        share * multivariate_normal(mean, np.diag(variance)).pdf(code.numpy())
        for share, mean, variance in zip(*(part.detach().numpy() for part in parts), strict=True)
    )
    np.testing.assert_allclose(
        bottleneck.log_prior(code).detach().exp().numpy(), density, rtol=1e-4
    )


# A class and a style


@pytest.mark.parametrize("style_prior", ["shared", "class"])
def test_the_marginal_bound_is_the_sum_over_the_classes(style_prior):
    bottleneck = made("m2", {"style": 2, "style_prior": style_prior, "warm_up": 0.0}).train()
    bottleneck(logits_of(bottleneck, 1))  # so few that there is nothing to start with
    logits = logits_of(bottleneck, 4).requires_grad_()
    code = bottleneck(logits, 1.0, seeded())
    assert code.shape == (12, 5)
    assert torch.equal(code[:, :3], torch.eye(3).repeat(4, 1))
    values = torch.randn(4, 3, generator=seeded(1))
    share = logits[:, :3].softmax(1)
    combined = bottleneck.combine(logits, code, values)
    np.testing.assert_allclose(
        combined.detach().numpy(), (share * values).sum(1).detach().numpy(), rtol=1e-5
    )
    found = bottleneck.divergence(logits, code).detach().numpy()
    # scipy's entropy for the classes, PyTorch's divergence for the styles
    of_class = [entropy(row, np.full(3, 1 / 3)) for row in share.detach().numpy()]
    of_style = np.zeros(4)
    for k in range(3):
        y = torch.eye(3)[[k]].expand(4, -1)
        pair = (
            Normal(mean, (log_variance / 2).exp())
            for mean, log_variance in (bottleneck.posterior(logits, y), bottleneck.prior_given(y))
        )
        of_style += (share[:, k] * kl_divergence(*pair).sum(1)).detach().numpy()
    np.testing.assert_allclose(found, np.array(of_class) + of_style, rtol=1e-4)


def test_the_classes_of_styles_are_those_of_a_mixture():
    centres = 4 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    kinds = torch.arange(3000) % 3
    deviation = torch.tensor([0.6, 1.3])
    of_style = centres[kinds] + deviation * torch.randn(3000, 2, generator=seeded(2))
    logits = torch.cat([torch.zeros(3000, 3), of_style, torch.zeros(3000, 2)], dim=1)
    parameters = {"style": 2, "style_prior": "class", "warm_up": 0.5}
    bottleneck = make_bottleneck("m2", 3, parameters).train()
    with torch.no_grad():
        code = bottleneck(logits[:1500], 0.0, seeded(1))
        # At first the style is that of a variational autoencoder without classes.
        own = Normal(of_style[:1500], torch.ones(1500, 2))
        expected = kl_divergence(own, Normal(torch.zeros(2), torch.ones(2))).sum(1)
        torch.testing.assert_close(bottleneck.divergence(logits[:1500], code), expected)
        bottleneck(logits[1500:], 0.5, seeded(1))
        means, log_variances = bottleneck.prior_given(torch.eye(3))
        gaps = torch.cdist(means, centres)
        assert sorted(gaps.argmin(1).tolist()) == [0, 1, 2]
        assert gaps.amin(1).max() < 0.15
        assert torch.allclose((log_variances / 2).exp(), deviation.expand(3, 2), rtol=0.05)
        # And classes are told apart as by scikit-learn's discriminant, which sees them.
        told = LinearDiscriminantAnalysis().fit(of_style.numpy(), kinds.numpy())
        expected = told.predict_proba(of_style.numpy())
        found = bottleneck.class_logits(logits, code).softmax(1)[:, gaps.argmin(0)]
        assert np.abs(found.numpy() - expected).max() < 0.05
        assert torch.equal(bottleneck.posterior(logits, found)[0], of_style)


def test_labels_say_what_the_classes_are_at_once():
    bottleneck = made("m2", {"style": 2, "style_prior": "class"}).train()
    logits = logits_of(bottleneck, 3)
    assert bottleneck.of_image(logits).abs().sum() == 0
    bottleneck.told(logits, torch.zeros(3, 3))
    assert torch.equal(bottleneck.of_image(logits), logits[:, :3])
    bottleneck(logits, 1.0)
    assert torch.equal(bottleneck.of_image(logits), logits[:, :3])


def test_what_is_known_of_the_class_is_used():
    bottleneck = made("m2", {"style": 2}).train()
    logits = logits_of(bottleneck, 3)
    targets = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    told = bottleneck.told(logits, targets)
    share = bottleneck.class_part(told).softmax(1)
    assert torch.allclose(share[0], targets[0], atol=1e-6)
    assert torch.allclose(share[2], targets[2], atol=1e-6)
    assert torch.equal(told[1], logits[1])
    assert torch.equal(told[:, 3:], logits[:, 3:])
    values = torch.tensor([[1.0, 2.0, 3.0]] * 3)
    found = bottleneck.combine(told, told, values)
    assert found[0].item() == pytest.approx(2, abs=1e-4)
    assert found[2].item() == pytest.approx(3, abs=1e-4)


# The Boltzmann machine


def machine_of(units: int = 8, seed: int = 0, size: float = 0.7) -> BoltzmannMachine:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        machine = BoltzmannMachine(units, chains=2000, sweeps=5).double()
        machine.weight.data = size * torch.randn(machine.weight.shape).double()
        machine.bias.data = size * torch.randn(units).double()
    return machine


def all_states(units: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=units)), dtype=torch.float64)


def brute_force(machine: BoltzmannMachine) -> float:
    """Return log Z by the definition, state by state."""
    weight, bias = machine.weight.detach().numpy(), machine.bias.detach().numpy()
    half = len(weight)
    exponents = [
        z[:half] @ weight @ z[half:] + bias @ z
        for z in itertools.product((0.0, 1.0), repeat=len(bias))
        for z in [np.array(z)]
    ]
    return float(logsumexp(exponents))


@pytest.mark.parametrize("units", [2, 6, 10])
def test_the_summed_partition_function_is_brute_force(units):
    machine = machine_of(units)
    assert machine.summed() == pytest.approx(brute_force(machine), rel=1e-12)
    machine.measure(seeded())
    total = machine.log_probability(all_states(units)).exp().sum()
    assert total.item() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_annealed_importance_sampling_finds_the_partition_function(seed):
    machine = machine_of(10, seed, size=1.5)
    estimates = [machine.annealed(seeded(k), n_chains=200, n_steps=300) for k in range(5)]
    assert np.mean(estimates) == pytest.approx(brute_force(machine), abs=0.05)
    # Coarse steps are not as good, but without bias: the mean of Z itself is right.
    coarse = [machine.annealed(seeded(k), n_chains=500, n_steps=3) for k in range(20)]
    ratios = np.exp(np.array(coarse) - brute_force(machine))
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / math.sqrt(len(ratios))


def test_chains_come_to_the_distribution_of_the_machine():
    machine = machine_of(6)
    machine.measure(seeded())
    start = torch.zeros(20_000, 6, dtype=torch.float64)
    drawn = machine.swept(start, 100, seeded())
    places = (drawn @ 2.0 ** torch.arange(5, -1, -1, dtype=torch.float64)).long()
    found = np.bincount(places.numpy(), minlength=64) / len(drawn)
    expected = machine.log_probability(all_states(6)).exp().detach().numpy()
    deviation = np.sqrt(expected * (1 - expected) / len(drawn))
    assert (np.abs(found - expected) < 4.5 * deviation + 1e-9).all()


def test_the_gradient_of_log_z_is_the_exact_one_in_the_mean():
    machine = machine_of(6)
    states = all_states(6)
    exact = torch.logsumexp(-machine.energy(states), 0)
    expected = torch.autograd.grad(exact, [machine.weight, machine.bias])
    machine.chain.copy_(machine.swept(machine.chain, 200, seeded(5)))
    generator, sums, squares, n = seeded(6), 0.0, 0.0, 200
    for _ in range(n):
        grads = torch.autograd.grad(
            machine.free_energy_gradient(generator), [machine.weight, machine.bias]
        )
        flat = torch.cat([g.flatten() for g in grads])
        sums, squares = sums + flat, squares + flat.square()
    mean = sums / n
    deviation = (squares / n - mean.square()).sqrt()
    flat = torch.cat([g.flatten() for g in expected])
    # Five sweeps leave little of the last state: the draws count as nearly independent.
    assert ((mean - flat).abs() < 6 * deviation / math.sqrt(n)).all()


def test_log_z_is_measured_now_and_then_while_training():
    machine = machine_of(8)
    generator = seeded(6)
    assert machine.free_energy_gradient(generator).item() == pytest.approx(brute_force(machine))
    with torch.no_grad():
        machine.weight += 0.5
    old = machine.free_energy_gradient(generator).item()
    assert old != pytest.approx(brute_force(machine), abs=0.05)
    for _ in range(MEASURED_EVERY):
        new = machine.free_energy_gradient(generator).item()
    assert new == pytest.approx(brute_force(machine))


# The discrete variational autoencoder


def gradients_of(
    bottleneck: Variational, logits: torch.Tensor, loss, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard error of the gradient of a loss of (logits, code), n draws."""
    bottleneck.train()
    generator, batch = seeded(2), 500
    found = []
    weights = [w for name, w in bottleneck.named_parameters() if not name.startswith("machine")]
    for _ in range(n // batch):
        many = logits.expand(batch, -1)
        code = bottleneck(many, 1.0, generator)
        grads = torch.autograd.grad(loss(many, code).mean(), weights)
        found.append(torch.cat([g.flatten() for g in grads]).numpy())
    bottleneck.eval()
    return np.mean(found, 0), np.std(found, 0) / math.sqrt(len(found))


def tiny_dvae(units: int, layers: int, **parameters: object) -> DiscreteVariational:
    parameters = {"units": units, "layers": layers, "continuous": 0, "hidden": 4, **parameters}
    bottleneck = made("dvae", parameters)
    assert isinstance(bottleneck, DiscreteVariational)
    bottleneck.machine.weight.data.fill_(4.0)  # what the energy changes by must show
    bottleneck.machine.bias.data.fill_(-2.0)
    bottleneck.settle(seeded())
    return bottleneck


def quadrature(bottleneck: DiscreteVariational, logits: torch.Tensor, of_code) -> torch.Tensor:
    """Return ``KL(q || p) + E of_code(smoothed)`` of two units in two groups, by summing.

    Over both values of each unit; over the smoothed number of a unit that is 1, whose density
    does not depend on the posterior, by the midpoint rule.
    """
    n = 400
    share = (torch.arange(n) + 0.5) / n
    slab = torch.log1p(share * math.expm1(bottleneck.beta)) / bottleneck.beta
    points = torch.cat([torch.zeros(1), slab])  # the spike, then the slab
    units = (points > 0).float()

    def weights(one: torch.Tensor) -> torch.Tensor:
        return torch.cat([1 - one, (one / n).expand(*one.shape[:-1], n)], dim=-1)

    first = torch.sigmoid(bottleneck.groups[0](logits[None]))[0]
    inputs = torch.cat([logits.expand(n + 1, -1), points[:, None]], dim=1)
    second = torch.sigmoid(bottleneck.groups[1](inputs))
    pair = weights(first)[:, None] * weights(second)
    states = torch.stack(torch.meshgrid(units, units, indexing="ij"), dim=-1).view(-1, 2)
    smoothed = torch.stack(torch.meshgrid(points, points, indexing="ij"), dim=-1).view(-1, 2)

    def log_bernoulli(one: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        return unit * one.log() + (1 - unit) * (1 - one).log()

    log_q = log_bernoulli(first, units)[:, None] + log_bernoulli(second, units)
    log_p = bottleneck.machine.log_probability(states).view(n + 1, n + 1)
    return (pair * (log_q - log_p + of_code(smoothed).view(n + 1, n + 1))).sum()


@pytest.mark.parametrize("size", [0.0, 3.0])
def test_the_gradient_of_the_hierarchy_is_unbiased(size):
    bottleneck = tiny_dvae(2, 2)
    logits = torch.randn(bottleneck.n_logits, generator=seeded(3))

    def of_code(code: torch.Tensor) -> torch.Tensor:
        return size * (code @ torch.tensor([1.0, -2.0]) + 0.3).square()

    def loss(many: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        return bottleneck.divergence(many, code, seeded(4)) + of_code(code)

    exact = quadrature(bottleneck, logits, of_code)
    weights = [w for name, w in bottleneck.named_parameters() if not name.startswith("machine")]
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(exact, weights)]).numpy()
    mean, error = gradients_of(bottleneck, logits, loss, n=20_000)
    assert np.abs(expected).max() > 0.1
    assert (np.abs(mean - expected) < 4.5 * error + 1e-4).all()


def test_the_gradient_needs_the_units_that_would_change():
    """Without what the energy changes by, the gradient of the same loss is clearly wrong."""
    bottleneck = tiny_dvae(2, 2)
    logits = torch.randn(bottleneck.n_logits, generator=seeded(3))
    exact = quadrature(bottleneck, logits, lambda code: 0 * code[:, 0])
    weights = [w for name, w in bottleneck.named_parameters() if not name.startswith("machine")]
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(exact, weights)]).numpy()
    bottleneck._units_with_gradient = lambda one, smoothed: (smoothed > 0).float()
    mean, error = gradients_of(
        bottleneck, logits, lambda many, code: bottleneck.divergence(many, code, seeded(4)), 20_000
    )
    assert (np.abs(mean - expected) > 6 * error).any()


def test_smoothed_units_have_the_density_of_the_paper():
    bottleneck = tiny_dvae(2, 1, beta=3.0)
    logit, n = torch.tensor(0.4), 100_000
    uniform = torch.rand(n, generator=seeded(1))
    smoothed = bottleneck.smoothed(logit.expand(n), uniform).double().numpy()
    one = float(torch.sigmoid(logit))
    assert (smoothed == 0).mean() == pytest.approx(1 - one, abs=4 * 0.5 / math.sqrt(n))
    slab = smoothed[smoothed > 0]

    def distribution(s: np.ndarray) -> np.ndarray:
        return np.expm1(3.0 * s) / np.expm1(3.0)

    assert kstest(slab[:20_000], distribution).pvalue > 0.01
    assert smoothed.max() <= 1


def test_gumbolt_comes_to_the_exact_divergence_as_its_temperature_falls():
    sharp = tiny_dvae(4, 2, smoothing="gumbolt", temperature=0.01)
    logits, n = logits_of(sharp, 1), 20_000
    many = logits.expand(n, -1)
    with torch.no_grad():
        code = sharp.draw(many, seeded())
        exact = sharp.divergence(many, code).double()
        sharp.train()
        relaxed = sharp.divergence(many, sharp(many, 1.0, seeded(1)), seeded()).double()
    error = math.hypot(exact.std(), relaxed.std()) / math.sqrt(n)
    assert abs(float(relaxed.mean() - exact.mean())) < 4 * error + 0.02


def test_exact_units_of_gumbolt_are_zero_or_one():
    bottleneck = tiny_dvae(4, 2, smoothing="gumbolt")
    logits = logits_of(bottleneck, 50)
    for code in (bottleneck.draw(logits, seeded()), bottleneck(logits), bottleneck.prior(50)):
        assert set(code.unique().tolist()) <= {0.0, 1.0}
    assert len(bottleneck.train()(logits, 1.0, seeded()).unique()) > 50


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (
            {"units": 6, "layers": 4},
            "The 'units' parameter of DiscreteVariational must be even, and a multiple of "
            "'layers' (4). Got 6 instead.",
        ),
        (
            {"units": 3, "layers": 3},
            "The 'units' parameter of DiscreteVariational must be even, and a multiple of "
            "'layers' (3). Got 3 instead.",
        ),
        (
            {"beta": 0.0},
            "The 'beta' parameter of DiscreteVariational must be a number above 0. "
            "Got 0.0 instead.",
        ),
        (
            {"chains": 0},
            "The 'chains' parameter of DiscreteVariational must be a whole number of at least 1. "
            "Got 0 instead.",
        ),
        (
            {"smoothing": "gumbold"},
            "There is no smoothing named 'gumbold'. Did you mean 'gumbolt'? Known smoothings: "
            "gumbolt, spike-and-exponential.",
        ),
    ],
)
def test_parameters_that_cannot_be(parameters, sentence):
    with pytest.raises(InputError) as error:
        make_bottleneck("dvae", 10, parameters)
    assert str(error.value) == sentence
