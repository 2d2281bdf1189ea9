"""What a fitted estimator is used for: latents and reconstructions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from selfsort import parallel, training
from selfsort.estimators.inputs import InputMixin
from selfsort.estimators.outputs import (
    Part,
    error_part,
    reconstruction_part,
    second_look,
    style_part,
)
from selfsort.estimators.resources import computing
from selfsort.networks import Encoded
from selfsort.objectives import Outputs
from selfsort.training import Data, Model, Rows


class UseMixin(InputMixin):
    """What the network says of images, and what that is made into."""

    model_: Model
    device_: torch.device
    style_width_: int
    transform_strength: float
    n_threads: int | None

    def _data(self, inputs: np.ndarray | Rows) -> Data:
        """Return inputs on the device, with the range that becomes [0, 1]."""
        low, high = self.input_range_ if inputs.dtype != np.uint8 else (0.0, 255.0)
        if isinstance(inputs, Rows):
            return Data(inputs.to(self.device_), low, high)
        with warnings.catch_warnings():
            # Nothing writes into inputs: a file that is mapped into memory need not be copied.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            tensor = torch.from_numpy(inputs)
        return Data(tensor.to(self.device_), low, high)

    def _collected(
        self, data: Data, *parts: Part, reconstruct: bool = False, together: bool = False
    ) -> tuple[np.ndarray, ...]:
        """Return some parts of what the network says of all images, one array each.

        Both are in evaluation mode. With `together` each of several processes looks at its share.
        """
        model = self.model_

        def read(images: torch.Tensor, encoded: Encoded) -> list[torch.Tensor]:
            outputs = Outputs(images)
            if encoded.logits is not None:
                logits = encoded.logits
                # Shifted images were learned from.
                if self.transform_strength and model.bottleneck.names_classes:
                    logits = second_look(model.network, images, logits)
                code = model.bottleneck(logits)
                outputs.logits, outputs.code = logits, code
                outputs.class_logits = model.bottleneck.class_logits(logits, code)
            if reconstruct:
                latent = training.latent_of(outputs.code, encoded.style)
                outputs.reconstruction = model.network.decode(latent)
            return [part(outputs, encoded) for part in parts]

        with computing(self.device_, self.n_threads):
            together = together and len(data) >= parallel.n_processes()
            own = parallel.share(len(data)) if together else slice(None)
            found = training.look_at(model, data, read, part=own)
        if together:
            found = [parallel.gathered(values, len(data)) for values in found]
        return tuple(values.cpu().numpy() for values in found)

    def _prepared(self, X: Any) -> Data:
        check_is_fitted(self, "model_")
        return self._as_used(self._data(self._check_inputs(X, reset=False)))

    def _as_used(self, data: Data) -> Data:
        """Return inputs as they are looked at after the fit."""
        return data

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return the images that latents decode to, in the layout and units of the fit's images.

        Parameters
        ----------
        X : array-like of shape (n, n_classes + style_dim) or (n, n_classes)
            Latents as `transform` gives them; codes alone get the mean style of their class.

        Returns
        -------
        images : ndarray, float32
        """
        check_is_fitted(self, "model_")
        latent = self._with_style(self._check_latent(X))
        portion = training.Portion(training.evaluation_batch(self.input_shape_))
        with torch.inference_mode(), computing(self.device_, self.n_threads):
            codes = torch.from_numpy(latent).to(self.device_)
            parts = [images for _, images in portion.each(codes, self.model_.network.decode)]
        return self._to_layout(torch.cat(parts).cpu().numpy())

    def _latent_widths(self) -> tuple[int, ...]:
        return (self._n_features_out,)

    def _with_style(self, latent: np.ndarray) -> np.ndarray:
        return latent

    def reconstruct(self, X: Any) -> np.ndarray:
        """Return the decoder's version of each image, in the layout and units of the fit's images.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, p)

        Returns
        -------
        images : ndarray, float32
        """
        return self._to_layout(self._pixels(X))

    def _pixels(self, X: Any) -> np.ndarray:
        """Return reconstructions ``(n, channels, height, width)`` or ``(n, p)``, about [0, 1]."""
        return self._collected(self._prepared(X), reconstruction_part, reconstruct=True)[0]

    def reconstruction_error(self, X: Any) -> np.ndarray:
        """Return each image's mean squared error per pixel ``(n,)``, pixels in [0, 1]."""
        return self._collected(self._prepared(X), error_part, reconstruct=True)[0]

    @property
    def _n_features_out(self) -> int:
        return self.style_width_

    def _measure_style(self, data: Data) -> None:
        """Remember the width of the style, which a network may set by itself."""
        (style,) = self._collected(data.chosen(np.arange(2)), style_part)
        self.style_width_ = style.shape[1]

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean reconstruction error, so that larger is better."""
        return -float(self.reconstruction_error(X).mean(dtype=np.float64))
