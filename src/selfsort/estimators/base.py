"""What the three estimators share: parameters, and one stage of training after the other."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.callback import CallbackContext, CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from selfsort import parallel, training
from selfsort.augment import Transform, make_transform
from selfsort.bottlenecks import Bottleneck, make_bottleneck
from selfsort.errors import InputError, NotFiniteError
from selfsort.estimators.checkpoint import Checkpoint
from selfsort.estimators.facts import identity_of
from selfsort.estimators.journal import Journal
from selfsort.estimators.outputs import latent_part
from selfsort.estimators.reporting import CallbackBridge
from selfsort.estimators.resources import check_arguments, computing, resolve_device
from selfsort.estimators.use import UseMixin
from selfsort.networks import make_network, resolve_network
from selfsort.objectives import RECONSTRUCTION_TERMS, Objective
from selfsort.precision import has_fast_bfloat16
from selfsort.training import Data, Feed, Fit, Model, Row, Rows, Settings
from selfsort.training.snapshot import Arrays, restore_fit

SMALLEST_BATCH_COUNT = 16
"""Batches are made smaller until an epoch has at least that many."""
SMALL_BATCH = 50
"""Where batches would be smaller than that, half as many: the information of a few images is
mostly chance."""
LEAST_BFLOAT16 = 10_000
"""Images: fewer are soon learned in float32 too."""


class BaseAutoencoder(
    UseMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    """Parameters and training stages, common to all three estimators."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "network": [str],
        "style_dim": [Interval(Integral, 0, None, closed="left")],
        "reconstruction": [StrOptions(set(RECONSTRUCTION_TERMS))],
        "reconstruction_weight": [Interval(Real, 0, None, closed="left")],
        "transform_strength": [Interval(Real, 0, 10, closed="both")],
        "epochs": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "optimizer": [StrOptions(set(training.OPTIMIZERS))],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "schedule": [StrOptions(set(training.SCHEDULES))],
        "phases": ["array-like", None],
        "mean": [Interval(Real, None, None, closed="neither")],
        "std": [Interval(Real, 0, None, closed="neither")],
        "image_shape": ["array-like", None],
        "device": [str],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    _default_epochs: ClassVar[int] = 10
    _least_steps: ClassVar[int] = 600

    def _validate_params(self) -> None:
        """Raise scikit-learn's sentence for every parameter that is wrong, all of them at once."""
        values = self.get_params(deep=False)
        check_arguments(type(self).__name__, self._parameter_constraints, **values)

    # ---- one fit ------------------------------------------------------------------------

    @contextlib.contextmanager
    def _fitting(
        self, X: Any, y: Any, n_classes: int, *, wide: bool = False, staged: bool = False
    ) -> Iterator[Data]:
        """Prepare a fit: checked inputs, seeded generators, a fresh model; then clean up."""
        inputs = self._check_inputs(X, reset=True)
        self._check_count(len(inputs), n_classes)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.device_ = resolve_device(self.device)
        self.stopped_ = False
        rng_devices = [self.device_] if self.device_.type == "cuda" else []
        with computing(self.device_, self.n_threads), torch.random.fork_rng(devices=rng_devices):
            torch.manual_seed(seed)
            name = resolve_network(self.network, self.input_shape_, wide=wide)
            self.model_ = self._make_model(name, n_classes)
            data = self._data(inputs)
            if staged:
                _ = data.in_memory  # raises where images are read while they are used
            self._check_training(staged)
            # Whatever can be wrong with the input was found by now: callbacks may start to write.
            self._context = self._init_callback_context(max_subtasks=None)
            self._context.call_on_fit_task_begin(estimator=self, X=X, y=y)
            self._given = {"X": X, "y": y}
            self._generator = torch.Generator().manual_seed(seed)
            self._journal = self._open_journal(inputs, y)
            self.history_ = self._journal.history
            self.stage_seconds_ = self._journal.stage_seconds
            try:
                yield data
                self.fit_seconds_ = self._journal.seconds
                self._context.call_on_fit_task_end(estimator=self, X=X, y=y)
            finally:
                self._drop("_generator", "_context", "_journal", "_given")
        self.n_epochs_ = len(self.history_)

    def _weights(self) -> dict[str, float]:
        """Return the multiplier of each term that the parameters ask for."""
        return {self.reconstruction: self.reconstruction_weight}

    def _check_training(self, staged: bool) -> None:
        """Raise where the parameters do not go together; `staged` says how classes are learned."""
        Objective(self._weights())
        training.check_phases(() if self.phases is None else self.phases)

    def _check_count(self, n_images: int, n_classes: int) -> None:
        if n_images < 2:
            raise InputError(
                f"{type(self).__name__} needs at least 2 images to learn from, got 1 sample."
            )
        if n_images < n_classes:
            raise InputError(
                f"n_samples={n_images} should be at least n_classes={n_classes}: give more images, "
                "or ask for fewer classes."
            )

    def _make_model(self, name: str, n_classes: int) -> Model:
        bottleneck = self._make_bottleneck(n_classes)
        with warnings.catch_warnings():
            # PyTorch warns of a decoder without inputs; the error below says what to do.
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            network = make_network(
                name,
                self.input_shape_,
                n_classes,
                self.style_dim,
                self.mean,
                self.std,
                n_logits=bottleneck.n_logits,
                code_dim=bottleneck.code_dim,
            )
        if network.head is None and network.style is None:
            raise InputError(
                f"style_dim=0 leaves the decoder of {type(self).__name__} nothing to rebuild an "
                "image from: give at least 1."
            )
        model = Model(network, bottleneck).to(self.device_)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _make_bottleneck(self, n_classes: int) -> Bottleneck:
        return make_bottleneck("softmax", n_classes)

    @property
    def network_(self) -> str:
        """The name of the network, where `network` says "auto"."""
        return self.model_.network.name

    def _settings(self, n_images: int, **changes: Any) -> Settings:
        """Return the training settings that the parameters ask for, with some changed."""
        settings = Settings(
            epochs=self._epochs(n_images),
            batch_size=self._batch_size(n_images),
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=training.SCHEDULES[self.schedule],
            phases=() if self.phases is None else list(self.phases),
            autocast=n_images >= LEAST_BFLOAT16 and has_fast_bfloat16(self.device_),
        )
        for name, value in changes.items():
            setattr(settings, name, value)
        return settings

    def _batch_size(self, n_images: int) -> int:
        enough = -(-n_images // SMALLEST_BATCH_COUNT)
        if enough < SMALL_BATCH:
            enough = min(SMALL_BATCH, -(-2 * n_images // SMALLEST_BATCH_COUNT))
        return max(2, min(self.batch_size, enough))

    def _epochs(self, n_images: int, default: int | None = None) -> int:
        """Return the epochs asked for, or enough of them for small data to learn from."""
        if self.epochs is not None:
            return self.epochs
        steps_per_epoch = -(-n_images // self._batch_size(n_images))
        return max(default or self._default_epochs, -(-self._least_steps // steps_per_epoch))

    def _transform(self, data: Data, erase: float = 0.0) -> Transform | None:
        """Return the random transform of the training images; None where there is none."""
        if not self.transform_strength:
            return None
        some = data.batch(slice(0, 1000))
        return make_transform(
            self.input_shape_, strength=self.transform_strength, erase=erase, images=some
        )

    def _open_journal(self, inputs: np.ndarray | Rows, y: Any) -> Journal:
        """Return the journal of this fit: a new one, or one to go on with."""
        callbacks = getattr(self, "_skl_callbacks", [])
        keeper = next((one for one in callbacks if isinstance(one, Checkpoint)), None)
        identity = {} if keeper is None else identity_of(self, inputs, y)
        return Journal(keeper, identity, self._generator)

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[CallbackContext]:
        """Tell the callbacks of a stage."""
        context = self._context.subcontext(task_name=name, max_subtasks=None)
        context.call_on_fit_task_begin(estimator=self, metadata={"stage": name})
        yield context
        context.call_on_fit_task_end(estimator=self, metadata={"stage": name})

    def _compute(self, name: str, function: Callable[[], Arrays]) -> Arrays:
        """Return what a stage without training gives, worked out now or in an earlier process."""
        if name not in self._journal.results:
            self._journal.begin(name, self.model_)
            with self._stage(name), self._journal.kept_if_ended(self.model_):
                # Machines of several kinds may round in several ways: what one says counts.
                self._journal.end(name, parallel.from_first(function())[0])
        return self._journal.results[name]

    def _train(
        self,
        name: str,
        weights: Mapping[str, float],
        feed: Callable[[], Feed],
        settings: Settings,
    ) -> bool:
        """Train one stage, and return whether to go on; skipped once a callback asked to stop."""
        if self.stopped_ or name in self._journal.results:
            return not self.stopped_
        middle = self._journal.begin(name, self.model_)
        with self._stage(name) as context:
            # A stage of information alone learns fine clusters: no class can be predicted yet.
            usable = set(weights) != {"information"}
            n_epochs = len(training.parts_by_epoch(settings))
            bridge = CallbackBridge(self, context, name, n_epochs, usable)
            fit = Fit(
                self.model_,
                Objective(weights),
                settings,
                self._generator,
                stage=name,
                on_step=lambda *where: parallel.any_of(bridge.on_step(*where)),
                on_epoch=lambda row: parallel.any_of(bridge.on_epoch(row)),
            )
            if middle is not None:
                restore_fit(middle, fit)
            self._journal.watch(fit)
            training.fit(fit, feed())
            self.stopped_ = fit.stopped
            if self.stopped_:
                self._journal.time(name)
            else:
                self._journal.end(name)
        return not self.stopped_

    def _trained(self) -> None:
        """Come to the end of the training: what follows is fast, but for many images not free."""
        for name, values in self.model_.state_dict().items():
            # No later loss can show what the very last step did.
            if values.is_floating_point() and not values.isfinite().all():
                raise NotFiniteError(
                    f"The last step of the training made '{name}' NaN or infinite. Try a lower "
                    f"learning rate (now {self.learning_rate:g})."
                )
        self._journal.begin("end", self.model_, now=True)

    def _record(self, row: Row) -> None:
        self._journal.record(row)

    def _fitted_attributes(self) -> dict[str, Any]:
        """Return what a copy needs to predict in the middle of a fit."""
        return {"model_": self.model_}

    # scikit-learn wraps this for pandas only where the class itself has it.
    def transform(self, X: Any) -> np.ndarray:
        """Return the latents: the code (where there are classes), then the style.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, p)

        Returns
        -------
        latent : ndarray of shape (n, n_classes + style_dim), float32
        """
        return self._collected(self._prepared(X), latent_part)[0]

    def save(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json`` into `folder`."""
        from selfsort.estimators.saving import save_estimator

        save_estimator(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the estimator that `save` wrote into `folder`."""
        from selfsort.estimators.saving import load_estimator

        estimator = load_estimator(Path(folder))
        if not isinstance(estimator, cls):
            raise InputError(
                f"{folder}: holds {type(estimator).__name__}, not {cls.__name__}: use "
                f"{type(estimator).__name__}.load, or selfsort.load."
            )
        return estimator

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.non_deterministic = False
        return tags
