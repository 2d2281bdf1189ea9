"""In which numbers to multiply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 is a win there: AMX, AMD's AVX-512 BF16, or NVIDIA since Ampere.

    AVX-512 BF16 is one on AMD's processors only: two cores of an EPYC made 421 · 10⁹ operations a
    second in products of matrices, and 195 in float32; two of a Xeon whose AMX is hidden from its
    virtual machine 161 and 274, and training steps took a third longer (`docs/log.md`, 2026-11-27
    and -30). The processor's name decides, not a time, so that a machine keeps to its bits. PyTorch
    2.10 does not tell that name: there AMD's processors multiply in float32.

    Examples
    --------
    >>> has_fast_bfloat16(torch.device("meta"))
    False
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    known: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if str(known.get("cpu_name", "")).startswith("AMD "):
        return bool(known.get("avx512_bf16"))
    return bool(torch.cpu._is_amx_tile_supported())
