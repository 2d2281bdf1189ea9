"""Step, epoch and fit on tiny data: what they compute, what they leave alone, when they stop."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from selfsort import training
from selfsort.augment import VectorTransform
from selfsort.bottlenecks import BOTTLENECKS, make_bottleneck
from selfsort.bottlenecks.gumbel import Gumbel
from selfsort.bottlenecks.softmax import Softmax
from selfsort.errors import InputError, NotFiniteError
from selfsort.networks import PARTS, make_network
from selfsort.objectives import Objective
from selfsort.precision import has_fast_bfloat16
from selfsort.training import Data, Feed, Fit, Model, Settings, loop
from selfsort.training.data import batches
from selfsort.training.settings import cosine, make_optimizer

P, K, STYLE = 6, 3, 2


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """More threads only wait for each other on data as small as this."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny_data(n: int = 50) -> Data:
    """Points around three corners, in [0, 1]."""
    corners = torch.eye(K).repeat(1, P // K)
    noise = 0.2 * torch.rand(n, P, generator=seeded(3))
    return Data(0.8 * corners[torch.arange(n) % K] + noise, 0.0, 1.0)


def one_hot(n: int) -> torch.Tensor:
    return torch.eye(K)[torch.arange(n) % K]


def make_fit(weights: dict[str, float] | None = None, **settings: object) -> Fit:
    torch.manual_seed(0)
    model = Model(make_network("dense", (P,), K, STYLE), Softmax(K))
    values: dict = {"epochs": 3, "batch_size": 16, "learning_rate": 1e-2, **settings}
    return Fit(model, Objective(weights or {"mse": 1.0}), Settings(**values), seeded(1))


def state_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# Data and feed


def test_a_batch_is_float_between_0_and_1():
    inputs = torch.tensor([[0, 51], [255, 102]], dtype=torch.uint8)
    np.testing.assert_allclose(Data(inputs).batch(slice(0, 2)), [[0, 0.2], [1, 0.4]], rtol=1e-6)
    shifted = Data(torch.tensor([[-2.0], [0.0], [2.0]]), -2.0, 2.0)
    assert shifted.batch(torch.tensor([2, 0, 1])).tolist() == [[1.0], [0.0], [0.5]]
    assert len(shifted) == 3


def test_an_epoch_goes_through_every_image_of_the_index_once():
    data = tiny_data(20)
    assert sorted(Feed(data).order(seeded(), 8).tolist()) == list(range(20))
    some = Feed(data, index=torch.tensor([3, 5, 7, 11]))
    assert len(some) == 4
    assert sorted(some.order(seeded(), 8).tolist()) == [3, 5, 7, 11]
    orders = {tuple(some.order(seeded(seed), 8).tolist()) for seed in range(20)}
    assert len(orders) > 5


def test_partners_are_drawn_evenly_from_the_neighbours():
    neighbours = torch.tensor([[1, 2], [2, 0], [0, 1]])
    feed, index = Feed(tiny_data(3), neighbours=neighbours), torch.arange(3).repeat(2000)
    partners = feed.partner_of(index, seeded())
    assert (neighbours[index] == partners[:, None]).any(1).all()
    share = (partners == neighbours[index, 0]).double().mean().item()
    assert share == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(6000))
    assert torch.equal(Feed(tiny_data(3)).partner_of(index, seeded()), index)


def test_views_are_transformed_by_the_generator():
    feed = Feed(tiny_data(), VectorTransform())
    index = torch.arange(10)
    first, again, other = (
        feed.view(feed.draw(index, seeded(seed), partners=False)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(Feed(tiny_data()).view({"index": index}), tiny_data().batch(index))


def test_partners_are_other_views_of_the_images_drawn():
    neighbours = (torch.arange(50)[:, None] + 1) % 50
    feed, index = Feed(tiny_data(), VectorTransform(), neighbours), torch.arange(10)
    batch = feed.draw(index, seeded(), partners=True)
    assert torch.equal(batch["partner index"], index + 1)
    assert not torch.equal(batch["transform"], batch["partner transform"])
    noise = torch.zeros_like(batch["partner transform"])
    assert torch.equal(
        feed.view(batch | {"partner transform": noise}, "partner "), tiny_data().batch(index + 1)
    )


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        (10, 4, [4, 4, 2]),
        (9, 4, [4, 5]),
        (8, 4, [4, 4]),
        (5, 4, [5]),
        (3, 8, [3]),
        (1, 8, [1]),
    ],
)
def test_a_last_batch_of_one_image_joins_the_one_before(n, batch_size, sizes):
    found = list(batches(torch.arange(n), batch_size))
    assert [len(batch) for batch in found] == sizes
    assert torch.equal(torch.cat(found), torch.arange(n))


