"""
Why a softmax is not yet a class
================================

Put a softmax in the middle of an autoencoder, and it uses its numbers as numbers: most codes say a
bit of everything. Noise in the bottleneck makes them decisions; but a decoder that has one picture
per code picks those closest to all images, as k-means does, and slant counts more than the digit.
:doc:`/question` has the whole answer, with figures on MNIST, and :ref:`sorting
<sphx_glr_gallery_plot_1_sort.py>` is what to do about it: there, the same five digits.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score

from selfsort import AutoencoderClusterer

digits = load_digits()
chosen = np.isin(digits.target, [1, 3, 5, 8, 9]).nonzero()[0][:450]
images, target = digits.images[chosen], digits.target[chosen]
models = {
    bottleneck: AutoencoderClusterer(
        5, method="direct", bottleneck=bottleneck, style_dim=0, epochs=40, random_state=0
    ).fit(images)
    for bottleneck in ("softmax", "gumbel")
}

# %%
# How decided the codes are: the largest of the five numbers of each image. NMI, the mutual
# information with the true digits, is 1 where the classes are the digits.

figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), sharey=True)
for axis, (name, model) in zip(axes, models.items(), strict=True):
    axis.hist(model.predict_proba(images).max(axis=1), bins=20, range=(0.2, 1))
    shared = normalized_mutual_info_score(target, model.labels_)
    axis.set(title=f"{name}: NMI {shared:.2f}", xlabel="largest entry of a code")
axes[0].set_ylabel("images")
figure.tight_layout()

# %%
# What the decoder draws for the five pure codes. A soft code is never pure, so that the decoder has
# not learned what to draw for one.

figure, axes = plt.subplots(2, 5, figsize=(6, 2.4), subplot_kw={"xticks": [], "yticks": []})
for row, (name, model) in zip(axes, models.items(), strict=True):
    row[0].set_ylabel(name)
    for axis, prototype in zip(row, model.prototypes_, strict=True):
        axis.imshow(prototype, cmap="gray_r", vmin=0, vmax=16)
figure.tight_layout()
plt.show()
