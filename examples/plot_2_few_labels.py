"""
Ask for ten labels
==================

Sorting shows where labels would help most: :meth:`~selfsort.AutoencoderClusterer.suggest` names the
images. Here their true classes stand for a person's answers.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from selfsort import AutoencoderClassifier, AutoencoderClusterer

images, test_images, target, test_target = train_test_split(
    *(load_digits()[key] for key in ("images", "target")), test_size=400, random_state=0
)
clusterer = AutoencoderClusterer(10, epochs=12, random_state=0).fit(images)
asked = clusterer.suggest(images, 10)

figure, axes = plt.subplots(1, 10, figsize=(8, 1.2), subplot_kw={"xticks": [], "yticks": []})
for axis, i in zip(axes, asked, strict=True):
    axis.imshow(images[i], cmap="gray_r")
    axis.set_title(target[i])
figure.tight_layout()

# %%
# All images teach the classifier, those without a label too: -1 says that there is none.

labels = np.full(len(images), -1)
labels[asked] = target[asked]
classifier = AutoencoderClassifier(unlabeled=-1, epochs=12, random_state=0).fit(images, labels)

# %%
# How sure it is, is worth something: who leaves the least certain images to a person gets fewer of
# the others wrong.

probability = classifier.predict_proba(test_images)
right = classifier.classes_[probability.argmax(axis=1)] == test_target
order = np.argsort(-probability.max(axis=1))
accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)

# sphinx_gallery_thumbnail_number = 2
figure, axis = plt.subplots(figsize=(6, 3.5))
axis.plot(np.arange(1, len(order) + 1) / len(order), accuracy)
axis.set(xlabel="share of test images that it classifies", ylabel="accuracy among them")
axis.set_title(f"Ten labels: {right.mean():.1%} of all test images right")
axis.grid(alpha=0.3)
figure.tight_layout()
plt.show()
