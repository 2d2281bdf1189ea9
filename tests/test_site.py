"""The site of the documentation: it is made without a warning, and its examples run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import selfsort

pytest.importorskip("sphinx_gallery", reason="the extra docs is not installed")

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("plot_*.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site's pages; making it runs the examples."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", "docs", str(folder)]
    environment = os.environ | {"MPLBACKEND": "agg", "NO_COLOR": "1"}
    made = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_the_site_has_every_page_name_and_picture(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert all((site / page.with_suffix(".html")).is_file() for page in pages)
    reference = (site / "reference.html").read_text(encoding="utf-8")
    classes = [name for name in selfsort.__all__ if name.startswith("Autoencoder")]
    assert len(classes) == 3
    assert all(f'id="selfsort.{name}.fit"' in reference for name in classes)

    assert EXAMPLES
    for name in EXAMPLES:
        assert (site / "gallery" / f"{name}.html").is_file()
        pictures = list((site / "_images").glob(f"sphx_glr_{name}_[0-9]*.png"))
        assert pictures
        for picture in pictures:
            with Image.open(picture) as opened:
                darkest, brightest = opened.convert("L").getextrema()
            assert darkest < 64
            assert brightest > 192
