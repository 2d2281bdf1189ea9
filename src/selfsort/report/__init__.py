"""HTML pages of runs and comparisons, each of which needs nothing but itself."""

from selfsort.report.bottlenecks import write_bottlenecks
from selfsort.report.doctor import write_doctor
from selfsort.report.page import write_report

__all__ = ["write_bottlenecks", "write_doctor", "write_report"]
