"""The sorting page in a real browser: what a person does from folder to class folders."""

from __future__ import annotations

import contextlib
import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import started, watched
from PIL import Image
from playwright.sync_api import Browser, Error, Page, expect
from sklearn.datasets import load_digits

from selfsort.runs import Request, train
from selfsort.web.studio import Studio

HOSTILE = [
    "<script>window.hurt = 1</script>", "<img src=x onerror='window.hurt=1'>",
    "\"><svg onload=window.hurt=1>", "'><iframe src=javascript:parent.hurt=1>",
    "javascript:window.hurt=1", "</title><script>window.hurt=1</script>",
    "{{constructor.constructor('window.hurt=1')()}}", "${window.hurt=1}",
    "<a href=javascript:window.hurt=1>x</a>", "<body onload=window.hurt=1>",
    "<style>@import 'http://evil.example'</style>", "<base href=http://evil.example/>",
    "<math><mtext><script>window.hurt=1</script>", "<details open ontoggle=window.hurt=1>",
    "<input autofocus onfocus=window.hurt=1>", "<video><source onerror=window.hurt=1>",
    "<object data=javascript:window.hurt=1>", "<embed src=javascript:window.hurt=1>",
    "<form action=javascript:window.hurt=1><button>x", "&lt;script&gt;window.hurt=1&lt;/script&gt;",
    "<template><script>window.hurt=1</script></template>", "<noscript><img onerror=window.hurt=1>",
    "--><script>window.hurt=1</script>", "]]><script>window.hurt=1</script>",
    "<svg><script>window.hurt=1</script></svg>", "<link rel=stylesheet href=http://evil.example>",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>", "\\\"-window.hurt=1-\\\"",
    "<marquee onstart=window.hurt=1>", "<select onfocus=window.hurt=1 autofocus>",
    "<textarea autofocus onfocus=window.hurt=1>", "<audio src onerror=window.hurt=1>",
    "<x onclick=window.hurt=1>click</x>", "%3Cscript%3Ewindow.hurt=1%3C/script%3E",
    "\u003cscript\u003ewindow.hurt=1", "<scr<script>ipt>window.hurt=1</script>",
    "<IMG SRC=`javascript:window.hurt=1`>", "<a xlink:href=javascript:window.hurt=1>",
    "=cmd|' /C calc'!A0", "\u202egnp.exe",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with pictures, some with hostile names, and a run on them."""
    folder = tmp_path_factory.mktemp("browser")
    photos = folder / "photos"
    photos.mkdir()
    for i, pixels in enumerate(load_digits(n_class=3).images[:200]):
        hostile = HOSTILE[i].replace("/", "\u2215") if i < len(HOSTILE) else ""
        Image.fromarray((pixels * 15.9).astype(np.uint8)).save(photos / f"{i:03}{hostile[:60]}.png")
    train(Request(data=str(photos), n_classes=3, epochs=8, out=folder / "run"))
    return folder


@contextlib.contextmanager
def served(run: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "selfsort", "page", str(run), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().removeprefix("Page: ").strip()
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as browser:
        yield browser


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "run"


@contextlib.contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """Open the sorting page; no hostile name may have been run in the end."""
    with watched(browser, url, **{"locale": "en", **options}) as page:
        page.wait_for_selector("body[data-ready]")
        yield page
        assert page.evaluate("window.hurt") is None


def card(page: Page, number: int) -> Any:
    return page.locator(f"article[data-class='{number}']")


def move_fifty(page: Page) -> None:
    """Move fifty images of the first class to the second: click, then Shift-click."""
    card(page, 0).locator("button.open").click()
    expect(page.locator("#filter-class")).to_have_value("0")
    cells = page.locator("#grid .cell")
    expect(cells.nth(49)).to_be_visible()
    cells.nth(0).click()
    cells.nth(49).click(modifiers=["Shift"])
    expect(page.locator("#selected")).to_have_text("50 selected")
    page.select_option("#move-class", "1")
    page.click("#move")
    expect(page.locator("#status")).to_have_text("50 images moved.")


def draw_a_one(page: Page) -> None:
    page.click("#nav-try")
    box = page.locator("#canvas").bounding_box()
    assert box
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(x, box["y"] + 230, steps=8)
    page.mouse.up()
    expect(page.locator("[data-result]")).to_be_visible()


@pytest.mark.slow
def test_from_images_to_named_class_folders(browser: Browser, made: Path, run: Path) -> None:
    with served(run) as url, opened(browser, url) as page:
        assert "token" not in page.url
        name = card(page, 0).locator("input.class-name")
        name.fill("first")
        name.press("Enter")
        expect(page.locator("#status")).to_have_text("Named.")
        size = int(re.findall(r"\d+", card(page, 1).inner_text())[0])
        move_fifty(page)
        page.click("#nav-classes")
        expect(card(page, 1)).to_contain_text(f"{size + 50} images · ")
        page.click("#undo")
        expect(card(page, 1)).to_contain_text(f"{size} images · ")
        page.click("#redo")
        expect(card(page, 1)).to_contain_text(f"{size + 50} images · ")
        page.keyboard.press("Control+z")
        expect(card(page, 1)).to_contain_text(f"{size} images · ")

        page.click("#nav-suggested")
        expect(page.locator("[data-suggested]")).to_be_visible()
        first = page.locator("[data-suggested]").get_attribute("data-suggested") or ""
        page.keyboard.press("1")
        expect(page.locator("#status")).to_have_text("1 images moved.")
        expect(page.locator("[data-suggested]")).not_to_have_attribute(
            "data-suggested", first or ""
        )
        page.keyboard.press("x")
        expect(page.locator("#status")).to_have_text("1 images marked as none of these.")

        page.click("#nav-classes")
        page.click("#train")
        expect(page.locator("#progress")).to_be_visible()
        card(page, 1).locator("input.class-name").fill("second")  # the page stays usable
        card(page, 1).locator("input.class-name").press("Enter")
        expect(page.locator("#cancel")).to_be_hidden(timeout=300_000)
        assert "failed" not in page.locator("#learned").inner_text()
        expect(page.locator("#learned")).to_contain_text("Doubtful images:")
        page.click("#keep")
        expect(page.locator("#undo")).to_have_text("Undo: what was learned")
        expect(card(page, 1).locator("input.class-name")).to_have_value("second")

        draw_a_one(page)
        expect(page.locator("#result meter")).to_have_count(3)
        page.click("#nav-export")
        with page.expect_download() as download:
            page.click("#labels-csv")
        rows = list(csv.reader(download.value.path().read_text().splitlines()))
        assert rows[0] == ["file", "class"]
        assert len(rows) == 201
        page.click("#export-copy")
        expect(page.locator("#status")).to_contain_text("200 images in")
    exported = run / "export"
    assert {path.name for path in exported.iterdir()} == {
        "first", "second", "class 2", "none of these", "labels.csv",
    }  # fmt: skip
    assert len(list(exported.rglob("*.png"))) == 200
    studio = Studio(run)
    assert studio.board.can_undo == "retrain"
    assert int(studio.board.corrected.sum()) == 2
    studio.close()


def test_the_keyboard_and_the_lasso_select(browser: Browser, run: Path) -> None:
    with served(run) as url, opened(browser, url) as page:
        page.click("#nav-images")
        cells = page.locator("#grid .cell")
        expect(cells.first).to_be_visible()
        selected = page.locator("#selected")
        page.locator("#grid").focus()
        for key, n in (
            (" ", 1), ("Shift+ArrowRight", 2), ("Shift+ArrowRight", 3), ("ArrowRight", 3), (" ", 4),
        ):  # fmt: skip
            page.keyboard.press(key)
            expect(selected).to_have_text(f"{n} selected")
        page.keyboard.press("c")
        expect(page.locator("#status")).to_have_text("4 images marked as right.")
        expect(page.locator(".cell.corrected")).to_have_count(4)
        page.keyboard.press("Control+a")
        expect(selected).to_have_text("200 selected")
        page.keyboard.press("Escape")
        expect(selected).to_have_text("0 selected")
        box = page.locator("#grid").bounding_box()
        assert box
        page.mouse.move(box["x"] + 10, box["y"] + 10)
        page.mouse.down()
        page.mouse.move(box["x"] + 64 * 3 - 10, box["y"] + 64 * 2 - 10, steps=4)
        page.mouse.up()
        expect(selected).to_have_text("6 selected")
        page.keyboard.press("x")
        expect(page.locator("#status")).to_have_text("6 images marked as none of these.")
        page.select_option("#filter-class", "rejected")
        expect(page.locator("#total")).to_have_text("6 images")
        page.select_option("#filter-class", "all")
        page.fill("#search", "012")
        expect(page.locator("#total")).to_have_text("1 images")


def test_images_that_were_not_looked_at_yet_are_selected_too(browser: Browser, run: Path) -> None:
    with served(run) as url, contextlib.ExitStack() as stack:
        context = browser.new_context(locale="en")
        stack.callback(context.close)
        page = context.new_page()

        def ten_at_once(route: Any) -> None:
            text = route.fetch().text()
            assert "const PAGE = 200;" in text
            assert "const MOST_SELECTED = 5000;" in text
            smaller = text.replace("PAGE = 200", "PAGE = 10").replace("= 5000", "= 150")
            route.fulfill(body=smaller, content_type="text/javascript")

        page.route("**/static/grid.js", ten_at_once)
        page.set_viewport_size({"width": 500, "height": 400})
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        page.click("#nav-images")
        cells = page.locator("#grid .cell")
        expect(cells.first).to_be_visible()
        cells.nth(2).click()
        page.evaluate("document.querySelector('#grid').scrollTop = 900")
        last = page.locator("#grid .cell[data-place='101']")
        expect(last).to_be_visible()
        last.click(modifiers=["Shift"])
        expect(page.locator("#selected")).to_have_text("100 selected")
        page.locator("#grid").focus()
        page.keyboard.press("Control+a")
        expect(page.locator("#selected")).to_have_text("150 selected")
        expect(page.locator("#status")).to_have_text("At most 150 images can be selected at once.")


def test_classes_are_merged_and_split(browser: Browser, run: Path) -> None:
    with served(run) as url, opened(browser, url) as page:
        expect(page.locator("#merge")).to_be_disabled()
        card(page, 0).locator("input.pick").check()
        card(page, 2).locator("input.pick").check()
        page.click("#merge")
        expect(page.locator("#cards article")).to_have_count(2)
        card(page, 0).locator("button.split").click()
        expect(page.locator("#cards article")).to_have_count(3)
        page.click("#nav-try")
        page.select_option("#morph-to", "1")
        before = page.locator("#morphed").get_attribute("src")
        page.locator("#morph-share").fill("1")
        expect(page.locator("#morphed")).not_to_have_attribute("src", before or "")


def test_hostile_names_are_only_text(browser: Browser, run: Path) -> None:
    assert len(HOSTILE) >= 40
    with served(run) as url, opened(browser, url) as page:
        name = card(page, 0).locator("input.class-name")
        for text in HOSTILE:
            if not text.isprintable():
                continue
            name.fill(text)
            name.press("Enter")
            expect(page.locator("#status")).to_have_text("Named.")
            expect(card(page, 0)).to_have_attribute("aria-label", " ".join(text.split()))
            page.evaluate("document.getElementById('status').textContent = ''")
        for view in ("images", "suggested", "try", "export"):
            page.click(f"#nav-{view}")
            page.wait_for_timeout(300)
        page.click("#nav-images")
        expect(page.locator("#grid .cell").first).to_be_visible()


@pytest.mark.parametrize(
    ("scheme", "width", "locale"), [("light", 1200, "en"), ("dark", 400, "zh-CN")]
)
def test_everybody_can_use_it(
    browser: Browser, run: Path, scheme: Any, width: int, locale: str
) -> None:
    size: Any = {"width": width, "height": 900}
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": size, "locale": locale}
    with served(run) as url, opened(browser, url, **options, bypass_csp=True) as page:
        language = "zh-Hans" if locale == "zh-CN" else "en"
        assert page.get_attribute("html", "lang") == language
        for view in ("classes", "images", "suggested", "try", "export"):
            page.click(f"#nav-{view}")
            if view == "images":
                expect(page.locator("#grid .cell").first).to_be_visible()
            if view == "try":
                draw_a_one(page)
            page.wait_for_timeout(300)
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.click("#help")
        expect(page.locator("#keys")).to_be_visible()
        assert Axe().run(page).violations_count == 0
        page.keyboard.press("Escape")
        page.click("#language")
        expect(page.locator("html")).to_have_attribute(
            "lang", "en" if language == "zh-Hans" else "zh-Hans"
        )


def test_a_correction_waits_for_a_server_that_comes_back(browser: Browser, run: Path) -> None:
    with served(run) as url, contextlib.ExitStack() as stack:
        context = browser.new_context(locale="en")
        stack.callback(context.close)
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        refused: list[str] = []

        def refuse_twice(route: Any) -> None:
            refused.append(route.request.post_data)
            if len(refused) == 1:
                route.abort()
            elif len(refused) == 2:
                # It arrives, and the answer is lost.
                route.fetch()
                route.fulfill(status=503, json={"error": "busy"})
            else:
                route.continue_()

        page.route("**/api/correct", refuse_twice)
        name = card(page, 1).locator("input.class-name")
        name.fill("kept")
        name.press("Enter")
        expect(page.locator("#status")).to_have_text("Named.")
        assert len(refused) == 3
        assert len(set(refused)) == 1  # one key, one correction
    studio = Studio(run)
    assert len(studio.log) == 1
    assert studio.board.classes[1].name == "kept"
    studio.close()


def test_without_the_token_there_is_no_page(browser: Browser, run: Path) -> None:
    with served(run) as url:
        context = browser.new_context()
        page = context.new_page()
        answer = page.goto(url.partition("?")[0])
        assert answer is not None
        assert answer.status == 401
        with pytest.raises(Error):
            page.goto(url.replace("127.0.0.1", "127.0.0.2"))
        context.close()
