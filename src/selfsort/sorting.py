"""How classes are learned with no labels, or a few: the stages of the recipes `sort` and `teach`.

1. *neighbours*: each image's nearest images by their pixels, a graph no network made.
2. *fine clusters*: heads of about 100 clusters keep the information that neighbours share.
3. *grouping*: fine clusters become classes, by the information between neighbours. The head
   whose groups share the most information is taken. How many classes there are can be read from
   the same information. Labels, where there are some, name the groups, and are spread over the
   neighbours together with those names: where they are near, they outweigh them.
4. *first self-training*: a fresh class head learns the classes. Images in no doubt whatever
   have that of their group, and the others get the class that spreads to them over the
   neighbours, by pixels and in the features.
5. *second neighbours* and *second self-training*: the same again, from the classes learned, and
   over the neighbours in the features of every stage so far. Where there are labels, a third
   time.

No stage looks at a label that was not given, and none at test images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from selfsort import grouping, parallel
from selfsort.augment import Transform
from selfsort.memory import give_back
from selfsort.networks import Encoded, Heads
from selfsort.scores import match_classes
from selfsort.training import Data, Feed, Model, Settings, look_at, with_small_batches

N_HEADS = 5
"""On one trunk some heads get stuck with two classes in one cluster; the best of five did not."""
LEAST_INFORMATION = 0.98
"""Of what the best head keeps: heads with less are stuck, and have no say in who is in doubt."""
SIZE_WEIGHT = 0.7
"""Of `information_per_nat`: 0 prefers classes of one size, 1 nearly tells nothing of sizes."""
SIZED_IMAGES = 300
"""A class: from fewer it can hardly be told how much classes differ in size, and the fewer there
are, the less it pays to have large and small ones."""
LEAST_IMAGES = 100
"""A class of fewer needs more data to be told from a few odd images of another class."""
LEAST_SIZE = 0.5
"""Of the mean size: what is asked of a class where that is less than `LEAST_IMAGES`."""
IN_USE = 0.1
"""Of the mean size: fine clusters with less hold a few odd images."""
N_FINE = 100
IMAGES_PER_FINE_CLUSTER = 15
N_PIXEL_NEIGHBOURS = 10
N_FEATURE_NEIGHBOURS = 10
N_CANDIDATES = 40
N_SPREAD = 5
"""Neighbours, of each graph, over which classes spread to the images in doubt."""
ALPHA = 0.9
LABEL_WEIGHT = 50.0
"""How many images named by a group one given label counts for: enough for its neighbours too."""
AVERAGE = 0.99
"""Decay of the averaged weights, at each step."""
FIRST_VOTE, SECOND_VOTE = 1.0, 0.9
"""Share of its neighbours, by pixels and by features, with which an image in no doubt agrees."""
ROUNDING = 1e-6
ROWS = 4096
"""Images whose codes are worked out at a time, and which are added up at a time."""
LEAST_SHARE = 0.6
HEAD_SCALE = 10.0
"""Logits per unit of the least-squares fit to one-hot targets: about 0.999 for the best class."""
EPOCH_SHARES = {
    "fine clusters": 3,
    "first self-training": 3,
    "second self-training": 4,
    "decoder": 2,
}
LABELLED_EPOCH_SHARES = {
    "fine clusters": 3,
    "first self-training": 3,
    "second self-training": 4,
    "third self-training": 6,
    "decoder": 4,
}
"""Where there are labels: somebody made them, which is worth more time."""


Arrays = dict[str, Tensor]


class Train(Protocol):
    """Train one stage: name, term weights, feed and settings; return whether to go on."""

    def __call__(
        self, name: str, weights: Mapping[str, float], feed: Callable[[], Feed], settings: Settings
    ) -> bool: ...


class Compute(Protocol):
    """Return what a stage without training works out, now or in a process that was ended."""

    def __call__(self, name: str, function: Callable[[], Arrays]) -> Arrays: ...


@dataclass
class Sorting:
    """The stages on one data set.

    Parameters
    ----------
    model : Model
        Its class head is replaced twice; encoder and neck learn all the way.
    data : Data
        The training images.
    n_classes : int
        How many classes, K.
    choose : bool
        Whether the grouping chooses K itself; `n_classes` is what is assumed until then.
    labels : ndarray of shape (n,) or None
        Given labels 0..K-1, and -1 where there is none.
    epochs : dict of str to int
        Epochs of each training stage.
    transform, strong_transform : Transform or None
        Class-keeping transforms for the fine clusters and for self-training.
    settings : callable
        Settings of a stage, from its changes to the estimator's own.
    train, compute : callable
        One stage, which may be finished already: what it needs of the model it must take inside,
        and what it finds it must return, or leave in the model that it trains.
    renew : callable
        Give the model a fresh class head and decoder for that many classes.
    generator : torch.Generator

    Attributes
    ----------
    information : float array of shape (m,) or None
        Nats that k groups keep, in entry k - 1: the largest of all heads. None before grouping.
    natural : int or None
        How many classes that curve suggests, whether K was told or not.
    """

    model: Model
    data: Data
    n_classes: int
    choose: bool
    labels: np.ndarray | None
    epochs: dict[str, int]
    transform: Transform | None
    strong_transform: Transform | None
    settings: Callable[..., Settings]
    train: Train
    compute: Compute
    renew: Callable[[int], None]
    generator: torch.Generator
    information: np.ndarray | None = field(default=None, init=False)
    natural: int | None = field(default=None, init=False)

    def run(self) -> None:
        """Go through all stages; the model's class head then gives the classes."""
        graphs = [self.compute("neighbours", self.pixel_neighbours)["neighbours"]]
        self.learn_fine_clusters(graphs[0])
        found = self.compute("grouping", lambda: self.grouped(graphs[0]))
        graphs.append(found["neighbours"])
        self.information = found["information"].numpy()
        self.natural, self.n_classes = found["counts"].tolist()
        self.renew(self.n_classes)
        self.start_head(found["head"])
        go_on = self.self_train("first self-training", found["targets"])
        for which in ("second", "third"):
            if not go_on or f"{which} self-training" not in self.epochs:
                return
            found = self.compute(f"{which} neighbours", lambda: self.renewed(graphs))
            graphs.append(found["neighbours"])
            go_on = self.self_train(f"{which} self-training", found["targets"])

    def grouped(self, by_pixels: Tensor) -> Arrays:
        """Return classes to begin with: targets, a head that gives them, and what they are of."""
        features = self.features()
        groups, certain = self.group(self.fine_codes(features), by_pixels)
        graphs = [by_pixels, self.feature_neighbours(features)]
        known = self.undoubted(groups, certain, graphs, FIRST_VOTE)
        targets = self.mended(graphs, self.named(groups) * known[:, None])
        return {
            "neighbours": graphs[1],
            "information": torch.from_numpy(self.information),
            "counts": torch.tensor([self.natural, self.n_classes]),
            "targets": targets,
            "head": solved_head(features, targets),
        }

    def renewed(self, graphs: Sequence[Tensor]) -> Arrays:
        """Return targets from the classes learned so far, and the features' neighbours."""
        features = self.features()
        graphs = [*graphs, self.feature_neighbours(features)]
        classes = self.classes(features)
        everything = torch.ones(len(classes), dtype=torch.bool)
        # Older features were learned from worse classes: their neighbours help to spread, but
        # have no vote.
        voters = [graphs[0], graphs[-1]]
        known = self.undoubted(classes, everything, voters, SECOND_VOTE)
        targets = self.mended(graphs, torch.eye(self.n_classes)[classes] * known[:, None])
        return {"neighbours": graphs[-1], "targets": targets}

    def n_neighbours(self, wanted: int) -> int:
        """Return how many neighbours to use, fewer where there are few images a class."""
        few = len(self.data) // (4 * self.n_classes)
        return max(1, min(wanted, few, len(self.data) - 1))

    def neighbours_of(self, rows: Tensor, wanted: int) -> Tensor:
        """Return nearest neighbours by the cosine, the nearest first."""
        found = nearest_of_own(rows, self.n_neighbours(wanted))
        return parallel.gathered(found, len(rows)).cpu()

    def feature_neighbours(self, features: Tensor) -> Tensor:
        """Return the neighbours by features.

        These are scaled to length 1 meanwhile, so that the search needs no copy of them.
        """
        lengths = torch.linalg.vector_norm(features, dim=1, keepdim=True)
        features /= lengths.clamp_min(torch.finfo(features.dtype).tiny)
        found = self.neighbours_of(features, N_FEATURE_NEIGHBOURS)
        features *= lengths
        return found

    def pixel_neighbours(self) -> Arrays:
        """Return the neighbours by pixels, ``(n, k)``; of images, by tangent distance."""
        n, images = len(self.data), self.data.in_memory
        if images.ndim == 2:
            features = grouping.pixel_features(images)
            return {"neighbours": self.neighbours_of(features, N_PIXEL_NEIGHBOURS)}
        candidates = nearest_of_own(grouping.pixel_features(images), min(N_CANDIDATES, n - 1))
        wanted = self.n_neighbours(N_PIXEL_NEIGHBOURS)
        ranked = grouping.rank_by_tangents(images, candidates, wanted, rows=parallel.share(n))
        return {"neighbours": parallel.gathered(ranked, n).cpu()}

    def start_head(self, solution: Tensor) -> None:
        """Start the class head at what `solved_head` gave.

        Training goes on from there; if it is stopped before, the classes are there already.
        """
        head = self.model.network.head
        assert isinstance(head, nn.Linear)  # noqa: S101
        with torch.no_grad():
            head.weight.copy_(solution[:-1].T)
            head.bias.copy_(solution[-1])

    def learn_fine_clusters(self, neighbours: Tensor) -> None:
        """Learn fine clusters that keep the information between pixel neighbours."""
        old = self.model.network.head
        assert isinstance(old, nn.Linear)  # noqa: S101 - every network with classes has one
        n_fine = min(N_FINE, len(self.data) // IMAGES_PER_FINE_CLUSTER)
        heads = Heads(old.in_features, N_HEADS, max(n_fine, self.n_classes))
        self.model.network.head = heads.to(self.data.inputs.device)
        self.model.network.sharpen_head(self.generator)
        settings = self.settings(epochs=self.epochs["fine clusters"])
        feed = Feed(self.data, self.transform, neighbours)
        self.train("fine clusters", {"information": 1.0}, lambda: feed, settings)

    def features(self) -> Tensor:
        """Return the features of all images, ``(n, n_features)``."""

        def read(images: Tensor, encoded: Encoded) -> tuple[Tensor]:
            return (encoded.features.float(),)

        give_back()  # what training needed: what follows holds tables of all images
        data, own = self.data, parallel.share(len(self.data))
        enabled = self.settings().autocast
        (features,) = look_at(self.model, data, read, part=own, enabled=enabled)
        return parallel.gathered(features, len(data))

    @torch.no_grad()
    def classes(self, features: Tensor) -> Tensor:
        """Return the class that the head gives to each image, ``(n,)``."""
        head = self.model.network.head
        assert head is not None  # noqa: S101 - every network with classes has one
        return torch.cat([head(some).argmax(1) for some in features.split(ROWS)]).cpu()

    def fine_codes(self, features: Tensor) -> Iterator[Tensor]:
        """Yield each head's distributions over fine clusters, ``(n, n_fine)``.

        One at a time: those of all heads would be the largest of all that is kept of an image.
        """
        heads = self.model.network.head
        assert isinstance(heads, Heads)  # noqa: S101 - set in `learn_fine_clusters`
        return (codes_of(heads, i, features) for i in range(heads.n_heads))

    def group(self, codes: Iterable[Tensor], neighbours: Tensor) -> tuple[Tensor, Tensor]:
        """Return each image's group of fine clusters, and whether heads agree on it.

        `codes` has each head's distributions over fine clusters, ``(n, n_fine)``.

        The pixels' neighbours join what the network holds apart, such as crossed and plain
        sevens. Groups are those of the head with the best ones, by the information between
        neighbours less a price on their entropy, so that sizes may differ, within the limits that
        so many images allow. There are as many as classes; as many as the images suggest, where
        no one said how many classes there are, or where those are more and labels will name them.
        """
        joints, heads = [], []
        for code in codes:
            joints.append(grouping.joint_distribution(code, neighbours.to(code.device)))
            heads.append(code.argmax(1).cpu().numpy())
            del code  # before the next one is made
        curves = parallel.dealt(joints, lambda joint: grouping.agglomerate(joint).information)
        self.information = np.max(curves, axis=0)
        in_use = max(int((joint.sum(1) * len(joint) > IN_USE).sum()) for joint in joints)
        self.natural = grouping.choose_n_groups(self.information, max(2, in_use // 2))
        if self.choose:
            self.n_classes = self.natural
        n_groups = self.n_classes
        if self.labels is not None:
            n_groups = max(n_groups, self.natural)
        seed = int(torch.randint(2**31 - 1, (), generator=self.generator))
        told = min(1.0, len(self.data) / (SIZED_IMAGES * n_groups))
        ratios = parallel.dealt(
            joints, lambda joint: [grouping.information_per_nat(joint, n_groups)]
        )
        # One price for all heads, or their values do not compare.
        price = told * SIZE_WEIGHT * max(ratios)[0]
        least = min(LEAST_IMAGES / len(self.data), LEAST_SIZE / n_groups)

        def grouped(joint: np.ndarray) -> list[float]:
            made = grouping.group(
                joint, n_groups, entropy_price=price, least_mass=least, random_state=seed
            )
            return [made.information, made.value, made.n_filled, *made.classes]

        found = [
            grouping.Grouping(np.array(classes, dtype=np.int64), information, value, int(n_filled))
            for information, value, n_filled, *classes in parallel.dealt(joints, grouped)
        ]
        order = sorted(range(len(found)), key=lambda i: (-found[i].n_filled, -found[i].value))
        enough = LEAST_INFORMATION * found[order[0]].information
        healthy = [i for i in order if found[i].information >= enough]
        best, *others = (found[i].classes[heads[i]] for i in healthy)
        agree = np.ones(len(best), dtype=bool)
        for other in others:
            agree &= match_classes(best, other, n_groups)[other] == best
        return torch.from_numpy(best), torch.from_numpy(agree)

    def undoubted(
        self, classes: Tensor, certain: Tensor, graphs: Sequence[Tensor], least_vote: float
    ) -> Tensor:
        """Return which certain images share their class with enough neighbours, in each graph."""
        known = certain.clone()
        for neighbours in graphs:
            votes = grouping.vote(classes, neighbours)
            known &= votes.gather(1, classes[:, None])[:, 0] >= least_vote - ROUNDING
        return with_every_class(known, classes)

    def named(self, groups: Tensor) -> Tensor:
        """Return how much each image's group counts for each class, ``(n, n_classes)``.

        Without labels a group is a class. With labels it counts for each class by its share of
        the labels in the group: a group of two classes' labels, or of none, leaves the decision
        to the labels around it, and several groups may be one class.
        """
        if self.labels is None:
            return torch.eye(self.n_classes)[groups]
        given = torch.from_numpy(self.labels)
        labelled = given >= 0
        counts = torch.zeros(int(groups.max()) + 1, self.n_classes)
        places = (groups[labelled], given[labelled])
        counts.index_put_(places, torch.ones(len(places[0])), accumulate=True)
        return (counts / counts.sum(1, keepdim=True).clamp_min(1))[groups]

    def spread(self, graphs: Sequence[Tensor], shares: Tensor) -> Tensor:
        """Return shares of the classes ``(n, n_classes)``, spread over all graphs.

        Given labels, which count for `LABEL_WEIGHT` images, take the place of their images' shares.
        """
        near = torch.cat([neighbours[:, :N_SPREAD] for neighbours in graphs], dim=1)
        weights = self.targets(shares, LABEL_WEIGHT).cpu()
        return grouping.spread(weights, near, self.n_classes, alpha=ALPHA)

    def mended(self, graphs: Sequence[Tensor], shares: Tensor) -> Tensor:
        """Return targets: one-hot classes, and rows of zeros for images in doubt.

        Spreading the classes that are known mends, image by image, what was grouped wrongly.
        """
        largest, classes = self.spread(graphs, shares).cpu().max(dim=1)
        kept = with_every_class(largest >= LEAST_SHARE, torch.where(largest > 0, classes, -1))
        return self.targets(torch.eye(self.n_classes)[classes] * kept[:, None])

    def targets(self, shares: Tensor, weight: float = 1.0) -> Tensor:
        """Return targets ``(n, n_classes)`` on the device, given labels in place of found ones."""
        targets = shares.clone()
        if self.labels is not None:
            given = torch.from_numpy(self.labels)
            targets[given >= 0] = weight * torch.eye(self.n_classes)[given[given >= 0]]
        return targets.to(self.data.inputs.device)

    def self_train(self, name: str, targets: Tensor) -> bool:
        """Learn the targets with strong transforms and averaged weights."""
        index = (targets.sum(1) > 0).nonzero()[:, 0].cpu()
        # Of pure noise hardly anything is certain, and a batch of one image cannot be normalised.
        enough = index if len(index) > 1 else None
        targets = targets.to(self.data.inputs.device)  # from a checkpoint they come on the CPU
        feed = Feed(self.data, self.strong_transform, targets=targets, index=enough)
        settings = with_small_batches(self.settings(epochs=self.epochs[name], average=AVERAGE))
        return self.train(name, {"classification": 1.0}, lambda: feed, settings)


def nearest_of_own(rows: Tensor, n_neighbours: int) -> Tensor:
    """Return the neighbours of this process's share of the rows, the nearest first."""
    give_back()
    found = grouping.nearest_neighbours(rows, n_neighbours, rows=parallel.share(len(rows)))
    give_back()
    return found


@torch.no_grad()
def codes_of(heads: Heads, i: int, features: Tensor) -> Tensor:
    """Return the distributions that head `i` gives, ``(n, n_outputs)``."""
    codes = features.new_empty((len(features), heads.out_features // heads.n_heads))
    for code, some in zip(codes.split(ROWS), features.split(ROWS), strict=True):
        code[:] = heads.one(i, some).softmax(dim=1)
    return codes


def solved_head(features: Tensor, targets: Tensor) -> Tensor:
    """Return a class head's weights and bias: the least-squares solution for the targets.

    Of shape ``(n_features + 1, n_classes)``, the bias last, float64. Images whose targets are all
    zero do not count.
    """
    n_rows = features.shape[1] + 1
    gram = features.new_zeros((n_rows, n_rows), dtype=torch.float64)
    right = features.new_zeros((n_rows, targets.shape[1]), dtype=torch.float64)
    # Some rows at a time: all in float64 would be twice as large as the features.
    for some, wanted in zip(features.split(ROWS), targets.split(ROWS), strict=True):
        known = wanted.sum(1) > 0
        rows = functional.pad(some[known].double(), (0, 1), value=1.0)
        gram += rows.T @ rows
        right += rows.T @ wanted[known].double()
    # A millionth of the mean diagonal keeps features that are always zero solvable.
    ridge = gram.diagonal().mean() * 1e-6 * torch.eye(n_rows).to(gram)
    return HEAD_SCALE * torch.linalg.solve(gram + ridge, right)


def with_every_class(kept: Tensor, classes: Tensor) -> Tensor:
    """Return which images are kept, and all of a class of which none would be; -1 is no class.

    A class must not vanish because it is small, or torn between others.

    Examples
    --------
    >>> kept = torch.tensor([True, False, False, False, False])
    >>> with_every_class(kept, torch.tensor([0, 0, 1, 1, -1])).tolist()
    [True, False, True, True, False]
    """
    kept = kept.clone()
    for label in classes.unique().tolist():
        mine = classes == label
        if label >= 0 and not kept[mine].any():
            kept |= mine
    return kept


def split_epochs(total: int, *, labelled: bool = False) -> dict[str, int]:
    """Split epochs over the training stages, at least one each.

    Examples
    --------
    >>> split_epochs(12)
    {'fine clusters': 3, 'first self-training': 3, 'second self-training': 4, 'decoder': 2}
    """
    shares = LABELLED_EPOCH_SHARES if labelled else EPOCH_SHARES
    whole = sum(shares.values())
    return {name: max(1, round(total * share / whole)) for name, share in shares.items()}
