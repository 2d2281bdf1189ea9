"""Networks: the only weights.

A network is an encoder, a class head, a style part and a decoder. The encoder gives *maps*
(flat), the neck turns them into the *features* that the class head reads. The style part reads
the maps themselves, which still know where things are, or has convolutions of its own and reads
the image: maps learned for the classes alone have forgotten much of it. The decoder rebuilds
the image from the code and the style. A new network is one function with
`@register` in a file of this package.
"""

from selfsort.networks import convolutional, dense, question  # noqa: F401 - they register
from selfsort.networks.base import (
    NETWORKS,
    PARTS,
    Encoded,
    Heads,
    Network,
    Shape,
    make_network,
    register,
    resolve_network,
)

__all__ = [
    "NETWORKS",
    "PARTS",
    "Encoded",
    "Heads",
    "Network",
    "Shape",
    "make_network",
    "register",
    "resolve_network",
]
