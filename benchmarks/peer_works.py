"""The works that `benchmarks/peers.py` times: `python benchmarks/peer_works.py WORK SEED`.

Each prints one line of JSON. They are written as people write them, not for this comparison; what
is selfsort's is called as its users call it.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from selfsort import AutoencoderClassifier, AutoencoderClusterer
from selfsort.datasets import load_dataset
from selfsort.networks import make_network
from selfsort.recipes import get_recipe
from selfsort.scores import match_classes

Found = dict[str, float]
N_EPOCHS = 10
N_LOOP = 20_000
"""Images of an epoch whose speed is compared."""
N_LABELS = 100
N_SPECTRAL = 5000
N2D_EPOCHS = 30
N_QUICK = 15_000
"""Images that are enough for the accuracy that the answer tells of."""
BATCHES = (1, 64, 1024)


def mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training images and labels, then test images and labels."""
    data = load_dataset("mnist")
    return (
        data.train.images[:, 0],
        data.train.labels,
        data.test.images[:, 0],
        data.test.labels,
    )


def matched(truth: np.ndarray, found: np.ndarray) -> float:
    """Return the accuracy of classes without names."""
    return float((match_classes(truth, found, 10)[found] == truth).mean())


# ---- the question's second answer -----------------------------------------------------------


class Digits(Dataset[tuple[torch.Tensor, int]]):
    """MNIST as tutorials read it: each item becomes a picture, a tensor, and is normalised."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        picture = Image.fromarray(self.images[row])
        tensor = torch.from_numpy(np.array(picture)).float().div(255)[None]
        return (tensor - 0.1307) / 0.3081, int(self.labels[row])


def answer(seed: int, n_epochs: int, n_images: int | None = None) -> Found:
    """Train the joint loss as its author did."""
    X, y, X_test, y_test = mnist()
    torch.manual_seed(seed)
    parameters = get_recipe("joint").parameters
    network = make_network("question-rectified", (1, 28, 28), 10, parameters["style_dim"])
    optimizer = torch.optim.SGD(
        network.parameters(), lr=parameters["learning_rate"], momentum=parameters["momentum"]
    )
    loader = DataLoader(Digits(X[:n_images], y[:n_images]), 64, shuffle=True, num_workers=4)
    start = time.perf_counter()
    for _ in range(n_epochs):
        network.train()
        for images, labels in loader:
            optimizer.zero_grad()
            encoded = network.encode(images)
            assert encoded.logits is not None
            code = torch.softmax(encoded.logits, 1)
            if encoded.style is not None:
                code = torch.cat([code, encoded.style], 1)
            error = nn.functional.mse_loss(network.decoder(code), images)
            loss = 0.5 * error + 0.5 * nn.functional.cross_entropy(encoded.logits, labels)
            loss.backward()
            optimizer.step()
    seconds = time.perf_counter() - start
    network.eval()
    right = 0
    with torch.no_grad():
        for images, labels in DataLoader(Digits(X_test, y_test), 64):
            logits = network.encode(images).logits
            assert logits is not None
            right += int((logits.argmax(1) == labels).sum())
    rate = n_epochs * len(loader.dataset) / seconds  # type: ignore[arg-type]
    return {"images_per_second": rate, "seconds": seconds, "accuracy": right / len(y_test)}


def recipe(name: str, seed: int, n_epochs: int, n_images: int | None = None) -> Found:
    """Train a recipe of selfsort's with all labels."""
    X, y, X_test, y_test = mnist()
    parameters = {**get_recipe(name).parameters, "epochs": n_epochs, "random_state": seed}
    classifier = AutoencoderClassifier(**parameters)
    start = time.perf_counter()
    classifier.fit(X[:n_images], y[:n_images])
    return {
        "images_per_second": float(classifier.history_[-1]["images_per_second"]),
        "seconds": time.perf_counter() - start,
        "accuracy": float((classifier.predict(X_test) == y_test).mean()),
    }


# ---- a plain loop ---------------------------------------------------------------------------


def plain_loop(seed: int) -> Found:
    """Train the network of `teach` as a tutorial would: no transforms, no averages."""
    X, y, _, _ = mnist()
    torch.manual_seed(seed)
    network = make_network("convolutional-wide", (1, 28, 28), 10, 16)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    images = torch.from_numpy(X[:N_LOOP]).float().div(255)[:, None]
    data = TensorDataset(images, torch.from_numpy(y[:N_LOOP]))
    start = time.perf_counter()
    for batch, labels in DataLoader(data, 256, shuffle=True):
        optimizer.zero_grad()
        logits = network.encode(batch).logits
        assert logits is not None
        nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
    return {"images_per_second": N_LOOP / (time.perf_counter() - start)}


