"""The checks of the doctor: each looks at one case and returns a finding, or None."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from selfsort.doctor.case import Case
from selfsort.doctor.checks.code import (
    collapsed_code,
    dead_units,
    narrow_bottleneck,
    saturated_code,
    softmax_over_the_batch,
    softmax_without_dim,
)
from selfsort.doctor.checks.learning import (
    dropout_left_on,
    drowned_term,
    evaluation_left_on,
    learning_rate_too_high,
    learning_rate_too_low,
    no_gradient,
    plain_sgd,
    unregistered_layers,
    vanishing_gradient,
)
from selfsort.doctor.checks.output import (
    activation_twice,
    input_scale,
    output_range,
    relu_before_sigmoid,
    relu_before_softmax,
    target_scale,
)
from selfsort.doctor.finding import Finding

Check: TypeAlias = Callable[[Case], Finding | None]

BEFORE_LEARNING: tuple[Check, ...] = (
    input_scale,
    output_range,
    target_scale,
    relu_before_sigmoid,
    relu_before_softmax,
    activation_twice,
    softmax_without_dim,
    softmax_over_the_batch,
    unregistered_layers,
)
"""Those that only watch the module once, so that they work where the loss raises an error."""
CHECKS: tuple[Check, ...] = (
    *BEFORE_LEARNING,
    no_gradient,
    vanishing_gradient,
    plain_sgd,
    learning_rate_too_low,
    learning_rate_too_high,
    evaluation_left_on,
    dropout_left_on,
    drowned_term,
    saturated_code,
    dead_units,
    collapsed_code,
    narrow_bottleneck,
)
"""In the order in which they are told: what to mend first comes first."""
