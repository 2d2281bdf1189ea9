"""Arrays, idx, npy, npz, PNG and JPEG files, and folders of pictures, to checked images."""

from selfsort.images.arrays import as_images
from selfsort.images.labels import read_labels
from selfsort.images.reading import read_images, read_splits, resize_set
from selfsort.images.sets import ImageSet

__all__ = ["ImageSet", "as_images", "read_images", "read_labels", "read_splits", "resize_set"]