def teach_loop(seed: int) -> Found:
    """Train the classes of `teach` for an epoch, with its transforms and averaged weights."""
    X, y, _, _ = mnist()
    classifier = AutoencoderClassifier(epochs=1, random_state=seed).fit(X[:N_LOOP], y[:N_LOOP])
    return {"images_per_second": float(classifier.history_[0]["images_per_second"])}


# ---- without labels -------------------------------------------------------------------------


def sort(seed: int) -> Found:
    """Sort MNIST without labels, as the default does."""
    X, _, X_test, y_test = mnist()
    clusterer = AutoencoderClusterer(10, random_state=seed)
    start = time.perf_counter()
    clusterer.fit(X)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "accuracy": matched(y_test, clusterer.predict(X_test))}


def n2d(seed: int) -> Found:
    """N2D (arXiv:1908.05968): an autoencoder, UMAP of its code, a Gaussian mixture of that.

    Its own training of 1,000 epochs is cut to 30. UMAP has no seed, for with one it would run on
    one thread. Scored on the images it was fitted on.
    """
    import umap
    from sklearn.mixture import GaussianMixture

    X, y, _, _ = mnist()
    torch.manual_seed(seed)
    widths = (784, 500, 500, 2000, 10)
    layers: list[nn.Module] = []
    for pairs in (widths, widths[::-1]):
        for n_inputs, n_outputs in itertools.pairwise(pairs):
            layers += [nn.Linear(n_inputs, n_outputs), nn.ReLU()]
        layers.pop()  # neither the code nor the image is rectified
    autoencoder = nn.Sequential(*layers)
    encoder = autoencoder[:7]
    optimizer = torch.optim.Adam(autoencoder.parameters())
    rows = torch.from_numpy(X).float().div(255).flatten(1)
    start = time.perf_counter()
    for _ in range(N2D_EPOCHS):
        for (batch,) in DataLoader(TensorDataset(rows), 256, shuffle=True):
            optimizer.zero_grad()
            nn.functional.mse_loss(autoencoder(batch), batch).backward()
            optimizer.step()
    with torch.no_grad():
        codes = encoder(rows).numpy()
    manifold = umap.UMAP(n_neighbors=20, n_components=10, min_dist=0.0).fit_transform(codes)
    found = GaussianMixture(10, random_state=seed).fit_predict(manifold)
    return {"seconds": time.perf_counter() - start, "accuracy": matched(y, found)}


def k_means(seed: int) -> Found:
    """KMeans, as it comes but for ten starts."""
    from sklearn.cluster import KMeans

    return clustered(KMeans(10, n_init=10, random_state=seed))


def mini_batch_k_means(seed: int) -> Found:
    """MiniBatchKMeans, as it comes."""
    from sklearn.cluster import MiniBatchKMeans

    return clustered(MiniBatchKMeans(10, random_state=seed))


def clustered(estimator: Any) -> Found:
    """Return what scikit-learn's clusterer does on pixels."""
    X, _, X_test, y_test = (part.reshape(len(part), -1) for part in mnist())
    start = time.perf_counter()
    estimator.fit(X / 255.0)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "accuracy": matched(y_test.ravel(), estimator.predict(X_test / 255.0)),
    }


def spectral(seed: int) -> Found:
    """SpectralClustering on nearest neighbours, on 5,000 images, scored on themselves."""
    from sklearn.cluster import SpectralClustering

    X, y, _, _ = mnist()
    estimator = SpectralClustering(10, affinity="nearest_neighbors", random_state=seed)
    start = time.perf_counter()
    found = estimator.fit_predict(X[:N_SPECTRAL].reshape(N_SPECTRAL, -1) / 255.0)
    return {"seconds": time.perf_counter() - start, "accuracy": matched(y[:N_SPECTRAL], found)}


# ---- with labels ----------------------------------------------------------------------------


def spreading(_: int) -> Found:
    """LabelSpreading over seven neighbours, from 100 labels: nothing in it is random."""
    from sklearn.semi_supervised import LabelSpreading

    X, y, X_test, y_test = mnist()
    few = np.full(len(y), -1)
    few[:N_LABELS] = y[:N_LABELS]
    return learned(LabelSpreading(kernel="knn"), X, few, X_test, y_test)


