"""An exported page, and an exported model in onnxruntime-web, in a real browser."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import io
import os
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import started, watched
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from selfsort import AutoencoderClassifier
from selfsort.exporting import export, writing
from selfsort.images.pixels import fit

PACKAGE = "onnxruntime-web@1.30.0"
PACKAGE_FOLDER = "SELFSORT_ONNXRUNTIME_WEB"
NEEDED = re.compile(r"package/(dist/(ort\.wasm\.min\.m?js|ort-wasm-simd-threaded\.(mjs|wasm))$)")
DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of onnxruntime-web: one that is there, or from the npm registry."""
    if PACKAGE_FOLDER in os.environ:
        return Path(os.environ[PACKAGE_FOLDER])
    if shutil.which("npm") is None:
        pytest.skip(f"There is no npm: set {PACKAGE_FOLDER} to the folder of {PACKAGE}.")
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "pack", PACKAGE, "--silent", "--fetch-retries=0", "--fetch-timeout=60000"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm gave no {PACKAGE}: set {PACKAGE_FOLDER} to its folder.")
    with tarfile.open(folder / done.stdout.split()[-1]) as archive:
        members = [one for one in archive.getmembers() if NEEDED.match(one.name)]
        archive.extractall(folder, members, filter="data")
    return folder / "package"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as browser:
        yield browser


@pytest.fixture(scope="module")
def drawing_page(
    taught_run: Path, exported: Path, runtime: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a page of its own in a folder, with the model that was exported before."""

    def written(estimator: Any, path: Path, write: Any) -> Any:
        path.write_bytes(exported.read_bytes())
        session = onnxruntime.InferenceSession(path)
        return lambda batch: session.run(None, {"input": batch})

    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_written", written)
        estimator = AutoencoderClassifier.load(taught_run)
        return export(estimator, folder / "draw.html", runtime=runtime).path


def draw(page: Page, *points: tuple[int, int]) -> None:
    box = page.locator("#canvas").bounding_box()
    assert box
    for i, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=8)
        if not i:
            page.mouse.down()
    page.mouse.up()


def shown(page: Page) -> tuple[str, np.ndarray, float]:
    """Return the class that is shown, the pixels that were given, and the first bar's percent."""
    expect(page.locator("#result")).to_be_visible()
    url = page.evaluate("document.getElementById('input').toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        pixels = np.asarray(image.convert("RGB"))
    share = page.locator(".bar span:last-child").first.inner_text()
    return page.locator("#class").inner_text(), pixels, float(share.removesuffix(" %"))


SEVEN = ((60, 60), (220, 60), (120, 240))
ONE = ((140, 40), (140, 240))


def test_a_drawing_gets_the_class_that_the_estimator_gives_it(
    browser: Browser, drawing_page: Path, taught_run: Path
) -> None:
    classifier = AutoencoderClassifier.load(taught_run)
    with watched(browser, drawing_page.as_uri()) as page:  # a file: there is no server
        page.wait_for_selector("body[data-ready]")
        for points in (SEVEN, ONE):
            draw(page, *points)
            name, pixels, percent = shown(page)
            assert pixels.shape[:2] == (64, 64)  # the graph makes 16×16 of it
            X = fit(Image.fromarray(pixels[..., 0]), 16, 16)
            assert 8 < (X > 64).sum() < 128  # it is drawn, and not all over
            assert name == classifier.predict(X)[0]
            assert percent == pytest.approx(100 * classifier.predict_proba(X).max(), abs=0.006)
            page.click("#clear")
            expect(page.locator("#result")).to_be_hidden()


def test_a_picture_is_read_as_predict_reads_it(
    browser: Browser,
    drawing_page: Path,
    taught_run: Path,
    large_digits: np.ndarray,
    tmp_path: Path,
) -> None:
    classifier = AutoencoderClassifier.load(taught_run)
    picture = Image.fromarray(large_digits[700]).resize((90, 51))
    picture.save(tmp_path / "picture.png")
    (tmp_path / "none.png").write_bytes(b"no picture")
    with watched(browser, drawing_page.as_uri()) as page:
        page.wait_for_selector("body[data-ready]")
        page.set_input_files("#file", tmp_path / "none.png")
        expect(page.locator("#status")).to_have_text(
            "This is no picture that the browser can read."
        )
        page.set_input_files("#file", tmp_path / "picture.png")
        name, pixels, percent = shown(page)
        expect(page.locator("#status")).to_be_empty()
    assert np.array_equal(pixels[..., 0], np.asarray(picture))
    X = fit(picture, 16, 16)
    assert name == classifier.predict(X)[0]
    assert percent == pytest.approx(100 * classifier.predict_proba(X).max(), abs=0.006)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)])
def test_everybody_can_use_it(
    browser: Browser, drawing_page: Path, scheme: Any, width: int
) -> None:
    size: Any = {"width": width, "height": 900}
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": size, "bypass_csp": True}
    with watched(browser, drawing_page.as_uri(), **options) as page:
        page.wait_for_selector("body[data-ready]")
        draw(page, *SEVEN)
        shown(page)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_may_ask_nobody(browser: Browser, drawing_page: Path) -> None:
    text = drawing_page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert "connect-src" not in text
    assert text.count("http://") == text.count("https://") == 0


# ---- the documentation's JavaScript --------------------------------------------------------


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine, without a word."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *values: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_documentations_javascript_runs(
    browser: Browser, exported: Path, runtime: Path, taught_run: Path, tmp_path: Path
) -> None:
    text = (DOCS / "export.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^```javascript\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    shutil.copy(exported, tmp_path / "model.onnx")
    (tmp_path / "onnxruntime-web").symlink_to(runtime, target_is_directory=True)
    (tmp_path / "index.html").write_text(
        '<!DOCTYPE html><link rel="icon" href="data:,">'
        f'<body></body><script type="module">{code}</script>'
    )
    probability = AutoencoderClassifier.load(taught_run).predict_proba(
        np.zeros((1, 16, 16), np.uint8)
    )[0]
    with served(tmp_path) as url, watched(browser, url) as page:
        expect(page.locator("body")).to_have_text(
            f"class {probability.argmax()} with {probability.max():.6f}"
        )
