"""The pages of the documentation: their code runs, their commands exist, their links lead on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from running import call

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
FIGURE = re.compile(r"\d+\.\d+ \(\d+\.\d+ to \d+\.\d+\)")


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
WITH_COMMANDS = [page for page in PAGES if blocks(page, "bash")]


def test_the_pages_with_code_are_found() -> None:
    assert {"doctor.md", "few-labels.md", "zh/readme.md"} <= set(WITH_PYTHON)
    assert {"doctor.md", "few-labels.md", "page.md", "zh/readme.md"} <= set(WITH_COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_code_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)


def commands(page: str) -> list[list[str]]:
    text = (DOCS / page).read_text(encoding="utf-8")
    inline = re.findall(r"`(selfsort [^`]+)`", text)
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in [*lines, *inline]]
    return [line[1:] for line in words if line[:1] == ["selfsort"]]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_and_their_options_exist(page: str) -> None:
    for command, *rest in commands(page):
        help_text = call(command, "--help")
        assert help_text.code == 0, command
        options = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert [option for option in options if option not in help_text.out] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = DOCS / page
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (path.parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("page", ["few-labels.md", "question.md", "zh/question.md", "zh/readme.md"])
def test_figures_are_those_of_the_benchmarks(page: str) -> None:
    results = "".join(
        (DOCS.parent / "benchmarks" / "results" / f"{name}.md").read_text(encoding="utf-8")
        for name in ("systems", "accuracy")
    )
    figures = FIGURE.findall((DOCS / page).read_text(encoding="utf-8"))
    assert figures
    assert [figure for figure in figures if figure not in results] == []


def test_the_chinese_page_has_the_figures_of_the_english_one() -> None:
    english, chinese = (
        FIGURE.findall((DOCS / page).read_text(encoding="utf-8"))
        for page in ("question.md", "zh/question.md")
    )
    assert english == chinese
