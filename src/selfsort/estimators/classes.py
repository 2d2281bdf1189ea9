"""What the two estimators with classes share: codes, probabilities and prototypes."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from selfsort.errors import ClassCollapseWarning, collapse_sentence
from selfsort.estimators.base import BaseAutoencoder
from selfsort.sorting import Sorting, split_epochs
from selfsort.training import Data, Feed


class BaseClasses(BaseAutoencoder):
    """An autoencoder whose bottleneck is the class."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        "bottleneck": [str],
        "information_weight": [Interval(Real, 0, None, closed="left")],
    }
    _default_epochs: ClassVar[int] = 12
    _least_steps: ClassVar[int] = 900

    # ---- learning -----------------------------------------------------------------------

    def _sort(self, data: Data, n_classes: int, labels: np.ndarray | None) -> None:
        """Learn the classes by stages, then style and decoder for the learned codes."""
        epochs = split_epochs(self._epochs(len(data)))
        Sorting(
            self.model_,
            data,
            n_classes,
            labels,
            epochs,
            transform=self._transform(data),
            strong_transform=self._transform(data, erase=0.5),
            settings=lambda **changes: self._settings(len(data), **changes),
            train=self._train,
            stage=self._stage,
            generator=self._generator,
        ).run()
        self._train(
            "decoder",
            {self.reconstruction: 1.0},
            Feed(data),
            self._settings(len(data), phases=[("style+decoder", epochs["decoder"])]),
        )

    def _finish(self, data: Data, n_classes: int) -> np.ndarray:
        """Return each training image's class index, and measure what prototypes need."""
        self._measure_style(data)
        codes, styles = [], []
        for outputs, style in self._outputs(data):
            codes.append(outputs.code.cpu().numpy())  # type: ignore[union-attr]
            styles.append(np.zeros((len(codes[-1]), 0)) if style is None else style.cpu().numpy())
        code, style_of = np.concatenate(codes), np.concatenate(styles)
        index = code.argmax(1)
        overall = style_of.mean(0)
        self.style_means_ = np.stack(
            [
                style_of[index == k].mean(0) if (index == k).any() else overall
                for k in range(n_classes)
            ]
        ).astype(np.float32)
        n_in_use = len(np.unique(index))
        if n_in_use < n_classes:
            warnings.warn(
                collapse_sentence(n_in_use, n_classes, self._remedy()),
                ClassCollapseWarning,
                stacklevel=4,
            )
        return index

    def _remedy(self) -> str:
        return "Try fewer classes, more images, more epochs or a lower learning_rate."

    # ---- use ----------------------------------------------------------------------------

    def _codes(self, X: Any) -> np.ndarray:
        parts = [outputs.code for outputs, _ in self._outputs(self._prepared(X))]
        return torch.cat([part for part in parts if part is not None]).cpu().numpy()

    def _probabilities(self, X: Any) -> np.ndarray:
        """Return softmax of the logits ``(n, n_classes)``, float32, whatever the bottleneck."""
        parts = [
            torch.softmax(outputs.logits.double(), dim=1)  # type: ignore[union-attr]
            for outputs, _ in self._outputs(self._prepared(X))
        ]
        # No more digits than the logits have: those differ in the last ones with the batch size.
        return torch.cat(parts).float().cpu().numpy()

    @property
    def prototypes_(self) -> np.ndarray:
        """Each class as a picture: its one-hot code and mean style, decoded.

        Of shape ``(n_classes, h, w)``, ``(n_classes, h, w, c)`` or ``(n_classes, p)``, in the
        layout and units of the images that were fitted.
        """
        check_is_fitted(self, "style_means_")
        return self.inverse_transform(np.eye(len(self.style_means_), dtype=np.float32))

    def _latent_widths(self) -> tuple[int, ...]:
        n_classes = len(self.style_means_)
        widths = {n_classes, n_classes + self.style_width_}
        return tuple(sorted(widths))

    def _with_style(self, latent: np.ndarray) -> np.ndarray:
        if latent.shape[1] == self._n_features_out:
            return latent
        return np.concatenate([latent, latent @ self.style_means_], axis=1)

    @property
    def _n_features_out(self) -> int:
        return len(self.style_means_) + self.style_width_


CLASS_COUNT = [Interval(Integral, 2, None, closed="left")]
