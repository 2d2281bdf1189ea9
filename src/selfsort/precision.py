"""In which numbers to multiply."""

from __future__ import annotations

import torch


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 is a win there: AMX, or an NVIDIA GPU since Ampere.

    AVX-512 BF16 alone is none: on a Xeon whose AMX is hidden from its virtual machine, products of
    matrices made 161 · 10⁹ operations a second in bfloat16 and 274 in float32, and training steps
    took a third longer (`docs/log.md`, 2026-11-27).

    Examples
    --------
    >>> has_fast_bfloat16(torch.device("meta"))
    False
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())
