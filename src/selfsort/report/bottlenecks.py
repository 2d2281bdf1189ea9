"""The page that shows bottlenecks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfsort.report.page import environment, replace
from selfsort.report.reading import read_strips

STRIPS = (
    (
        "images",
        "Images and their reconstructions",
        "Top: ten images. Below: what each bottleneck lets through of them.",
        "Ten images in a row, and below them the reconstructions of each bottleneck.",
    ),
    (
        "prototypes",
        "What each class looks like",
        "The decoder's picture of the code that stands for each class. A bottleneck finds classes "
        "if these are of different kinds, and each of one kind.",
        "A row of prototypes for each bottleneck.",
    ),
    (
        "samples",
        "Samples",
        "What the decoder makes of codes drawn from the prior.",
        "A row of samples for each bottleneck.",
    ),
    (
        "interpolations",
        "From one image to another",
        "Left: the reconstruction of the first image; right: that of the last one. Between them "
        "the code is mixed in equal steps, and decoded.",
        "A row of interpolations for each bottleneck.",
    ),
)
MEANINGS = (
    (
        "accuracy, no labels",
        "share of the test images in the class that matches their label best; classes are read "
        "from the codes where those do not name them",
    ),
    ("accuracy, 100 labels", "logistic regression on the codes of 100 labelled images"),
    (
        "log-likelihood",
        "mean over 1,000 binarised test images, importance-weighted with 500 codes each: a lower "
        "bound in expectation, so larger is better",
    ),
    ("lower bound", "the same with one code: the evidence lower bound that is learned"),
    (
        "samples recognised",
        "share of 20 samples of each class that a classifier, which learned from all labels, takes "
        "for the label that the class stands for",
    ),
    (
        "gradient noise",
        "how much the class head's gradient varies over draws of the code, as a share of its "
        "length, for the same 100 images: 0 where nothing is drawn",
    ),
)


def write_bottlenecks(
    folder: Path,
    title: str,
    made: str,
    command: str,
    columns: Sequence[str],
    table: Sequence[Sequence[str]],
) -> Path:
    """Write ``bottlenecks.html`` from a table and the strips of pictures in a folder.

    Parameters
    ----------
    folder : Path
        With the pictures of `STRIPS`, such as ``images.png``.
    title, made, command : str
        Heading; date, machine and versions; how to make it again.
    columns : sequence of str
    table : sequence of rows
        One cell a column.

    Returns
    -------
    path : Path
    """
    page = environment().get_template("bottlenecks.html")
    html = page.render(
        title=title,
        made=made,
        command=command,
        columns=columns,
        table=table,
        pictures=read_strips(folder, STRIPS),
        meanings=MEANINGS,
    )
    return replace(folder / "bottlenecks.html", html)
