"""One HTML page per run, that needs nothing but itself."""

from selfsort.report.page import write_report

__all__ = ["write_report"]