def test_an_epoch_with_one_image_left_over_is_trained_on():
    fit = make_fit(epochs=1, batch_size=7)
    history = training.fit(fit, Feed(tiny_data(22)))
    assert math.isfinite(history[0]["loss"])


# The model


def test_images_and_partners_go_through_the_network_as_one_batch():
    model = make_fit().model.train()
    images, partners = tiny_data(8).batch(slice(0, 8)), tiny_data(16).batch(slice(8, 16))
    kept = state_of(model)
    outputs = model(images, partners)
    model.load_state_dict(kept)
    together = model.network.encode(torch.cat([images, partners]))
    code = together.logits.softmax(1)
    assert torch.equal(outputs.code, code[:8])
    assert torch.equal(outputs.partner_code, code[8:])
    assert torch.equal(outputs.logits, together.logits[:8])
    assert outputs.reconstruction.shape == (8, P)


def test_what_was_looked_at_may_enter_a_training_step():
    fit, data = make_fit(), tiny_data(20)
    features, index = training.look_at(
        fit.model, data, lambda images, encoded: [encoded.features, images.argmax(1)],
        part=slice(3, 18),
    )  # fmt: skip
    fit.model.eval()
    expected = fit.model.network.encode(data.batch(slice(3, 18))).features
    torch.testing.assert_close(features, expected.detach())
    assert index.tolist() == data.inputs[3:18].argmax(1).tolist()
    assert not features.is_inference()
    weights = torch.ones(features.shape[1], requires_grad=True)
    (features * weights).sum().backward()  # keeps the features: inference tensors cannot be
    torch.testing.assert_close(weights.grad, features.sum(0))


def test_what_is_not_asked_for_is_not_computed():
    model = make_fit().model.eval()
    outputs = model(tiny_data(4).batch(slice(0, 4)), reconstruct=False)
    assert outputs.reconstruction is None
    assert outputs.partner_code is None
    plain = Model(make_network("dense", (P,), 0, 2), Softmax(0)).eval()
    without = plain(tiny_data(4).batch(slice(0, 4)))
    assert without.code is None
    assert without.reconstruction.shape == (4, P)


def test_given_logits_spare_the_encoder():
    network = make_network("convolutional", (1, 8, 8), K, STYLE)
    model = Model(network, Softmax(K)).eval()
    images = torch.rand(6, 1, 8, 8, generator=seeded())
    with torch.no_grad():
        expected = model(images)
        network.encoder = None  # would raise if it was used
        outputs = model(images, logits=expected.logits)
    assert torch.equal(outputs.code, expected.code)
    assert torch.equal(outputs.reconstruction, expected.reconstruction)


def test_a_feed_gives_each_image_its_own_logits(monkeypatch):
    fit = make_fit(epochs=1, learning_rate=0.0)
    logits = torch.eye(K)[torch.arange(50) % K]
    seen = []
    bottleneck = fit.model.bottleneck.forward
    monkeypatch.setattr(
        fit.model.bottleneck,
        "forward",
        lambda given, *rest: seen.append(given) or bottleneck(given),
    )
    index = torch.tensor([3, 49, 7])
    loop.terms_of(fit, Feed(tiny_data(), logits=logits), {"index": index}, 0.0)
    assert torch.equal(seen[0], logits[index])


def test_the_decoder_reads_the_code_and_then_the_style():
    code, style = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])
    assert training.latent_of(code, style).tolist() == [[1, 2, 3]]
    assert training.latent_of(None, style).tolist() == [[3]]
    assert training.latent_of(code, None).tolist() == [[1, 2]]


