"""The pages of the documentation: their code runs, their commands exist, their links lead on."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import selfsort
from selfsort import doctor
from selfsort.bottlenecks import BOTTLENECKS
from selfsort.cli.app import app
from selfsort.cli.mistakes import USAGE_ERROR
from selfsort.doctor import checks
from selfsort.networks import NETWORKS

DOCS = Path(__file__).resolve().parents[1] / "docs"
README = DOCS.parent / "README.md"
PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in DOCS.rglob("*.md")
    if "_build" not in path.parts  # what Sphinx made
)
FIGURE = re.compile(r"\d+\.\d+ \(\d+\.\d+ to \d+\.\d+\)")
FENCE = re.compile(r"^ *(```+|~~~+)(.*)$", re.MULTILINE)


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)


WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
WITH_COMMANDS = [page for page in PAGES if blocks(page, "bash")]


def test_the_pages_with_code_are_found() -> None:
    assert WITH_PYTHON == [
        "bottlenecks.md",
        "bulk.md",
        "compare-bottlenecks.md",
        "doctor.md",
        "export.md",
        "few-labels.md",
        "index.md",
        "photos.md",
        "pipeline.md",
        "sharing.md",
        "streaming.md",
        "zh/readme.md",
    ]
    assert WITH_COMMANDS == [
        "bulk.md",
        "compare-bottlenecks.md",
        "doctor.md",
        "export.md",
        "few-labels.md",
        "page.md",
        "photos.md",
        "scale.md",
        "sharing.md",
        "streaming.md",
        "sweep.md",
        "zh/readme.md",
    ]


@pytest.mark.parametrize("page", PAGES)
def test_no_block_is_left_out_for_how_it_is_written(page: str) -> None:
    fences = FENCE.findall(text_of(page))
    opened = fences[::2]
    assert all(not language for _, language in fences[1::2])
    # What is in JavaScript is run by tests/test_export_browser.py.
    known = {"python", "bash", "javascript", "{eval-rst}", "{toctree}"}
    assert {language for _, language in opened} <= known
    found = sum(len(blocks(page, language)) for language in ("python", "bash"))
    assert found == sum(language in {"python", "bash"} for _, language in opened)


@pytest.fixture
def _registered_as_before() -> Iterator[None]:
    """Forget the bottlenecks that a page defines."""
    before = dict(BOTTLENECKS)
    yield
    BOTTLENECKS.clear()
    BOTTLENECKS.update(before)


@pytest.mark.slow
@pytest.mark.usefixtures("_registered_as_before")
@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_code_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)


# ---- commands ---------------------------------------------------------------------------------

COMMANDS = typer.main.get_command(app).commands


def words_of(line: str) -> list[str]:
    """Return the words after `selfsort`; none where a line is another command."""
    program, *rest = shlex.split(line, comments=True) or [""]
    if program == "torchrun":
        program, *rest = rest[rest.index("-m") + 1 :]
    return rest if program == "selfsort" else []


def in_blocks(page: str) -> list[list[str]]:
    joined = [block.replace("\\\n", " ") for block in blocks(page, "bash")]
    lines = [line for block in joined for line in block.splitlines()]
    return [words for line in lines if (words := words_of(line))]


def in_sentences(page: str) -> list[list[str]]:
    found = re.findall(r"`(selfsort [^`]+)`", text_of(page))
    return [words for line in found if (words := words_of(line))]


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_commands_can_be_given(page: str) -> None:
    assert in_blocks(page)
    for name, *rest in in_blocks(page):
        COMMANDS[name].make_context(name, rest)  # raises for what cannot be


@pytest.mark.parametrize("page", [page for page in PAGES if in_sentences(page)])
def test_commands_in_sentences_and_their_options_exist(page: str) -> None:
    for name, *rest in in_sentences(page):
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        options = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert options <= known


def test_a_wrong_command_line_is_seen() -> None:
    with pytest.raises(USAGE_ERROR, match="No such option: --labls"):
        COMMANDS["train"].make_context("train", ["digits", "--labls", "all"])


# ---- links and figures ------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = DOCS / page
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text_of(page))
    missing = [t for t in targets if "://" not in t and not (path.parent / t).exists()]
    assert missing == []


def test_every_page_is_in_the_table_of_contents() -> None:
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```$", text_of("index.md"), re.DOTALL | re.M)
    entries = [entry for tree in trees for entry in tree.split("\n\n", 1)[1].splitlines()]
    names = [re.sub(r".* <(.+)>", r"\1", entry) for entry in entries]  # title <name>, or name
    names.remove("gallery/index")  # made of examples/, see test_site.py
    assert sorted([*(f"{name}.md" for name in names), "index.md"]) == PAGES


WITH_FIGURES = [page for page in PAGES if FIGURE.search(text_of(page)) and page != "log.md"]


def test_the_pages_with_figures_are_found() -> None:
    assert WITH_FIGURES == [
        "few-labels.md",
        "photos.md",
        "pipeline.md",
        "question.md",
        "zh/question.md",
        "zh/readme.md",
    ]


@pytest.mark.parametrize("page", WITH_FIGURES)
def test_figures_are_those_of_the_benchmarks(page: str) -> None:
    results = "".join(
        (DOCS.parent / "benchmarks" / "results" / f"{name}.md").read_text(encoding="utf-8")
        for name in ("systems", "accuracy")
    )
    figures = FIGURE.findall(text_of(page))
    assert [figure for figure in figures if figure not in results] == []


@pytest.mark.parametrize(
    ("english", "chinese"),
    [(DOCS / "question.md", "zh/question.md"), (README, "zh/readme.md")],
    ids=["question", "readme"],
)
def test_the_chinese_page_has_the_figures_of_the_english_one(english: Path, chinese: str) -> None:
    figures = FIGURE.findall(english.read_text(encoding="utf-8"))
    assert figures
    assert FIGURE.findall(text_of(chinese)) == figures


# ---- tables of names --------------------------------------------------------------------------


def test_the_doctors_table_has_every_finding_and_no_other() -> None:
    sources = Path(checks.__file__).parent.glob("*.py")
    calls = [
        node
        for source in sources
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding"
    ]
    given = {ast.literal_eval(call.args[0]) for call in calls}
    rows = [line for line in text_of("doctor.md").splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert sorted(listed) == sorted(given)


def test_the_reference_has_every_public_name() -> None:
    kinds = "autoclass|autofunction|autoexception|py:data"
    listed = re.findall(rf"^\.\. (?:{kinds}):: (\S+)$", text_of("reference.md"), re.MULTILINE)
    registered = [*BOTTLENECKS.values(), *NETWORKS.values()]
    registered = [one for one in registered if one.__module__.startswith("selfsort.")]
    public = {
        *(f"selfsort.{name}" for name in selfsort.__all__),
        *(f"selfsort.doctor.{name}" for name in doctor.__all__),
        *(f"{one.__module__}.{one.__qualname__}" for one in registered),
    }
    assert len(listed) == len(set(listed))
    assert public - set(listed) == set()
