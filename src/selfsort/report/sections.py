"""What the page shows, in order: pictures with their words, and figures."""

from __future__ import annotations

# name, heading, what it shows, what it says to a person who cannot see it
SECTIONS = (
    (
        "prototypes",
        "What each class looks like",
        "The decoder's picture of each class, with the class's mean style. The number counts "
        "training images.",
        "One picture for each class: the decoder's prototype of it.",
    ),
    (
        "samples",
        "New images of each class",
        "Made up by the decoder, a row each class: codes of the class, with styles such as its "
        "images have.",
        "A row of made-up images for each class.",
    ),
    (
        "reconstructions",
        "Images and their reconstructions",
        "Above: ten images. Below: what the network rebuilds from class and style.",
        "Ten images in a row, and below each its reconstruction.",
    ),
    (
        "confusion",
        "Which classes are mixed up",
        "One row for each label, one column for each class; the number counts images. "
        "The diagonal is agreement.",
        "Confusion matrix: labels in rows, classes in columns, counts in the cells.",
    ),
    (
        "coverage",
        "What doubt tells",
        "Images are kept from the most certain one on: to the right all of them, to the left only "
        "those whose class has a high probability. The higher the line stays, the more of the "
        "mistakes are among the images in doubt. 'selfsort predict' can leave those out.",
        "Line chart of the accuracy among the images kept, over the share that is kept; marked: "
        "the images with a probability of at least 0.9 and of at least 0.99.",
    ),
    (
        "choice",
        "How many classes there are",
        "Images that look alike should come into one group. Above: how much an image's group "
        "tells about the groups of the images that look like it, for each number of groups. "
        "Below: what the last group adds to that. A group that adds much is a kind of its own; "
        "one that adds little only cuts a kind in two. Marked: the number of classes of this run.",
        "Line chart of the information kept over the number of groups, and a bar chart of what "
        "each further group adds; marked: the number of classes of this run.",
    ),
    (
        "outliers",
        "The most unusual images",
        "Training images that are least like the others, the most unusual first, each with its "
        "file name or index and its class. A mistake in the data, such as a blank or damaged "
        "image, or one of something else, is often among them.",
        "Contact sheet of the training images that are least like the others.",
    ),
    (
        "map",
        "A map of the images",
        "Training images that the network finds alike lie close together (t-SNE of its features). "
        "A dot is an image, in the colour of its class. Islands of two colours are classes that "
        "are mixed up; two islands of one colour, a class of two kinds. Distances between islands "
        "mean little.",
        "Map of the training images: a dot each, in the colour of its class, some as pictures.",
    ),
    (
        "curves",
        "Learning curves",
        "The value of each term of the loss after every epoch, and the accuracy where it was "
        "measured. Shaded: the stages.",
        "Line charts of the loss terms over the epochs.",
    ),
    (
        "tradeoff",
        "Accuracy against reconstruction",
        "One point for each multiplier of the loss; up and left is better.",
        "Scatter chart of accuracy against reconstruction error, one point for each multiplier.",
    ),
    (
        "epochs",
        "The same images after each epoch",
        "Top: the images. Below: their reconstructions after each epoch that trained the decoder.",
        "Ten images, and below them one row of reconstructions for each epoch.",
    ),
)
FIGURES = (
    ("accuracy", "Accuracy", "percent", "share of images in the right class"),
    ("nmi", "NMI", "decimal", "normalised mutual information, 0 to 1"),
    ("ari", "ARI", "decimal", "adjusted Rand index; 0 is chance, 1 is perfect"),
    (
        "ece",
        "Calibration error",
        "percent",
        "how far probabilities are from the share that is right, in the mean; 0 is best",
    ),
    ("classes_in_use", "Classes in use", "count", "classes with at least one image"),
    (
        "reconstruction_mse",
        "Reconstruction error",
        "decimal",
        "mean squared error of a pixel, brightness from 0 to 1",
    ),
)
