"""Named data sets, looked for on this machine, then fetched and verified; or any path."""

from selfsort.datasets.loading import Dataset, DatasetInfo, known_datasets, load_dataset

__all__ = ["Dataset", "DatasetInfo", "known_datasets", "load_dataset"]
