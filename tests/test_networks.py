"""Every registered network on every shape that it accepts, and whole sentences for the others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from selfsort.errors import InputError
from selfsort.networks import NETWORKS, PARTS, Network, make_network

SHAPES = [(1, 8, 8), (1, 9, 50), (1, 28, 28), (3, 96, 96), (4, 17, 12), (3, 32, 32), (64,), (2,)]
# (classes, style): both, the pure K-way bottleneck, and an autoencoder without classes.
WIDTHS = [(3, 2), (10, 0), (0, 5)]
N = 3


def build(name: str, shape: tuple[int, ...], widths: tuple[int, int]) -> Network:
    torch.manual_seed(0)
    return make_network(name, shape, *widths)


def built() -> list:
    """Return every combination that is accepted, with its sizes."""
    accepted = []
    for name in sorted(NETWORKS):
        for shape in SHAPES:
            for widths in WIDTHS:
                try:
                    build(name, shape, widths)
                except InputError:
                    continue
                accepted.append(pytest.param(name, shape, widths, id=f"{name}-{shape}-{widths}"))
    return accepted


ACCEPTED = built()
accepted = pytest.mark.parametrize(("name", "shape", "widths"), ACCEPTED)
everything = pytest.mark.parametrize("name", sorted(NETWORKS))


def images_of(shape: tuple[int, ...], n: int = N) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def rebuilt(network: Network, images: torch.Tensor) -> torch.Tensor:
    encoded = network.encode(images)
    parts = [encoded.logits, encoded.style]
    return network.decode(torch.cat([part for part in parts if part is not None], dim=1))


def an_accepted(name: str) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Return the shape and widths of the first combination that a network accepts."""
    return next(tuple(one.values[1:]) for one in ACCEPTED if one.values[0] == name)


# Everything registered


@accepted
def test_shapes_and_finite_values(name, shape, widths):
    network = build(name, shape, widths).eval()
    with torch.no_grad():
        encoded = network.encode(images_of(shape))
        images = rebuilt(network, images_of(shape))
    n_classes = widths[0]
    assert encoded.features.shape[0] == N
    assert encoded.features.ndim == 2
    assert (encoded.logits is None) == (n_classes == 0)
    assert n_classes == 0 or encoded.logits.shape == (N, n_classes)
    assert images.shape == (N, *shape)
    assert torch.isfinite(images).all()


@accepted
def test_the_style_has_the_width_that_was_asked_for(name, shape, widths):
    network = build(name, shape, widths).eval()
    width = widths[1]
    if isinstance(network.style, nn.Identity):  # the style is all of the maps
        width = network.encoder(images_of(shape)).shape[1]
    style = network.encode(images_of(shape)).style
    assert (style is None) == (width == 0)
    assert style is None or style.shape == (N, width)


@everything
def test_the_gradient_reaches_every_weight(name):
    shape, widths = an_accepted(name)
    network = build(name, shape, widths).train()
    images = images_of(shape, 16)
    (rebuilt(network, images) - images).square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


@everything
def test_evaluation_is_deterministic_and_images_do_not_depend_on_each_other(name):
    shape, widths = an_accepted(name)
    network = build(name, shape, widths).eval()
    with torch.no_grad():
        together = rebuilt(network, images_of(shape))
        assert torch.equal(together, rebuilt(network, images_of(shape)))
        alone = torch.cat([rebuilt(network, image[None]) for image in images_of(shape)])
    np.testing.assert_allclose(alone.numpy(), together.numpy(), atol=1e-5)


