"""Judged sets that are made up, and say so: for smoke tests, never as evidence."""

from training.synthetic.base import MadeQuery
from training.synthetic.over_documents import queries_over

__all__ = ["MadeQuery", "queries_over"]
