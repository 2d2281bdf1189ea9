"""
Samples of four bottlenecks
===========================

The same encoder and decoder around four codes of the papers, trained on black and white digits. A
sample draws a code from the bottleneck's prior and decodes it; the title says how likely the model
finds images that it has not seen, in nats, more being better. :doc:`/bottlenecks` has the formulas.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from selfsort import RECIPES, AutoencoderClusterer

images = (load_digits().images > 7).astype(float)
train, test = images[:1000], images[1000:1100]

figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), subplot_kw={"xticks": [], "yticks": []})
for axis, name in zip(axes, ["categorical", "vq", "gumbolt", "dvae"], strict=True):
    parameters = RECIPES[name].parameters | {"epochs": 12}
    model = AutoencoderClusterer(10, **parameters, random_state=0).fit(train)
    nats = model.log_likelihood(test, n_samples=50, random_state=0).mean()
    samples = np.pad(model.sample(36, random_state=0), ((0, 0), (1, 1), (1, 1)))  # a margin
    axis.imshow(np.block([list(row) for row in samples.reshape(6, 6, 10, 10)]), cmap="gray_r")
    axis.set_title(f"{name}: {nats:.1f} nats")
figure.tight_layout()
plt.show()