@everything
def test_the_random_state_decides_the_weights(name):
    shape, widths = an_accepted(name)
    first, again = (build(name, shape, widths).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    torch.manual_seed(1)
    other = make_network(name, shape, *widths).state_dict()
    assert any(not torch.equal(first[key], other[key]) for key in first)


@everything
@pytest.mark.parametrize("shape", [(1, 4, 4), (5, 28, 28), (1, 28, 7), *SHAPES])
@pytest.mark.parametrize("widths", WIDTHS)
def test_a_network_works_or_says_in_one_line_what_to_use_instead(name, shape, widths):
    try:
        network = build(name, shape, widths).eval()
    except InputError as error:
        sentence = str(error)
        assert sentence.startswith(f"The network '{name}' ")
        assert sentence.endswith(".")
        assert "\n" not in sentence
        assert "use " in sentence
    else:
        assert rebuilt(network, images_of(shape)).shape == (N, *shape)


@everything
@pytest.mark.parametrize("part", PARTS)
def test_only_the_named_part_trains(name, part):
    shape, widths = an_accepted(name)
    network = build(name, shape, widths)
    network.train_only([part])
    members = {
        "encoder": [network.encoder, network.neck],
        "head": [network.head],
        "style": [network.style],
        "decoder": [network.decoder],
    }
    for owner, modules in members.items():
        for module in filter(None, modules):
            assert all(p.requires_grad == (owner == part) for p in module.parameters())
            assert all(m.training == (owner == part) for m in module.modules())


def test_a_style_of_its_own_is_learned_without_the_encoder_of_the_classes():
    network = build("convolutional", (1, 28, 28), (3, 2))
    assert network.own_style
    network.encode(images_of((1, 28, 28))).style.sum().backward()
    assert all(p.grad is None for p in [*network.encoder.parameters(), *network.neck.parameters()])
    assert all(p.grad is not None for p in network.style.parameters())
    assert not build("convolutional", (1, 28, 28), (0, 2)).own_style  # one encoder is enough
    assert not build("dense", (5,), (3, 2)).own_style


@pytest.mark.parametrize("name", ["convolutional", "dense"])
def test_the_style_is_worked_out_once_and_only_when_asked_for(name):
    network = build(name, (1, 8, 8), (3, 2)).eval()
    calls = []
    network.style.register_forward_hook(lambda *_: calls.append(1))
    encoded = network.encode(images_of((1, 8, 8)))
    assert not calls
    assert encoded.style is encoded.style
    assert len(calls) == 1


# The registry


@pytest.mark.parametrize("shape", SHAPES)
def test_auto_takes_every_image_and_every_vector(shape):
    found = type(make_network("auto", shape, 3, 2).encoder[0])
    assert found is (nn.Flatten if len(shape) == 1 else nn.Sequential)
    assert rebuilt(make_network("auto", shape, 3, 2).eval(), images_of(shape)).shape == (N, *shape)


@pytest.mark.parametrize(
    ("name", "shape", "n_classes", "sentence"),
    [
        (
            "convolution",
            (1, 28, 28),
            3,
            "There is no network named 'convolution'. Did you mean 'convolutional'? "
            f"Known networks: {', '.join(sorted([*NETWORKS, 'auto']))}.",
        ),
        (
            "convolutional",
            (64,),
            3,
            "The network 'convolutional' needs images of at least 8x8 with 1 to 4 channels, "
            "got (64,): use network='dense' for vectors.",
        ),
        (
            "auto",
            (5, 28, 28),
            3,
            "The network 'convolutional' needs images of at least 8x8 with 1 to 4 channels, "
            "got (5, 28, 28): use network='dense' for vectors.",
        ),
        (
            "question",
            (1, 9, 50),
            3,
            "The network 'question' needs images of at least 10x10 for its two 5x5 convolutions, "
            "got 9x50: use network='convolutional', or --size 16.",
        ),
        (
            "plain",
            (1, 28, 28),
            3,
            "The network 'plain' has no classes: use it with Autoencoder, or another network.",
        ),
    ],
)
def test_networks_that_cannot_be_built(name, shape, n_classes, sentence):
    with pytest.raises(InputError) as error:
        make_network(name, shape, n_classes, 2)
    assert str(error.value) == sentence


# What they say of themselves


def n_weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_question_network_has_the_layers_of_the_question():
    network = make_network("question", (1, 28, 28), 10, 0)
    # Convolutions 5x5 from 1 to 4 to 8 with biases; Linear from 3200; Linear to 400.
    assert n_weights(network.encoder) == (4 * 25 + 4) + (8 * 4 * 25 + 8)
    assert n_weights(network.head) == 3200 * 10 + 10
    assert n_weights(network.decoder) == (10 * 400 + 400) + (250 + 10) + (250 + 1)


def test_the_outputs_of_the_question_networks_have_their_ranges():
    latent = 10 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    outputs = {
        name: build(name, (1, 12, 12), (3, 0)).eval().decode(latent).detach()
        for name in ("question", "question-sigmoid", "question-linear")
    }
    assert outputs["question"].min() >= 0.5
    assert (outputs["question-sigmoid"].min() > 0, outputs["question-sigmoid"].max() < 1) == (1, 1)
    assert outputs["question-sigmoid"].min() < 0.5
    # The same weights in all three: the linear output, squashed, is the sigmoid's.
    np.testing.assert_allclose(
        torch.sigmoid(outputs["question-linear"]).numpy(),
        outputs["question-sigmoid"].numpy(),
        atol=1e-6,
    )


@everything
def test_normalisation_is_that_of_the_inputs_and_is_undone_on_the_outputs(name):
    shape, widths = an_accepted(name)
    usual, normalised = build(name, shape, widths).eval(), build(name, shape, widths).eval()
    normalised.mean, normalised.std = 0.2, 0.5
    images = images_of(shape)
    with torch.no_grad():
        features = normalised.encode(images).features
        expected = usual.encode((images - 0.2) / 0.5).features
        np.testing.assert_allclose(features.numpy(), expected.numpy(), atol=1e-6)
        found, raw = rebuilt(normalised, images), rebuilt(usual, (images - 0.2) / 0.5)
    np.testing.assert_allclose(found.numpy(), raw.numpy() * 0.5 + 0.2, atol=1e-6)


def test_a_sharp_head_has_wide_weights_and_no_bias():
    network = make_network("dense", (8,), 200, 0)
    network.sharpen_head(torch.Generator().manual_seed(0))
    weight = network.head.weight.detach()
    expected = 3 / math.sqrt(weight.shape[1])
    error = expected / math.sqrt(2 * weight.numel())
    assert weight.std().item() == pytest.approx(expected, abs=4 * error)
    assert weight.mean().item() == pytest.approx(0, abs=4 * expected / math.sqrt(weight.numel()))
    assert not network.head.bias.any()
    again = make_network("dense", (8,), 200, 0)
    again.sharpen_head(torch.Generator().manual_seed(0))
    assert torch.equal(again.head.weight, network.head.weight)


def test_a_network_without_classes_has_no_head_to_sharpen():
    network = make_network("dense", (8,), 0, 2)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    network.sharpen_head(generator)
    assert torch.equal(generator.get_state(), before)
