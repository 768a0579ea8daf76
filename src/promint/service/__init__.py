"""The use cases, one function each, transport-free.

A call arrives as a `Call` and typed values, and leaves as a value or a refusal. Changes of
codes become operations for the engine; everything else is one transaction of its own.
"""

from promint.service.access import Call, Idempotency
from promint.service.calls import Service

__all__ = ["Call", "Idempotency", "Service"]
