"""Rows: fields, constraints, indexes. Imported here for Django's discovery, re-exported nowhere."""

from traceability.models import (  # noqa: F401  (Django finds models by importing this package)
    intake,
    ledger,
    parties,
    registry,
)
