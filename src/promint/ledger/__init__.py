"""The ledger: what the events say that the store must be, worked out a second time.

It shares nothing with the rest of Promint, neither the rules nor the statements nor the numbers
that are stored, so that one mistake cannot hide another. It reads one moment of a live store.
"""

from promint.ledger.checking import check
from promint.ledger.findings import Finding, Report
from promint.ledger.reading import CannotCheck

__all__ = ["CannotCheck", "Finding", "Report", "check"]
