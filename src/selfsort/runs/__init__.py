"""Runs: one training in one folder, and what is done with it afterwards."""

from selfsort.runs.bottlenecks import BottleneckComparison, compare_bottlenecks
from selfsort.runs.bulk import PredictedParts, predict_in_parts
from selfsort.runs.comparing import Comparison, compare
from selfsort.runs.exporting import export_run
from selfsort.runs.predicting import predict_to_csv
from selfsort.runs.request import Request, read_record, resumed
from selfsort.runs.suggesting import suggest_to_csv
from selfsort.runs.sweeping import Sweep, sweep
from selfsort.runs.training import train

__all__ = [
    "BottleneckComparison",
    "Comparison",
    "PredictedParts",
    "Request",
    "Sweep",
    "compare",
    "compare_bottlenecks",
    "export_run",
    "predict_in_parts",
    "predict_to_csv",
    "read_record",
    "resumed",
    "suggest_to_csv",
    "sweep",
    "train",
]
