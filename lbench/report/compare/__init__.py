"""Comparison of configurations: one row each, paired differences, and the terms that differ."""

from lbench.report.compare.comparison import Comparison, compare
from lbench.report.compare.difference import RowDifference
from lbench.report.compare.row import Pairs, Row, mean, rows, sampling
from lbench.report.compare.terms import Term

__all__ = [
    "Comparison", "Pairs", "Row", "RowDifference", "Term", "compare", "mean", "rows", "sampling",
]  # fmt: skip