# Schedules


def test_cosine_by_hand():
    assert cosine(0.0) == 0
    assert cosine(0.02) == pytest.approx(0.2)
    assert cosine(0.1) == pytest.approx(1)
    assert cosine(0.4) == pytest.approx(0.75)  # a third of the way: (1 + cos 60°) / 2
    assert cosine(0.7) == pytest.approx(0.25)
    assert cosine(1.0) == pytest.approx(0)
    assert cosine(0.25, warm_up=0.5) == pytest.approx(0.5)
    assert cosine(0.5, warm_up=0.0) == pytest.approx(0.5)


@pytest.mark.parametrize("name", sorted(training.SCHEDULES))
def test_every_schedule_is_a_factor_from_0_to_1(name):
    factors = [training.SCHEDULES[name](progress) for progress in np.linspace(0, 1, 101)]
    assert 0 <= min(factors) <= max(factors) <= 1
    assert max(factors) == pytest.approx(1, abs=0.01)


def test_the_schedule_and_the_bottleneck_see_progress_rise_evenly(monkeypatch):
    seen: list[float] = []
    temperatures: list[float] = []
    schedule = lambda p: seen.append(p) or 1.0  # noqa: E731
    fit = make_fit(epochs=3, batch_size=10, optimizer="sgd", schedule=schedule)
    fit.model.bottleneck = Gumbel(K)
    monkeypatch.setattr(Gumbel, "temperature", lambda self, p: temperatures.append(p) or 1.0)
    training.fit(fit, Feed(tiny_data(40)))
    assert seen == pytest.approx([step / 12 for step in range(12)])
    assert temperatures == seen


# Optimizers


@pytest.mark.parametrize("name", sorted(training.OPTIMIZERS))
def test_every_optimizer_holds_every_weight_once_and_learns(name):
    fit = make_fit(optimizer=name, momentum=0.5, weight_decay=1e-5, epochs=15, learning_rate=0.02)
    optimizer = make_optimizer(fit.model.network, fit.settings)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in fit.model.network.parameters())
    history = training.fit(fit, Feed(tiny_data()))
    assert history[-1]["loss"] < 0.95 * history[0]["loss"]


def test_adamw_decays_matrices_only():
    fit = make_fit(weight_decay=0.3)
    optimizer = make_optimizer(fit.model.network, fit.settings)
    for group in optimizer.param_groups:
        for weight in group["params"]:
            assert group["weight_decay"] == (0.3 if weight.ndim >= 2 else 0.0)
    assert {p.ndim for group in optimizer.param_groups for p in group["params"]} == {1, 2}


def test_sgd_has_its_momentum_and_decays_all():
    settings = make_fit(optimizer="sgd", momentum=0.5, weight_decay=0.1).settings
    (group,) = make_optimizer(make_fit().model.network, settings).param_groups
    assert (group["momentum"], group["weight_decay"], group["lr"]) == (0.5, 0.1, 1e-2)


def test_an_optimizer_that_is_not_known():
    settings = replace(make_fit().settings, optimizer="adm")
    with pytest.raises(InputError) as error:
        make_optimizer(make_fit().model.network, settings)
    assert str(error.value) == (
        "There is no optimizer named 'adm'. Did you mean 'adam'? "
        "Known optimizers: adam, adamw, sgd."
    )


# One step


def test_a_step_moves_along_the_gradient_of_the_weighted_mean():
    weights = {"mse": 0.5, "classification": 2.0}
    fit = make_fit(weights, optimizer="sgd", learning_rate=0.1)
    fit.model.eval()  # running statistics fixed: the loss is a plain function of the weights
    feed, index = Feed(tiny_data(), targets=one_hot(50)), torch.arange(8)
    images = tiny_data().batch(index)
    outputs = fit.model(images)
    mse = (outputs.reconstruction - images).square().mean()
    entropy = torch.nn.functional.cross_entropy(outputs.logits, torch.arange(8) % K)
    parameters = list(fit.model.parameters())
    gradients = torch.autograd.grad(0.5 * mse + 2 * entropy, parameters)
    expected = [p.detach() - 0.1 * g for p, g in zip(parameters, gradients, strict=True)]
    means = loop.train_step(fit, feed, index, progress=0.5)
    assert means.tolist() == pytest.approx([mse.item(), entropy.item()], rel=1e-5)
    for found, wanted in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(found.detach().numpy(), wanted.numpy(), atol=1e-6)


