"""Predictions of images that need not fit into memory, in parts, by one process or many."""

from selfsort.runs.bulk.predicting import PredictedParts, predict_in_parts

__all__ = ["PredictedParts", "predict_in_parts"]
