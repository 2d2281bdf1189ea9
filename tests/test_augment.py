"""Random transforms against numpy and scipy, and what they leave as it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from selfsort.augment import ImageTransform, VectorTransform, background_of, make_transform
from selfsort.errors import InputError

STILL = {"rotation": 0, "scale": 0, "shear": 0, "shift": 0, "elastic": 0, "erase": 0}
SHAPES = [(1, 8, 8), (3, 9, 50), (4, 28, 20)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(shape: tuple[int, ...], n: int = 5) -> torch.Tensor:
    return torch.empty(n, *shape).uniform_(generator=seeded(9))


def fixed(monkeypatch, values: list[float]) -> None:
    """Make every draw of `torch.rand` the given row: turn, two scales, slant, two shifts."""
    row = (torch.tensor(values) + 1) / 2
    monkeypatch.setattr(
        "selfsort.augment.torch.rand", lambda n, k, generator: row[:k].expand(n, k).clone()
    )


# Nothing changes


@pytest.mark.parametrize("shape", SHAPES)
def test_without_strength_images_stay_as_they_are(shape):
    images = images_of(shape)
    transform = make_transform(shape, strength=0.0, images=images)
    np.testing.assert_allclose(transform(images, seeded()).numpy(), images.numpy(), atol=1e-4)


def test_without_strength_vectors_stay_as_they_are():
    vectors = images_of((7,))
    transform = make_transform((7,), strength=0.0, images=vectors)
    assert torch.equal(transform(vectors, seeded()), vectors)


@pytest.mark.parametrize("shape", [*SHAPES, (7,)])
def test_the_generator_alone_decides(shape):
    images = images_of(shape)
    transform = make_transform(shape, erase=0.5, images=images)
    before = torch.get_rng_state()
    first, again = transform(images, seeded(1)), transform(images, seeded(1))
    other = transform(images, seeded(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.shape == images.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_transform_neither_changes_its_input_nor_leaves_the_range(shape):
    images = images_of(shape, 40)
    kept = images.clone()
    found = make_transform(shape, strength=2.0, erase=0.5, images=images)(images, seeded())
    assert torch.equal(images, kept)
    assert -1e-5 <= found.min() <= found.max() <= 1 + 1e-5


def test_each_image_is_transformed_in_its_own_way_and_its_channels_alike():
    image = images_of((1, 12, 12), 1).expand(6, 3, 12, 12)
    found = ImageTransform((3, 12, 12))(image, seeded())
    np.testing.assert_array_equal(found[:, 0].numpy(), found[:, 2].numpy())
    distances = torch.cdist(found.flatten(1), found.flatten(1)) + 9 * torch.eye(6)
    assert distances.min() > 0.1


# Against scipy and numpy


@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_a_quarter_turn_is_that_of_numpy(monkeypatch, turn):
    fixed(monkeypatch, [turn, 0, 0, 0, 0, 0])
    images = images_of((2, 16, 16))
    found = ImageTransform((2, 16, 16), **{**STILL, "rotation": 90})(images, seeded())
    expected = np.rot90(images.numpy(), turn, axes=(2, 3))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def smooth(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).random((height, width))
    return ndimage.gaussian_filter(noise, 1.5).astype(np.float32)


@pytest.mark.parametrize("shape", [(30, 30), (20, 44), (44, 20)])
def test_turning_is_rigid_on_any_shape(monkeypatch, shape):
    fixed(monkeypatch, [1.0, 0, 0, 0, 0, 0])
    image = smooth(*shape)
    transform = ImageTransform((1, *shape), **{**STILL, "rotation": 30})
    found = transform(torch.from_numpy(image)[None, None], seeded())[0, 0].numpy()
    expected = ndimage.rotate(image, 30, reshape=False, order=1)
    inside = np.hypot(*(np.indices(shape) - np.array(shape).reshape(2, 1, 1) / 2 + 0.5)) < 8
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-3)


@pytest.mark.parametrize("shape", [(30, 30), (20, 44)])
def test_slant_moves_the_top_by_a_share_of_half_the_height(monkeypatch, shape):
    fixed(monkeypatch, [0, 0, 0, 1.0, 0, 0])
    image = smooth(*shape)
    transform = ImageTransform((1, *shape), **{**STILL, "shear": 0.4})
    found = transform(torch.from_numpy(image)[None, None], seeded())[0, 0].numpy()
    middle = (shape[0] - 1) / 2
    for row in range(shape[0]):
        moved = 0.4 * (row - middle)  # in pixels; reading from further right moves to the left
        expected = ndimage.shift(image[row], -moved, order=1)
        np.testing.assert_allclose(found[row, 8:-8], expected[8:-8], atol=1e-4)


@pytest.mark.parametrize(("across", "down"), [(1.0, 0), (0, 1.0), (-1.0, 0.5)])
def test_a_shift_is_that_of_numpy_with_the_background_coming_in(monkeypatch, across, down):
    fixed(monkeypatch, [0, 0, 0, 0, across, down])
    images = images_of((1, 20, 40))
    colour = torch.full((1, 1, 1), 0.3)
    transform = ImageTransform((1, 20, 40), **{**STILL, "shift": 0.1}, background=colour)
    steps = round(4 * across), round(2 * down)  # a tenth of 40 columns and of 20 rows
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (9, 9), (9, 9)), constant_values=0.3)
    expected = np.roll(padded, (-steps[1], -steps[0]), axis=(2, 3))[:, :, 9:-9, 9:-9]
    np.testing.assert_allclose(transform(images, seeded()).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_scale_goes_as_far_up_as_down(monkeypatch, direction):
    fixed(monkeypatch, [0, direction, 0, 0, 0, 0])
    image = smooth(24, 24)
    found = ImageTransform((1, 24, 24), **{**STILL, "scale": 0.25})(
        torch.from_numpy(image)[None, None], seeded()
    )
    factor = 1.25**direction
    expected = ndimage.affine_transform(
        image, [1, factor], offset=[0, 11.5 * (1 - factor)], order=1
    )
    np.testing.assert_allclose(found[0, 0, :, 4:-4].numpy(), expected[:, 4:-4], atol=1e-4)


def test_random_affine_maps_stay_within_their_ranges():
    transform = ImageTransform((1, 20, 20), **{**STILL, "rotation": 15, "shift": 0.1})
    maps = transform._affine(4000, seeded()).double().numpy()
    angles = np.degrees(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert np.abs(angles).max() <= 15 + 1e-4
    assert angles.std() == pytest.approx(30 / math.sqrt(12), rel=0.05)
    assert np.abs(maps[:, :, 2]).max() <= 0.2 + 1e-6
    np.testing.assert_allclose(np.linalg.det(maps[:, :, :2]), 1, rtol=1e-5)


def test_bending_has_the_standard_deviation_that_was_asked_for():
    side = 12
    ramp = (torch.arange(side) * 2 + 1) / side - 1  # each pixel holds its own position
    images = ramp.expand(3000, 1, side, side)
    transform = ImageTransform((1, side, side), **{**STILL, "elastic": 0.05})
    moved = transform(images, seeded()) - images
    # Near the middle of the image no border comes in; the bumps overlap, so by about as much.
    assert moved[:, 0, 5:7, 5:7].std().item() == pytest.approx(0.05, rel=0.4)
    assert moved[:, 0, 5:7, 5:7].mean().item() == pytest.approx(0, abs=0.01)


# Erasing and background


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_erasing_leaves_rectangles_of_the_background(share):
    images = torch.full((600, 2, 20, 30), 0.8)
    colour = torch.tensor([0.1, 0.6])[:, None, None]
    transform = ImageTransform((2, 20, 30), **{**STILL, "erase": share}, background=colour)
    found = transform(images, seeded())
    inner = found[:, :, 1:-1, 1:-1]  # at the border rounding may mix in the background
    erased = (inner[:, 0] - 0.1).abs() < 1e-5
    kept = (inner[:, 0] - 0.8).abs() < 1e-5
    assert (erased | kept).all()
    assert torch.equal((inner[:, 1] - 0.6).abs() < 1e-5, erased)
    any_erased = erased.flatten(1).any(1)
    deviation = math.sqrt(share * (1 - share) / 600)
    assert any_erased.double().mean().item() == pytest.approx(share, abs=4 * deviation + 1e-9)
    rows, columns = erased.any(2).sum(1), erased.any(1).sum(1)
    assert torch.equal(rows * columns, erased.sum((1, 2)))  # a full rectangle
    assert rows.max() <= 20 / 2 + 1
    assert columns.max() <= 30 / 2 + 1


def test_the_background_is_the_median_of_the_border():
    rng = np.random.default_rng(0)
    images = rng.random((7, 2, 5, 6))
    border = np.concatenate(
        [images[:, :, 0], images[:, :, -1], images[..., 0], images[..., -1]], axis=2
    )
    values = np.sort(border.transpose(1, 0, 2).reshape(2, -1))
    expected = values[:, (values.shape[1] - 1) // 2]  # the lower of the two middle ones
    found = background_of(torch.from_numpy(images))
    assert found.shape == (2, 1, 1)
    np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=1e-6)


def test_what_comes_in_is_the_background_of_the_images():
    images = torch.full((50, 3, 12, 12), 0.7)
    images[:, :, 4:8, 4:8] = 0.1
    found = make_transform((3, 12, 12), strength=0.5, images=images)(images, seeded())
    np.testing.assert_allclose(found[:, :, 0].numpy(), 0.7, atol=1e-5)
    black = make_transform((1, 8, 8), images=torch.zeros(2, 1, 8, 8))
    assert black.background is None


# Vectors


def test_vectors_get_noise_and_means_in_the_shares_that_were_asked_for():
    vectors = torch.rand(4000, 3, generator=seeded()) + torch.tensor([0.0, 5.0, -5.0])
    found = VectorTransform(noise=0.02, blank=0.25)(vectors, seeded(1))
    blanked = (found - vectors.mean(0)).abs() < 1e-6
    share = blanked.double().mean().item()
    assert share == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 12000))
    noise = (found - vectors)[~blanked]
    assert noise.std().item() == pytest.approx(0.02, rel=0.05)
    assert noise.mean().item() == pytest.approx(0, abs=4 * 0.02 / math.sqrt(9000))


# Limits


@pytest.mark.parametrize(
    ("name", "limit"),
    [("rotation", 180), ("scale", 1), ("shear", 10), ("shift", 1), ("elastic", 1), ("erase", 1)],
)
@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan])
def test_ranges_of_image_transforms(name, limit, share):
    ImageTransform((1, 8, 8), **{name: limit})
    with pytest.raises(InputError) as error:
        ImageTransform((1, 8, 8), **{name: limit * share})
    assert str(error.value) == (
        f"The '{name}' parameter of ImageTransform must be a number from 0 to {limit}. "
        f"Got {limit * share!r} instead."
    )


@pytest.mark.parametrize("name", ["noise", "blank"])
@pytest.mark.parametrize("value", [-1, 1.5])
def test_ranges_of_vector_transforms(name, value):
    with pytest.raises(InputError) as error:
        VectorTransform(**{name: value})
    assert str(error.value) == (
        f"The '{name}' parameter of VectorTransform must be a number from 0 to 1. "
        f"Got {value!r} instead."
    )


@pytest.mark.parametrize("shape", [(1, 8, 8), (7,)])
def test_every_strength_from_0_to_10_works_and_no_other(shape):
    images = images_of(shape)
    for strength in (0, 0.1, 10):
        transform = make_transform(shape, strength=strength, images=images)
        assert torch.isfinite(transform(images, seeded())).all()
    with pytest.raises(InputError) as error:
        make_transform(shape, strength=10.5, images=images)
    assert str(error.value) == (
        "The 'strength' parameter of make_transform must be a number from 0 to 10. "
        "Got 10.5 instead."
    )
