"""`TensorBoard`: a fit's curves and prototypes, as TensorBoard reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfsort.tracking.base import Teller, check_extra, prototype_images


class TensorBoard(Teller):
    """Write a fit's curves and prototypes into a folder that TensorBoard shows.

    A callback of scikit-learn: ``estimator.set_callbacks(TensorBoard("logs/first"))``, then
    ``tensorboard --logdir logs``. Each figure of an epoch is a scalar ``stage/figure`` at the
    number of the epoch in the whole fit; the prototypes are a picture at the end. Nothing leaves
    the machine.

    Parameters
    ----------
    folder : str or Path
        Of one fit; made when the fit begins. A second fit's curves would join those of the first.

    Raises
    ------
    InputError
        If the extra `log` is missing.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> from selfsort import Autoencoder, TensorBoard
    >>> images = load_digits().images[:100]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     autoencoder = Autoencoder(epochs=2, random_state=0)
    ...     autoencoder = autoencoder.set_callbacks(TensorBoard(folder)).fit(images)
    ...     [path.name.split(".")[0] for path in Path(folder).iterdir()]
    ['events']
    """

    def __init__(self, folder: str | Path) -> None:
        check_extra("TensorBoard", "tensorboard")
        self.folder = Path(folder)
        self._writer: Any = None

    def begin(self, estimator: Any) -> None:
        """Open the file of events."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder))
        self._writer.add_text("estimator", f"`{' '.join(repr(estimator).split())}`")

    def epoch(self, stage: str, epoch: int, step: int, figures: dict[str, float]) -> None:
        """Write an epoch's figures."""
        for name, value in figures.items():
            self._writer.add_scalar(f"{stage}/{name}".replace(" ", "_"), value, step)

    def end(self, estimator: Any) -> None:
        """Write the prototypes."""
        images = prototype_images(estimator)
        if images is not None:
            step = len(estimator.history_)
            self._writer.add_images("prototypes", images, step, dataformats="NHWC")

    def close(self) -> None:
        """Close the file of events."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
