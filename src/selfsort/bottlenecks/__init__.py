"""Bottlenecks: from what the class head gives, logits, to the code that the decoder reads.

While training a bottleneck may draw noise; in evaluation mode it is a deterministic function, so
that `predict` always gives the same answer. A `Variational` one has a prior: what its codes cost
is counted in nats, and images have a likelihood. A new bottleneck is one class in a file of this
package, which a line below imports: registered by its ``name``, it is covered by the tests as it
stands.
"""

from selfsort.bottlenecks import (  # noqa: F401 - they register
    class_and_style,
    dvae,
    gumbel,
    mixture,
    score,
    softmax,
    straight_through,
    vq,
)
from selfsort.bottlenecks.base import (
    BOTTLENECKS,
    Bottleneck,
    Variational,
    make_bottleneck,
)

__all__ = ["BOTTLENECKS", "Bottleneck", "Variational", "make_bottleneck"]
