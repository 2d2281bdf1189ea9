"""The vectors whose cosine tells which images are neighbours."""

from __future__ import annotations

import torch
from torch.nn import functional

from selfsort.errors import InputError

_POOLED_SIDE = 14
_SMALL_SIDE = 16


def pixel_features(images: torch.Tensor) -> torch.Tensor:
    """Return the vectors whose cosine tells which images are neighbours.

    Images with a side above 16 are blurred slightly (standard deviation side/28 pixels) and
    averaged to 14 along their longer side. Each image then has its mean subtracted, and is scaled
    to length 1, but for a blank one. Vectors are standardised: every feature gets mean 0 and
    variance 1; a constant feature becomes 0.

    Parameters
    ----------
    images : torch.Tensor
        uint8 or float of shape (n, channels, height, width), or float vectors of shape (n, p).

    Returns
    -------
    torch.Tensor of float32, shape (n, q)

    Raises
    ------
    InputError
        If the shape is neither.

    Notes
    -----
    Of the ten nearest neighbours of MNIST's 60,000 training images 96.3 % show the same digit,
    against 95.6 % with the cosine of the full 28 x 28 pixels.

    Examples
    --------
    >>> pixel_features(torch.zeros(3, 1, 28, 28, dtype=torch.uint8)).shape
    torch.Size([3, 196])
    """
    if images.ndim == 2:
        return _standardised(images.to(torch.float32))
    if images.ndim != 4:
        raise InputError(
            "images must have shape (n, channels, height, width) or (n, p). "
            f"Got {tuple(images.shape)}."
        )
    pooled = pooled_images(images).flatten(1)
    pooled.sub_(pooled.mean(dim=1, keepdim=True))
    return functional.normalize(pooled, out=pooled)  # so that the search needs no copy of them


def _standardised(X: torch.Tensor) -> torch.Tensor:
    centred = X - X.mean(dim=0)
    deviation = centred.square().mean(dim=0).sqrt()
    # A constant feature keeps a deviation of rounding size, which must not be blown up.
    constant = deviation <= 1e-6 * X.abs().amax(dim=0)
    return torch.where(constant, 0, centred / torch.where(constant, 1, deviation))


def pooled_images(images: torch.Tensor) -> torch.Tensor:
    """Return images in [0, 1], of a side above 16 averaged to 14 along the longer side."""
    # In blocks, because large images as float32 may not fit into memory all at once.
    shape = _pooled(images[:1]).shape[1:]
    pooled = torch.empty((len(images), *shape), device=images.device)
    for some, block in zip(pooled.split(4096), images.split(4096), strict=True):
        some[:] = _pooled(block)
    return pooled


def _pooled(images: torch.Tensor) -> torch.Tensor:
    scale = 1 / 255 if images.dtype == torch.uint8 else 1.0
    values = images.to(torch.float32) * scale
    height, width = images.shape[2:]
    side = max(height, width)
    if side <= _SMALL_SIDE:
        return values
    for length in (height, width):
        values = values.transpose(2, 3) @ _blur_and_pool(length, side).to(values.device)
    return values


def _blur_and_pool(length: int, side: int) -> torch.Tensor:
    """Return the matrix that blurs and averages one side of an image, (length, pooled length)."""
    deviation = side / 28
    radius = max(1, round(3 * deviation))
    steps = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (steps / deviation).square())
    blurred = functional.conv1d(
        torch.eye(length)[:, None], (weights / weights.sum())[None, None], padding=radius
    )
    pooled = max(1, round(_POOLED_SIDE * length / side))
    return functional.adaptive_avg_pool1d(blurred, pooled)[:, 0]
