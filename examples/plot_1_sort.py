"""
Sort images without a label
===========================

Images go in, classes come out, and each class is shown as the decoder draws it. The true digits are
looked at only afterwards, to say how good the classes are. These five are the ones easiest to take
for each other.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from selfsort import AutoencoderClusterer

digits = load_digits()
chosen = np.isin(digits.target, [1, 3, 5, 8, 9]).nonzero()[0][:450]
images, target = digits.images[chosen], digits.target[chosen]
clusterer = AutoencoderClusterer(n_classes=5, random_state=0).fit(images)

# %%
# The first column is the decoded code of a class. Beside it, the images that the network is surest
# of, and on the right those that it doubts most.

probability = clusterer.predict_proba(images).max(axis=1)
figure, axes = plt.subplots(5, 11, figsize=(8, 4), subplot_kw={"xticks": [], "yticks": []})
for k, row in enumerate(axes):
    members = np.flatnonzero(clusterer.labels_ == k)
    members = members[np.argsort(-probability[members])]
    shown = [clusterer.prototypes_[k], *images[np.r_[members[:5], members[-5:]]]]
    for axis, image in zip(row, shown, strict=True):
        axis.imshow(image, cmap="gray_r", vmin=0, vmax=16)
axes[0, 0].set_title("class")
axes[0, 3].set_title("surest")
axes[0, 8].set_title("most doubtful")
figure.tight_layout()

# %%
# Classes have no names yet. Each is matched with a digit, all together, so that as many images as
# possible are of the digit of their class.

counts = confusion_matrix(np.unique(target, return_inverse=True)[1], clusterer.labels_)
_, order = linear_sum_assignment(-counts)
figure, axis = plt.subplots(figsize=(4, 4))
ConfusionMatrixDisplay(counts[:, order], display_labels=np.unique(target)).plot(
    ax=axis, cmap="Blues", colorbar=False
)
axis.set(xlabel="class, matched", ylabel="digit")
axis.set_title(f"{np.trace(counts[:, order]) / counts.sum():.1%} in the matched class")
figure.tight_layout()
plt.show()
