"""Bottlenecks: from what the class head gives, logits, to the code that the decoder reads.

While training a bottleneck may draw noise; in evaluation mode it is a deterministic function, so
that `predict` always gives the same answer. A `Variational` one has a prior: what its codes cost
is counted in nats, and images have a likelihood. A new bottleneck is one class in a file of this
package: registered by its ``name``, it is covered by the tests as it stands.
"""

import importlib
import pkgutil

from selfsort.bottlenecks.base import (
    BOTTLENECKS,
    Bottleneck,
    Variational,
    make_bottleneck,
)

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")  # its bottlenecks register themselves

__all__ = ["BOTTLENECKS", "Bottleneck", "Variational", "make_bottleneck"]