class NoQuestions(TorchDispatchMode):
    """Raises where a number is fetched from the device: a GPU's host would wait for it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}:
            raise AssertionError(f"{func} waits for the device.")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("terms", [{"information": 1.0}, {"mse": 1.0, "classification": 1.0}])
def test_a_step_asks_the_device_for_nothing(monkeypatch, terms):
    """As on a GPU, whose terms are looked at every fifty steps only."""
    fit = make_fit(terms, average=0.9, epochs=1)
    feed = Feed(tiny_data(), VectorTransform(), torch.arange(50)[:, None], one_hot(50))
    with pytest.raises(AssertionError, match="waits for the device"), NoQuestions():
        loop.train_step(fit, feed, torch.arange(20), 0.5)
    monkeypatch.setattr(fit, "check", lambda *_: None)
    before = state_of(fit.model)
    batch = feed.draw(torch.arange(20), fit.generator, partners=True)
    with NoQuestions():
        loop.learn(fit, feed, batch, 0.5)
    fit.averaged.update_parameters(fit.model)
    assert not same(before, state_of(fit.model))


# One epoch


def test_the_epoch_means_weigh_every_image_alike():
    fit = make_fit(epochs=1, batch_size=16, learning_rate=0.0)
    means: list[float] = []
    sizes = [len(b) for b in batches(torch.arange(50), 16)]
    step = loop.train_step

    def watched(*arguments, **named):
        found = step(*arguments, **named)
        means.append(found.item())
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", watched)
        (row,) = training.fit(fit, Feed(tiny_data(50)))
    assert sizes == [16, 16, 16, 2]
    assert row["mse"] == pytest.approx(np.average(means, weights=sizes))
    assert row["mse"] != pytest.approx(np.mean(means), rel=1e-9)


# A fit


def test_the_history_has_a_row_an_epoch_with_every_term():
    weights = {"mse": 0.5, "classification": 2.0, "information": 0.1}
    fit = make_fit(weights, epochs=4)
    fit.stage = "self-training"
    rows: list = []
    fit.on_epoch = lambda row: rows.append(row)  # type: ignore[func-returns-value]
    history = training.fit(fit, Feed(tiny_data(), targets=one_hot(50)))
    assert history is fit.history
    assert history == rows
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    for row in history:
        assert row["stage"] == "self-training"
        assert row["n_epochs"] == 4
        assert row["images_per_second"] > 0
        total = sum(weight * row[name] for name, weight in weights.items())
        assert row["loss"] == pytest.approx(total)
    assert not fit.stopped


def test_the_loss_falls_and_the_classes_are_learned():
    fit = make_fit({"mse": 1.0, "classification": 1.0}, epochs=20)
    history = training.fit(fit, Feed(tiny_data(), targets=one_hot(50)))
    assert history[-1]["classification"] < 0.2 * history[0]["classification"]
    assert history[-1]["mse"] < 0.5 * history[0]["mse"]
    with torch.no_grad():
        outputs = fit.model(tiny_data().batch(slice(0, 50)))
    assert outputs.code.argmax(1).tolist() == [i % K for i in range(50)]


def test_information_learns_from_neighbours():
    neighbours = torch.tensor([[(i + K) % 60, (i - K) % 60] for i in range(60)])
    fit = make_fit({"information": 1.0}, epochs=20, batch_size=30)
    fit.model.network.sharpen_head(seeded(2))
    history = training.fit(fit, Feed(tiny_data(60), VectorTransform(), neighbours))
    assert history[-1]["information"] < -0.8  # log 3 = 1.099 is the most there is


def test_the_model_is_left_ready_for_use():
    fit = make_fit(epochs=1, phases=[("decoder", 1)])
    training.fit(fit, Feed(tiny_data()))
    assert not any(module.training for module in fit.model.modules())
    assert all(p.requires_grad for p in fit.model.parameters())


@pytest.mark.parametrize("bottleneck", sorted(BOTTLENECKS))
def test_the_same_seed_gives_the_same_bits(bottleneck):
    found = []
    for _ in range(2):
        fit = make_fit({"mse": 1.0}, average=0.9, epochs=2)
        torch.manual_seed(0)
        made = make_bottleneck(bottleneck, K)
        widths = {"n_logits": made.n_logits, "code_dim": made.code_dim}
        fit = replace(fit, model=Model(make_network("dense", (P,), K, STYLE, **widths), made))
        before = torch.get_rng_state()
        training.fit(fit, Feed(tiny_data(), VectorTransform()))
        assert torch.equal(before, torch.get_rng_state())
        found.append((state_of(fit.model), [row["loss"] for row in fit.history]))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


# Phases


@pytest.mark.parametrize("optimizer", sorted(training.OPTIMIZERS))
@pytest.mark.parametrize("part", PARTS)
def test_frozen_parts_keep_every_bit(part, optimizer):
    settings = {"optimizer": optimizer, "momentum": 0.9, "weight_decay": 0.1, "average": 0.9}
    fit = make_fit({"mse": 1.0, "classification": 1.0}, phases=[(part, 2)], **settings)
    network = fit.model.network
    members = {
        "encoder": torch.nn.ModuleList([network.encoder, network.neck]),
        "head": network.head,
        "style": network.style,
        "decoder": network.decoder,
    }
    before = {name: state_of(module) for name, module in members.items()}
    training.fit(fit, Feed(tiny_data(), targets=one_hot(50)))
    changed = {name for name, module in members.items() if not same(before[name], state_of(module))}
    assert changed == {part}


def test_a_part_that_trained_before_stays_once_it_is_frozen():
    # Momentum and old gradients must not move it on.
    fit = make_fit(optimizer="sgd", momentum=0.9, phases=[("all", 2), ("decoder", 1)])
    states = []
    fit.on_epoch = lambda row: states.append(state_of(fit.model.network)) and False
    training.fit(fit, Feed(tiny_data()))
    for name in states[0]:
        kept = torch.equal(states[1][name], states[2][name])
        assert kept == (not name.startswith("decoder"))
    assert [row["n_epochs"] for row in fit.history] == [3, 3, 3]


def test_phases_are_the_plan_of_the_epochs():
    settings = make_fit(epochs=9, phases=[("decoder", 2), ("encoder+head", 1)]).settings
    assert training.parts_by_epoch(settings) == [("decoder",), ("decoder",), ("encoder", "head")]
    assert training.parts_by_epoch(make_fit(epochs=2).settings) == [PARTS, PARTS]


@pytest.mark.parametrize(
    ("phases", "sentence"),
    [
        (
            [("decodr", 2)],
            "There is no part named 'decodr'. Did you mean 'decoder'? "
            "Known parts: all, decoder, encoder, head, style.",
        ),
        (
            [("head+neck", 2)],
            "There is no part named 'neck'. Known parts: all, decoder, encoder, head, style.",
        ),
        (
            ("decoder", 2),
            "The 'phases' parameter must be a list of (parts, epochs) pairs such as "
            "('decoder', 2). Got 'decoder' in it instead.",
        ),
        (
            [("all", 1, 2)],
            "The 'phases' parameter must be a list of (parts, epochs) pairs such as "
            "('decoder', 2). Got ('all', 1, 2) in it instead.",
        ),
        (
            [("all", 0)],
            "The epochs of phase 'all' must be a whole number of at least 1. Got 0 instead.",
        ),
        (
            [("all", 1.5)],
            "The epochs of phase 'all' must be a whole number of at least 1. Got 1.5 instead.",
        ),
    ],
)
def test_phases_that_cannot_be_used(phases, sentence):
    with pytest.raises(InputError) as error:
        training.check_phases(phases)
    assert str(error.value) == sentence


def test_a_phase_that_changes_no_term_says_so():
    fit = make_fit({"classification": 1.0}, phases=[("decoder", 2)])
    with pytest.raises(InputError) as error:
        training.fit(fit, Feed(tiny_data(), targets=one_hot(50)))
    assert str(error.value) == (
        "Nothing can be learned in stage 'fit': its terms (classification) do not depend on the "
        "parts that train. Change the 'phases' parameter."
    )


# Averaged weights


def test_averaged_weights_are_the_moving_average_of_all_steps():
    decay, fit = 0.3, make_fit(average=0.3, epochs=2)  # reached after three steps
    states: list[dict[str, torch.Tensor]] = []
    fit.on_step = lambda step, n_steps: states.append(state_of(fit.model)) and False
    training.fit(fit, Feed(tiny_data()))
    assert len(states) == 8
    found = state_of(fit.model)
    for name, first in states[0].items():
        if not first.is_floating_point():
            continue
        expected = first.double().numpy()
        for step, state in enumerate(states[1:], start=1):
            kept = min(decay, (1 + step) / (10 + step))
            expected = kept * expected + (1 - kept) * state[name].double().numpy()
        np.testing.assert_allclose(found[name].numpy(), expected, atol=1e-6)
    assert not same(found, states[-1])


class Darker(VectorTransform):
    """Takes nine tenths of the light away."""

    def apply(self, vectors: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        return vectors * 0.1


def test_normalisations_are_measured_on_images_without_transform():
    """What the transform makes of the images must not be what the network expects of them."""
    fit, data = make_fit(epochs=1), tiny_data(40)
    fit.model.network.mean, fit.model.network.std = 0.3, 0.5
    training.fit(fit, Feed(data, Darker()))
    network = fit.model.network
    flatten, first = network.encoder[0], network.encoder[1]
    with torch.no_grad():
        rows = first[0](flatten((data.inputs - 0.3) / 0.5)).numpy()
    norm = first[1]
    np.testing.assert_allclose(norm.running_mean, rows.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(norm.running_var, rows.var(axis=0, ddof=1), rtol=1e-4)
    assert norm.momentum == 0.1


def test_without_a_transform_or_with_a_frozen_encoder_normalisations_are_left_alone(monkeypatch):
    monkeypatch.setattr(loop, "calibrate", None)
    training.fit(make_fit(epochs=1), Feed(tiny_data()))
    frozen = make_fit(phases=[("decoder", 1)])
    training.fit(frozen, Feed(tiny_data(), VectorTransform()))


def test_without_averaging_the_last_weights_stay():
    fit = make_fit(average=0.0)
    last: dict[str, torch.Tensor] = {}
    fit.on_step = lambda step, n_steps: last.update(state_of(fit.model))  # type: ignore[func-returns-value]
    training.fit(fit, Feed(tiny_data()))
    assert same(state_of(fit.model), last)


# Stopping


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_hook_stops_after_an_epoch(epoch):
    fit = make_fit(epochs=5)
    fit.on_epoch = lambda row: row["epoch"] == epoch
    assert len(training.fit(fit, Feed(tiny_data()))) == epoch
    assert fit.stopped
    assert not fit.model.training


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_hook_stops_after_a_step_and_what_was_learned_stays(average):
    fit = make_fit(epochs=5, average=average)
    before, steps, rows = state_of(fit.model), [], []
    fit.on_step = lambda step, n_steps: steps.append((step, n_steps)) or len(steps) == 6
    fit.on_epoch = lambda row: rows.append(row) and False
    training.fit(fit, Feed(tiny_data()))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4), (1, 4), (2, 4)]
    assert fit.stopped
    assert [row["epoch"] for row in rows] == [1, 2]
    assert math.isfinite(rows[-1]["loss"])
    assert not same(before, state_of(fit.model))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_input_that_is_not_finite_stops_with_epoch_step_and_term(value):
    data = tiny_data(32)
    fit = make_fit({"classification": 1.0, "mse": 1.0}, epochs=4)
    fit.stage = "self-training"
    seen = itertools.count(1)

    def spoil(step: int, n_steps: int) -> bool:
        if next(seen) == 3:  # epoch 2, step 1 of 2: the next step meets the spoilt input
            data.inputs[:] = value
        return False

    fit.on_step = spoil
    with pytest.raises(NotFiniteError) as error:
        training.fit(fit, Feed(data, targets=one_hot(32)))
    assert str(error.value) == (
        "The term 'classification' became nan in epoch 2, step 2 of stage 'self-training': "
        "training stopped. Try a lower learning rate (now 0.01)."
    )


def test_a_learning_rate_far_too_large_stops_too():
    fit = make_fit(optimizer="sgd", learning_rate=1e30, epochs=20)
    with pytest.raises(NotFiniteError) as error:
        training.fit(fit, Feed(tiny_data()))
    sentence = str(error.value)
    assert sentence.startswith("The term 'mse' became nan in epoch ")
    assert sentence.endswith(
        "of stage 'fit': training stopped. Try a lower learning rate (now 1e+30)."
    )
    assert "\n" not in sentence


# bfloat16


def test_bfloat16_runs_only_the_network():
    fit = make_fit(autocast=True, epochs=2)
    history = training.fit(fit, Feed(tiny_data()))
    assert history[1]["loss"] < history[0]["loss"]
    assert {p.dtype for p in fit.model.parameters()} == {torch.float32}


def test_bfloat16_is_asked_of_known_devices_only():
    assert has_fast_bfloat16(torch.device("meta")) is False
    file = Path("/proc/cpuinfo")
    words = set(file.read_text(encoding="utf-8").split()) if file.exists() else set()
    fast = "amx_tile" in words or {"AuthenticAMD", "avx512_bf16"} <= words
    assert has_fast_bfloat16(torch.device("cpu")) is fast


@pytest.mark.parametrize(
    ("expected", "name", "instructions"),
    [
        (True, "Intel Xeon Platinum 8481C", {"avx512_bf16", "amx_tile"}),
        (False, "Intel Xeon Platinum 8481C", {"avx512_bf16"}),  # AMX hidden: slower than float32
        (True, "AMD EPYC", {"avx512_bf16"}),
        (False, "AMD EPYC", {"avx512_f"}),
        (False, "", {"avx512_bf16"}),
    ],
)
def test_bfloat16_on_processors(monkeypatch, expected, name, instructions):
    known = {"cpu_name": name, **dict.fromkeys(instructions, True)}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    amx = "amx_tile" in instructions
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert has_fast_bfloat16(torch.device("cpu")) is expected


def test_pytorch_that_does_not_tell_the_processor_s_name(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert has_fast_bfloat16(torch.device("cpu")) is False


def test_the_model_tells_the_bottleneck_what_is_known():
    bottleneck = make_bottleneck("m2", K, {"style": 2})
    widths = {"n_logits": bottleneck.n_logits, "code_dim": bottleneck.code_dim}
    model = Model(make_network("dense", (P,), K, 0, **widths), bottleneck).train()
    targets = torch.zeros(6, K)
    targets[0, 2] = 1.0
    generator = torch.Generator().manual_seed(0)
    outputs = model(torch.rand(6, P), targets=targets, diverge=True, generator=generator)
    values = torch.rand(6, K, generator=generator)
    combined = outputs.combine(values)
    assert combined[0].item() == pytest.approx(values[0, 2].item(), abs=1e-4)
    share = outputs.logits[1, :K].softmax(0)
    assert combined[1].item() == pytest.approx((share * values[1]).sum().item(), rel=1e-4)
    # What the head says of the class is what the cross-entropy sees, not what it was told.
    assert torch.equal(outputs.class_logits, outputs.logits[:, :K])


def test_the_divergence_counts_nothing_at_the_start_and_all_at_the_end():
    """A step without it and a step with it, on the same images and noise."""
    moved = {}
    for terms in ({"mse": 1.0}, {"mse": 1.0, "divergence": 1.0}):
        for progress in (0.0, 1.0):
            torch.manual_seed(0)
            fit = make_fit(terms)
            fit.model.bottleneck = Gumbel(K, start=1.0, end=1.0)
            fit.optimizer = torch.optim.SGD(fit.model.parameters(), lr=0.1)
            loop.train_step(fit, Feed(tiny_data()), torch.arange(20), progress)
            moved[len(terms), progress] = state_of(fit.model)
    assert same(moved[1, 0.0], moved[2, 0.0])
    assert not same(moved[1, 1.0], moved[2, 1.0])
