"""Every reader, given files that chance has changed: only selfsort's own errors come out.

For as many seconds each as SELFSORT_FUZZ_SECONDS says, here 2; with a coverage-guided fuzzer, and
for millions of files: `python tests/long/fuzz.py`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fuzzing import READERS, Fuzzed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("SELFSORT_FUZZ_SECONDS", "2"))


@st.composite
def changed(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Return a sound file with some bytes changed, put in or taken out; or any bytes at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 8))
        content[place : place + length] = draw(st.binary(max_size=8))
    return (
        bytes(content[: draw(st.integers(0, len(content)))])
        if draw(st.booleans())
        else bytes(content)
    )


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.filterwarnings("ignore::selfsort.DamagedCheckpointWarning")
def test_only_our_own_errors_come_out(kind: str, tmp_path: Path) -> None:
    fuzzed = Fuzzed(kind, tmp_path)
    for seed in fuzzed.reader.seeds:
        fuzzed.attempt(seed)
    end = time.monotonic() + SECONDS
    n_tried = 0

    @settings(
        max_examples=200,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(content=changed(fuzzed.reader.seeds))
    def some(content: bytes) -> None:
        nonlocal n_tried
        n_tried += 1
        fuzzed.attempt(content)

    while time.monotonic() < end or not n_tried:
        some()
    assert n_tried >= 200
