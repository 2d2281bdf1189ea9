"""What a result depends on beside the data: versions and the machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import sklearn
import torch

from selfsort.version import __version__


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "selfsort": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }


def machine() -> str:
    """Return the machine in words: system, processor, cores, vector instructions, and GPU."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    instructions = torch.backends.cpu.get_cpu_capability()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.system()}, {processor}, {os.cpu_count()} cores with {instructions}{gpu}"
