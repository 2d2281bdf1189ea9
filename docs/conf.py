"""How Sphinx makes the site: `sphinx-build -W -b html docs docs/_build`."""

import os
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

from selfsort import __version__

project = "selfsort"
author = "selfsort developers"
version = release = __version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build"]
default_role = "code"  # `name` in a docstring is code

html_theme = "furo"
html_title = f"selfsort {version}"
html_show_copyright = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say the types, with shapes and limits
python_maximum_signature_line_length = 88
numpydoc_show_class_members = False  # autodoc lists the members already

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "within_subsection_order": "FileNameSortKey",
    "min_reported_time": float("inf"),  # how long an example took is no news
    "run_stale_examples": True,  # selfsort may have changed though the example has not
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
}


def offer_files(app: Sphinx, doctree: nodes.document) -> None:
    """Turn links to Markdown files outside docs/ into downloads.

    Pages link to files such as ../benchmarks/results/accuracy.md, for so they work where the
    repository is shown. MyST takes them for pages of the site, which they are not, and warns.
    """
    here = Path(app.srcdir, app.env.docname).parent
    for link in list(doctree.findall(addnodes.pending_xref)):
        file = Path(f"{link['reftarget']}.md")
        if link["reftype"] == "myst" and file.is_absolute() and file.is_file():
            target = Path(os.path.relpath(file, here)).as_posix()
            download = addnodes.download_reference("", "", *link.children, reftarget=target)
            link.replace_self(download)


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", offer_files, priority=400)  # before Sphinx collects downloads
