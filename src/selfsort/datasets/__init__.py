"""Named data sets, looked for on this machine, then fetched and verified; or any path."""

from selfsort.datasets.loading import (
    Dataset,
    DatasetInfo,
    is_named,
    known_datasets,
    load_dataset,
)

__all__ = ["Dataset", "DatasetInfo", "is_named", "known_datasets", "load_dataset"]
