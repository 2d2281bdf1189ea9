"""Random transforms of a whole batch that keep the class.

Affine map, elastic bending and erasing are folded into one sampling grid, so that a batch is
read once: the grid is one matrix product of random coefficients with fixed basis pictures.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsort import parallel
from selfsort.errors import InputError

FAR_OUTSIDE = 4.0
"""A grid position that no image covers, in units of half an image: sampled as background."""


def background_of(images: Tensor) -> Tensor:
    """Return the median border pixel ``(channels, 1, 1)`` of images ``(n, c, h, w)``.

    What comes in from beyond the border, and what is erased, gets that colour.

    Examples
    --------
    >>> import torch
    >>> background_of(torch.full((3, 1, 8, 8), 0.25)).flatten()
    tensor([0.2500])
    """
    border = torch.cat(
        [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], dim=2
    )
    return border.movedim(1, 0).flatten(1).float().median(dim=1).values[:, None, None]


def _check_range(owner: str, name: str, value: float, limit: float) -> None:
    if not 0 <= value <= limit:
        raise InputError(
            f"The '{name}' parameter of {owner} must be a number from 0 to {limit}. "
            f"Got {value!r} instead."
        )


class ImageTransform:
    """Random affine map, elastic bending and erasing of images ``(n, c, h, w)``.

    Parameters
    ----------
    shape : tuple (channels, height, width)
        Of the images.
    rotation : float, default=15.0
        Largest turn to either side, in degrees, 0 to 180.
    scale : float, default=0.15
        Largest change of width and of height, as a share, 0 to 1.
    shear : float, default=0.2
        Largest slant: how far the top moves sideways, as a share of half the height, 0 to 10.
    shift : float, default=0.1
        Largest shift in either direction, as a share of the side, 0 to 1.
    elastic : float, default=0.06
        Standard deviation of the bending at 4×4 control points, as a share of half the side, 0
        to 1.
    erase : float, default=0.0
        Probability that a rectangle is erased, of 20 to 50 % of each side.
    background : Tensor of shape (channels, 1, 1), optional
        Colour of what lies beyond the border and of what is erased; default black.

    Raises
    ------
    InputError
        If a range is not within those limits.

    Examples
    --------
    >>> import torch
    >>> transform = ImageTransform((1, 28, 28))
    >>> transform(torch.rand(5, 1, 28, 28), torch.Generator().manual_seed(0)).shape
    torch.Size([5, 1, 28, 28])
    """

    CONTROL = 4

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        rotation: float = 15.0,
        scale: float = 0.15,
        shear: float = 0.2,
        shift: float = 0.1,
        elastic: float = 0.06,
        erase: float = 0.0,
        background: Tensor | None = None,
    ) -> None:
        limits = {"rotation": 180, "scale": 1, "shear": 10, "shift": 1, "elastic": 1, "erase": 1}
        values = (rotation, scale, shear, shift, elastic, erase)
        for (name, limit), value in zip(limits.items(), values, strict=True):
            _check_range("ImageTransform", name, value, limit)
        self.rotation, self.scale, self.shear = rotation, scale, shear
        self.shift, self.elastic, self.erase = shift, elastic, erase
        self.background = background
        self.height, self.width = shape[1:]
        self.basis = self._basis()

    def _centres(self, side: int, device: torch.device | None = None) -> Tensor:
        """Return pixel centres along one side, from just above -1 to just below 1."""
        return (torch.arange(side, device=device) * 2 + 1) / side - 1

    def _basis(self) -> Tensor:
        """Return x, y, 1 and one smooth bump a control point, ``(3 + CONTROL², h·w)``."""
        x = self._centres(self.width).expand(self.height, -1)
        y = self._centres(self.height)[:, None].expand(-1, self.width)
        plane = torch.stack([x, y, torch.ones_like(x)])
        bumps = torch.eye(self.CONTROL**2).reshape(-1, 1, self.CONTROL, self.CONTROL)
        bumps = F.interpolate(
            bumps, size=(self.height, self.width), mode="bicubic", align_corners=True
        )
        return torch.cat([plane, bumps[:, 0]]).flatten(1)

    def _affine(self, n: int, generator: torch.Generator) -> Tensor:
        """Return random affine maps ``(n, 2, 3)`` from output to input positions."""
        u = torch.rand(n, 6, generator=generator) * 2 - 1
        angle = u[:, 0] * math.radians(self.rotation)
        # Uniform in the logarithm: as often half as large as twice as large.
        scale_x = torch.exp(u[:, 1] * math.log1p(self.scale))
        scale_y = torch.exp(u[:, 2] * math.log1p(self.scale))
        cos, sin = torch.cos(angle), torch.sin(angle)
        aspect = self.height / self.width  # turning is rigid in pixels, not in half sides
        slant = u[:, 3] * self.shear * aspect
        row_x = torch.stack(
            [cos * scale_x, (cos * slant - sin * aspect) * scale_x, 2 * self.shift * u[:, 4]], 1
        )
        row_y = torch.stack(
            [
                sin / aspect * scale_y,
                (sin / aspect * slant + cos) * scale_y,
                2 * self.shift * u[:, 5],
            ],
            1,
        )
        return torch.stack([row_x, row_y], dim=1)

    def _erased(self, u: Tensor) -> Tensor:
        """Return which output pixels are erased, ``(n, h, w)``, for random numbers ``(n, 5)``."""
        half = 0.2 + 0.3 * u[:, 0:2]
        middle = u[:, 2:4] * 2 - 1
        near_x = (self._centres(self.width, u.device) - middle[:, :1]).abs() < half[:, :1]
        near_y = (self._centres(self.height, u.device) - middle[:, 1:]).abs() < half[:, 1:]
        chosen = u[:, 4] < self.erase
        return near_y[:, :, None] & near_x[:, None, :] & chosen[:, None, None]

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return the random numbers of one transform of each image, ``(n, m)``, on the CPU.

        `generator` lives there too, so that the same seed gives the same transforms on any
        device; only these few numbers are moved to it.
        """
        n = shape[0]
        bend = torch.randn(n, 2, self.CONTROL**2, generator=generator) * self.elastic
        coefficients = torch.cat([self._affine(n, generator), bend], dim=2).flatten(1)
        if not self.erase:
            return coefficients
        return torch.cat([coefficients, torch.rand(n, 5, generator=generator)], dim=1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Return copies of images ``(n, c, h, w)``, float in [0, 1], as the numbers drawn say."""
        n, device = len(images), images.device
        if self.basis.device != device:
            self.basis = self.basis.to(device)
        coefficients = drawn[:, : 2 * len(self.basis)]
        grid = coefficients.reshape(2 * n, -1) @ self.basis
        grid = grid.reshape(n, 2, self.height, self.width)
        if self.erase:
            erased = self._erased(drawn[:, 2 * len(self.basis) :])
            grid.masked_fill_(erased[:, None], FAR_OUTSIDE)
        grid = grid.movedim(1, 3)
        if self.background is None:
            return F.grid_sample(images, grid, align_corners=False)
        background = self.background.to(device)
        return F.grid_sample(images - background, grid, align_corners=False) + background

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return transformed copies of images ``(n, c, h, w)``, float in [0, 1]."""
        return self.apply(images, self.draw(images.shape, generator).to(images.device))


class VectorTransform:
    """Random noise and blanking of vectors ``(n, p)`` that are no images.

    Parameters
    ----------
    noise : float, default=0.05
        Standard deviation of the added normal noise, in units of the data's range, 0 to 1.
    blank : float, default=0.1
        Share of the features that are set to their mean over the batch, 0 to 1.

    Raises
    ------
    InputError
        If a number is not within those limits.

    Examples
    --------
    >>> import torch
    >>> VectorTransform()(torch.rand(5, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([5, 3])
    """

    def __init__(self, noise: float = 0.05, blank: float = 0.1) -> None:
        _check_range("VectorTransform", "noise", noise, 1)
        _check_range("VectorTransform", "blank", blank, 1)
        self.noise = noise
        self.blank = blank

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return the noise, and what is blanked, of vectors of that shape, ``(n, 2, p)``."""
        noise = torch.randn(shape, generator=generator) * self.noise
        blanked = torch.rand(shape, generator=generator) < self.blank
        return torch.stack([noise, blanked.to(noise)], dim=1)

    def apply(self, vectors: Tensor, drawn: Tensor) -> Tensor:
        """Return copies of vectors ``(n, p)`` as the numbers drawn say."""
        noise, blanked = drawn.unbind(1)
        mean = parallel.mean_row(vectors).expand_as(vectors)
        return torch.where(blanked > 0, mean, vectors + noise)

    def __call__(self, vectors: Tensor, generator: torch.Generator) -> Tensor:
        """Return noisy copies of vectors ``(n, p)``."""
        return self.apply(vectors, self.draw(vectors.shape, generator).to(vectors.device))


Transform = ImageTransform | VectorTransform


def make_transform(
    shape: tuple[int, ...], *, strength: float = 1.0, erase: float = 0.0, images: Tensor
) -> Transform:
    """Return the transform for inputs of that shape, every range multiplied by `strength`.

    Parameters
    ----------
    shape : tuple of int
        ``(channels, height, width)`` or ``(p,)``.
    strength : float, default=1.0
        From 0, which leaves the images as they are, to 10.
    erase : float, default=0.0
        Probability of erasing, for images.
    images : Tensor of shape (n, *shape)
        Images in [0, 1] from whose border the background is read.

    Raises
    ------
    InputError
        If `strength` or `erase` is out of range.

    Examples
    --------
    >>> import torch
    >>> transform = make_transform((1, 8, 8), strength=2.0, images=torch.zeros(3, 1, 8, 8))
    >>> transform.rotation, transform.shift
    (30.0, 0.2)
    """
    _check_range("make_transform", "strength", strength, 10)
    if len(shape) == 1:
        return VectorTransform(noise=0.05 * strength, blank=min(0.9, 0.1 * strength))
    background = background_of(images)
    transform = ImageTransform(
        shape,
        rotation=15.0 * strength,
        scale=min(0.9, 0.15 * strength),
        shear=0.2 * strength,
        shift=0.1 * strength,
        elastic=0.06 * strength,
        erase=erase,
        background=background if bool(background.any()) else None,
    )
    transform.basis = transform.basis.to(images.device)
    return transform
