"""One import line, because Django's discovery looks for this name."""

from traceability.portal.filters import register as register