def teach_few(seed: int) -> Found:
    """Learn the classes from the same 100 labels."""
    X, y, X_test, y_test = mnist()
    few = np.full(len(y), -1)
    few[:N_LABELS] = y[:N_LABELS]
    classifier = AutoencoderClassifier(unlabeled=-1, random_state=seed)
    start = time.perf_counter()
    classifier.fit(X, few)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "accuracy": float((classifier.predict(X_test) == y_test).mean())}


def mlp(seed: int) -> Found:
    """MLPClassifier, as it comes, from all labels."""
    from sklearn.neural_network import MLPClassifier

    return learned(MLPClassifier(random_state=seed), *mnist())


def svc(_: int) -> Found:
    """SVC, as it comes, from all labels: nothing in it is random."""
    from sklearn.svm import SVC

    return learned(SVC(), *mnist())


def learned(
    estimator: Any, X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray
) -> Found:
    """Return what scikit-learn's classifier does on pixels."""
    start = time.perf_counter()
    estimator.fit(X.reshape(len(X), -1) / 255.0, y)
    seconds = time.perf_counter() - start
    found = estimator.predict(X_test.reshape(len(X_test), -1) / 255.0)
    return {"seconds": seconds, "accuracy": float((found == y_test).mean())}


# ---- prediction -----------------------------------------------------------------------------


class Probabilities(nn.Module):
    """From images in [0, 1] to the classes' probabilities: one look."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network.head(
            self.network.neck(self.network.encoder(self.network.normalised(images)))
        )
        return torch.softmax(logits, 1)


def engines(seed: int) -> Found:
    """Return the images a second of one network in three engines, at three batch sizes."""
    import onnxruntime

    X, y, X_test, _ = mnist()
    classifier = AutoencoderClassifier(epochs=1, random_state=seed).fit(X[:2000], y[:2000])
    module = Probabilities(classifier.model_.network.eval())
    images = torch.from_numpy(X_test[:4096]).float().div(255)[:, None]
    path = str(Path(tempfile.mkdtemp(), "network.onnx"))
    torch.onnx.export(
        module,
        (images[:64],),
        path,
        input_names=["images"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        dynamo=True,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    compiled = torch.compile(module)
    runs: dict[str, Callable[[torch.Tensor], Any]] = {
        "eager": module,
        "compiled": compiled,
        "onnxruntime": lambda batch: session.run(None, {"images": batch.numpy()})[0],
    }
    found: Found = {}
    with torch.inference_mode():
        expected = module(images[:64]).numpy()
        for name, run in runs.items():
            difference = np.abs(np.asarray(run(images[:64])) - expected).max()
            assert difference < 1e-4, f"{name} differs by {difference}"
        for size in BATCHES:
            rates: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(3):
                for name, run in runs.items():  # in turn
                    rates[name].append(rate_of(run, images, size))
            found |= {f"{name} at {size}": max(values) for name, values in rates.items()}
    return found


def rate_of(run: Callable[[torch.Tensor], Any], images: torch.Tensor, size: int) -> float:
    """Return the images a second over two seconds."""
    parts = images.split(size)
    run(parts[0])
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < 2:
        run(parts[(n // size) % len(parts)])
        n += size
    return n / (time.perf_counter() - start)


WORKS: dict[str, Callable[[int], Found]] = {
    "answer, an epoch": lambda seed: answer(seed, 1, N_LOOP),
    "joint, an epoch": lambda seed: recipe("joint", seed, 1, N_LOOP),
    "answer": lambda seed: answer(seed, N_EPOCHS),
    "joint": lambda seed: recipe("joint", seed, N_EPOCHS),
    "teach, quick": lambda seed: recipe("teach", seed, 1, N_QUICK),
    "teach, an epoch of 60,000": lambda seed: recipe("teach", seed, 1),
    "plain loop": plain_loop,
    "teach, an epoch": teach_loop,
    "sort": sort,
    "N2D": n2d,
    "KMeans": k_means,
    "MiniBatchKMeans": mini_batch_k_means,
    "SpectralClustering": spectral,
    "LabelSpreading": spreading,
    "teach, 100 labels": teach_few,
    "MLPClassifier": mlp,
    "SVC": svc,
    "engines": engines,
}


if __name__ == "__main__":
    print(json.dumps(WORKS[sys.argv[1]](int(sys.argv[2]))))
