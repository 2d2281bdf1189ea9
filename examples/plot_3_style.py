"""
One class in many styles
========================

What the class does not say is in the style: slant, thickness, size. It can be changed while the
class stays, and one image can become another step by step.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from selfsort import AutoencoderClassifier

digits = load_digits()
model = AutoencoderClassifier(epochs=15, random_state=0).fit(digits.images, digits.target)

figure, axis = plt.subplots(figsize=(5, 5))
samples = [model.sample(10, label=k, random_state=0) for k in model.classes_]
samples = np.pad(samples, ((0, 0), (0, 0), (1, 1), (1, 1)))  # a margin around each
axis.imshow(np.block([list(row) for row in samples]), cmap="gray_r", vmin=0, vmax=16)
axis.set(yticks=np.arange(10) * 10 + 4.5, yticklabels=model.classes_, xticks=[], ylabel="class")
axis.set_title("Every class, in ten styles each")
figure.tight_layout()

# %%
# From one image to another: the code and the style in equal steps.

first, last = digits.images[:1], digits.images[7:8]
(steps,) = model.interpolate(first, last, 10)
figure, axes = plt.subplots(
    1, len(steps), figsize=(8, 1.1), subplot_kw={"xticks": [], "yticks": []}
)
for axis, image in zip(axes, steps, strict=True):
    axis.imshow(image, cmap="gray_r", vmin=0, vmax=16)
figure.tight_layout()
plt.show()
