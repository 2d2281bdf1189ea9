"""What only some systems have: the tests that need it are skipped elsewhere, with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

needs_signals = pytest.mark.skipif(
    os.name != "posix", reason="Windows ends a program that it sends a signal to"
)
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(),
    reason="only Linux tells in /proc what a process has and listens to",
)
