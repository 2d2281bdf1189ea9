"""The pictures of a run, one PNG file each.

Images are arrays of shape ``(n, channels, height, width)`` with 1 to 4 channels, ``uint8`` or
floats in [0, 1], or vectors ``(n, p)``, drawn as bars. Small images are enlarged without
smoothing, large ones reduced. Every function writes under a temporary name first, so that a
picture is either whole or not there, and makes its parent folder if there is none.
"""

from selfsort.pictures.choice import save_choice
from selfsort.pictures.confusion import save_confusion
from selfsort.pictures.coverage import save_coverage
from selfsort.pictures.curves import save_curves
from selfsort.pictures.diagnosis import save_diagnosis
from selfsort.pictures.embedding import save_map
from selfsort.pictures.mosaics import (
    save_comparison_strip,
    save_contact_sheet,
    save_epochs,
    save_named_sheet,
    save_prototypes,
    save_reconstructions,
)
from selfsort.pictures.tradeoff import save_tradeoff
from selfsort.pictures.trials import save_trials

__all__ = [
    "save_choice",
    "save_comparison_strip",
    "save_confusion",
    "save_contact_sheet",
    "save_coverage",
    "save_curves",
    "save_diagnosis",
    "save_epochs",
    "save_map",
    "save_named_sheet",
    "save_prototypes",
    "save_reconstructions",
    "save_tradeoff",
    "save_trials",
]
