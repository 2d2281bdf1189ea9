"""The doctor: why an autoencoder does not learn what it should, with figures."""

from selfsort.doctor.examination import Examination, examine
from selfsort.doctor.finding import Finding

__all__ = ["Examination", "Finding", "examine"]
