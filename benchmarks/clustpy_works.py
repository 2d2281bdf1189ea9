"""ClustPy's clusterings, for `peers.py`: `python benchmarks/clustpy_works.py NAME SEED`.

Prints one line of JSON. ClustPy needs torchvision, and so runs in an environment of its own.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from peer_works import Found, matched, mnist
from torch.utils.data import DataLoader

CLUSTERINGS = ("DEC", "IDEC", "DCN", "VaDE")
LIMIT = 30 * 60.0
"""Seconds of training that each of them gets."""


class UntilLate(DataLoader[Any]):
    """Batches until time is over, then none: what is trained is as far as it came by then."""

    end = float("inf")
    epochs = 0

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if time.perf_counter() >= self.end:
                return
            yield batch
        self.epochs += 1


def deep_clustering(name: str, seed: int) -> Found:
    """Fit one of them as it comes, for half an hour.

    Scored on the images it was fitted on.
    """
    from clustpy import deep
    from clustpy.deep import get_dataloader

    X, y, _, _ = mnist()
    rows = (X.reshape(len(X), -1) / 255.0).astype(np.float32)
    in_order = get_dataloader(rows, shuffle=False)
    batches = UntilLate(in_order.dataset, in_order.batch_size, shuffle=True)
    estimator = getattr(deep, name)(10, custom_dataloaders=(batches, in_order), random_state=seed)
    planned = estimator.pretrain_epochs + estimator.clustering_epochs
    start = time.perf_counter()
    batches.end = start + LIMIT
    estimator.fit(rows)
    return {
        "seconds": time.perf_counter() - start,
        "accuracy": matched(y, estimator.labels_),
        "epochs": batches.epochs,
        "planned_epochs": planned,
    }


if __name__ == "__main__":
    print(json.dumps(deep_clustering(sys.argv[1], int(sys.argv[2]))))
