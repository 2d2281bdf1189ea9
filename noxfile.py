"""What `nox` runs: `nox -s tests-3.12`, for instance; `nox --list` names the sessions.

Each has an environment of its own, which `scripts/setup` fills with what the lock pins. Where pip
finds no CPU build of torch for a Python, PyPI's comes, on Linux with 3 GB of CUDA packages.
"""

from __future__ import annotations

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
OLDEST = PYTHONS[0]

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", f"tests-{OLDEST}"]
nox.needs_version = ">=2024.4.15"


def locked(session: nox.Session) -> dict[str, str]:
    """Install what the lock pins, and selfsort; return the variables that say where."""
    where = {"SELFSORT_VENV": session.virtualenv.location}
    session.run("bash", "scripts/setup", env=where, external=True, silent=True)
    return where


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All checks and tests; arguments after -- go to pytest."""
    where = {"SELFSORT_VENV": session.virtualenv.location}
    session.run("bash", "scripts/test", *session.posargs, env=where, external=True)


@nox.session(python=PYTHONS)
def compiles(session: nox.Session) -> None:
    """Every file compiles without a warning; nothing is installed."""
    session.run("python", "-W", "error", "-m", "compileall", "-q", "-f", "src", "tests")


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Style and types."""
    locked(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session(python=OLDEST)
def docs(session: nox.Session) -> None:
    """The site in docs/_build, every warning an error."""
    locked(session)
    session.run("sphinx-build", "-W", "-q", "-b", "html", "docs", "docs/_build")


@nox.session(python=OLDEST)
def ray(session: nox.Session) -> None:
    """The tests that need Ray, which is not in the lock."""
    locked(session)
    session.install("ray[data]>=2.40")
    session.run("pytest", *(session.posargs or ["tests/test_ray.py"]))


@nox.session(python=OLDEST)
def mlflow(session: nox.Session) -> None:
    """The tests that need MLflow, which is not in the lock."""
    locked(session)
    session.install("mlflow-skinny>=3")
    session.run("pytest", *(session.posargs or ["tests/test_tracking.py"]))
