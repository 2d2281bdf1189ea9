"""The command line: training, use, comparisons, and two lists."""

from selfsort.cli.app import main

__all__ = ["main"]
