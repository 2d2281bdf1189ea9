"""Real processes that are killed: nothing is lost, and the run ends as if nothing had happened.

200 kills at random moments: `python tests/long/kills.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from killing import content_of, finish, kill, start, wait_for_stage, write_data
from platforms import needs_signals
from running import call

pytestmark = needs_signals

STAGES = {
    "none": ("neighbours", "fine clusters", "grouping", "second self-training"),
    "few": ("first self-training", "second neighbours", "third self-training", "decoder"),
    "all": ("classes", "end"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", STAGES)
def test_a_killed_run_ends_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.npz")
    finish(data, tmp_path / "whole" / "run", kind, every=30)
    run = tmp_path / "killed" / "run"
    seen = 0
    for stage in STAGES[kind]:
        program = start(data, run, kind)
        seen += wait_for_stage(program, run, stage)
        if program.runs():
            kill(program)
            assert not (run / "result.json").exists()
    assert seen >= len(STAGES[kind]) - 1  # a stage may pass unseen on a fast machine
    said = finish(data, run, kind)
    assert "Going on in '" in said
    wanted, found = content_of(tmp_path / "whole" / "run"), content_of(run)
    assert [name for name in wanted if wanted[name] != found.get(name)] == []
    assert found.keys() == wanted.keys()
    again = call("train", "--resume", run)
    assert again == (0, f"{run}: the run is complete.\nReport: {run / 'report.html'}\n", "")
