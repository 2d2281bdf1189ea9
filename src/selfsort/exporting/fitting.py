"""Images of any size brought to that of a network, inside the graph, as Pillow does it.

`selfsort predict` resizes with Pillow, and whoever runs an exported model should get the same
pixels, to the bit. Pillow's way is repeated here in matrix products: the weights of each output
pixel in float64, rounded to whole multiples of 2⁻²²; sums of whole numbers, which float64 holds
exactly; and bytes between the two passes. Nothing has a shape that depends on the numbers: padding
is rows of weights that are zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PRECISION = 2.0**22
"""Pillow's weights are whole multiples of one by that."""
NO_PIXEL = 1000.0
"""Stands for no pixel where border pixels are sorted: larger than any."""


class Fit(nn.Module):
    """Fit images into a size, keeping their proportions, and pad them with their border's median.

    It does what `selfsort.images.pixels.fit` does, all channels and images at once.

    Parameters
    ----------
    height, width : int
        The size of the output.

    References
    ----------
    Pillow, ``src/libImaging/Resample.c``: `precompute_coeffs`, `normalize_coeffs_8bpc` and
    `ImagingResample`.

    Examples
    --------
    >>> import torch
    >>> Fit(8, 8)(torch.zeros(2, 3, 20, 30, dtype=torch.float64)).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, height: int, width: int, *, tall_first: bool = True) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.tall_first = tall_first

    def forward(self, images: Tensor) -> Tensor:
        """Return images ``(n, channels, height, width)``.

        Parameters
        ----------
        images : Tensor of shape (n, channels, h, w), float64
            Whole numbers from 0 to 255.
        """
        # Sizes as tensors: they are known only when the graph runs.
        h, w = (_count(images, axis) for axis in (2, 3))
        scale = torch.minimum(self.height / h, self.width / w)
        inner_h, inner_w = (
            (side * scale).round().clamp(1, most)  # to even where it is a half, as Python does
            for side, most in ((h, self.height), (w, self.width))
        )
        top = ((self.height - inner_h) / 2).floor()
        left = ((self.width - inner_w) / 2).floor()
        across, in_columns = _weights(images.shape[3], w, inner_w, left, self.width)
        down, in_rows = _weights(images.shape[2], h, inner_h, top, self.height)
        fitted = _bytes(down @ _bytes(images @ across.T))
        if self.tall_first:
            turned = _bytes(_bytes(down @ images) @ across.T)
            lower = h - inner_h
            fitted = torch.where((lower > 0) & (lower > 2 * (w - inner_w)), turned, fitted)
        last = top + inner_h - 1, left + inner_w - 1
        colour = _border_median(fitted, (top, left), last, in_rows, in_columns)
        inside = in_rows[:, None] & in_columns
        return torch.where(inside, fitted, colour)


def _count(images: Tensor, axis: int) -> Tensor:
    """Return how many pixels there are along an axis, as a float64 tensor without sides."""
    return torch.arange(images.shape[axis], dtype=torch.float64).amax(0) + 1


def _weights(
    n: int, n_in: Tensor, n_inner: Tensor, start: Tensor, n_out: int
) -> tuple[Tensor, Tensor]:
    """Return the weights ``(n_out, n)`` of one pass, times 2²², and which rows are not padding.

    `n_in` is `n` as a tensor.
    """
    place = torch.arange(n_out, dtype=torch.float64) - start
    inside = (place >= 0) & (place < n_inner)
    scale = n_in / n_inner
    reach = scale.clamp_min(1.0)  # as far as an input pixel counts: more than one when shrinking
    centre = (place + 0.5) * scale
    distance = (torch.arange(n, dtype=torch.float64) - centre[:, None] + 0.5) * (1.0 / reach)
    triangle = (1 - distance.abs()).clamp_min(0) * inside[:, None]
    total = triangle.sum(1, keepdim=True)
    shares = triangle / torch.where(total > 0, total, 1.0)
    return (shares * PRECISION + 0.5).floor(), inside


def _bytes(sums: Tensor) -> Tensor:
    """Return weighted sums, which are times 2²², as whole numbers from 0 to 255."""
    return ((sums + PRECISION / 2) / PRECISION).floor().clamp(0, 255)


def _border_median(
    images: Tensor,
    first: tuple[Tensor, Tensor],
    last: tuple[Tensor, Tensor],
    in_rows: Tensor,
    in_columns: Tensor,
) -> Tensor:
    """Return the median ``(n, channels, 1, 1)`` of the pixels along the four sides, rounded.

    Corners count twice, and a single row too, as being the first and the last one.
    """
    sides = [
        torch.where(inside, images.index_select(axis, place.long()[None]).squeeze(axis), NO_PIXEL)
        for axis, inside, places in (
            (2, in_columns, (first[0], last[0])),
            (3, in_rows, (first[1], last[1])),
        )
        for place in places
    ]
    values = torch.cat(sides, dim=2).sort(dim=2).values
    half = in_rows.sum() + in_columns.sum()  # half as many pixels as there are, which are even
    middle = torch.stack([half - 1, half])
    return values.index_select(2, middle).mean(2).round()[:, :, None, None]
