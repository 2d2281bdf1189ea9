"""What the libraries `datasets` and `webdataset` write is read: images, labels and names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import digits

from selfsort.sources import open_source

datasets = pytest.importorskip("datasets")
webdataset = pytest.importorskip("webdataset")
N = 40


@pytest.fixture(scope="module")
def table() -> datasets.Dataset:
    images, labels = digits(N)
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=[str(i) for i in range(10)])
    )
    rows = {"image": [Image.fromarray(image) for image in images], "label": labels.tolist()}
    return datasets.Dataset.from_dict(rows, features)


@pytest.mark.parametrize("kind", ["parquet", "disk"])
def test_datasets(kind: str, table: datasets.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    if kind == "parquet":
        table.to_parquet(path)
    else:
        path = tmp_path / "folder"
        table.save_to_disk(path, num_shards=3)
    source = open_source(path, (1, 16, 16))
    images, labels = digits(N)
    np.testing.assert_array_equal(source.read(0, N).images[:, 0], images)
    np.testing.assert_array_equal(source.labels(), labels)


def test_webdataset(tmp_path: Path) -> None:
    images, labels = digits(N)
    with webdataset.ShardWriter(f"{tmp_path}/%03d.tar", maxcount=15, verbose=0) as writer:
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            writer.write({"__key__": f"{i:04}", "png": Image.fromarray(image), "cls": int(label)})
    source = open_source(tmp_path, (1, 16, 16))
    np.testing.assert_array_equal(source.read(0, N).images[:, 0], images)
    assert source.labels().tolist() == [str(label) for label in labels]
    assert source.names()[0] == "000.tar/0000.png"
    assert len(source.names()) == N
