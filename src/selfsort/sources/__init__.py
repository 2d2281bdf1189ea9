"""Images that need not fit into memory: any range of them is read when it is asked for."""

from selfsort.sources.base import Chunk, Source, evenly
from selfsort.sources.opening import open_source
from selfsort.sources.whole import WholeSource

__all__ = ["Chunk", "Source", "WholeSource", "evenly", "open_source"]
