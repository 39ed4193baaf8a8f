"""What a request asks for, read strictly: an unknown or unreadable parameter is refused by name."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Collection, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from django.utils import timezone
from rest_framework.request import Request

from traceability.core.errors import Malformed

ROWS = 50
LONGEST_TEXT = 200


class Query:
    """The query of one request. Every reader raises Malformed with the parameter's name."""

    def __init__(self, request: Request, *, known: Collection[str]) -> None:
        self._request = request
        self._given = request.query_params
        for name in self._given:
            if name not in {*known, "format"}:
                # A misspelt filter that is passed over would answer another question.
                raise Malformed(field=name, reason="unknown")

    def text(self, name: str) -> str:
        """Return a text, "" when it is not given."""
        text = self._given.get(name, "").strip()
        if len(text) > LONGEST_TEXT or "\0" in text:
            raise Malformed(field=name, reason="length", most=LONGEST_TEXT)
        return text

    def words(self, name: str, vocabulary: type[StrEnum]) -> tuple[str, ...]:
        """Return the values given, each a word of the vocabulary."""
        given = tuple(self._given.getlist(name))
        for word in given:
            if word not in set(vocabulary):
                raise Malformed(field=name, reason="vocabulary", text=word)
        return given

    def truth(self, name: str) -> bool | None:
        """Return true or false, None when it is not given."""
        word = self.text(name)
        if word not in {"", "true", "false"}:
            raise Malformed(field=name, reason="vocabulary", text=word)
        return None if not word else word == "true"

    def day(self, name: str) -> date | None:
        """Return a day, YYYY-MM-DD."""
        text = self.text(name)
        try:
            return date.fromisoformat(text) if text else None
        except ValueError:
            raise Malformed(field=name, reason="date", text=text) from None

    def moment(self, name: str) -> datetime | None:
        """Return a time; without an offset it is one of Asia/Shanghai."""
        # A plus sign that was not escaped arrives as a space.
        text = self.text(name).replace(" ", "+") if "T" in self.text(name) else self.text(name)
        try:
            moment = datetime.fromisoformat(text) if text else None
        except ValueError:
            raise Malformed(field=name, reason="time", text=text) from None
        if moment is not None and timezone.is_naive(moment):
            return timezone.make_aware(moment)
        return moment

    def limit(self, *, most: int) -> int:
        """Return how many rows a page is to have."""
        text = self.text("limit")
        if not text:
            return min(ROWS, most)
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
            raise Malformed(field="limit", reason="range", text=text, most=most)
        return int(text)

    def cursor(self, readers: Sequence[Callable[[str], Any]]) -> Any:
        """Return the key that a cursor holds, None for the first page."""
        text = self.text("cursor")
        if not text:
            return None
        try:
            parts = json.loads(base64.b64decode(text.encode(), altchars=b"-_", validate=True))
            if len(parts) != len(readers):
                raise Malformed(field="cursor", reason="value", text=text)
            return tuple(read(str(part)) for read, part in zip(readers, parts, strict=True))
        except (ValueError, TypeError, binascii.Error):
            raise Malformed(field="cursor", reason="value", text=text) from None

    def page(self, rows: Sequence[object], next_after: Sequence[str] | None) -> dict[str, Any]:
        """Return a page: the rows, and the address of the next one."""
        if next_after is None:
            return {"results": rows, "next": None}
        key = json.dumps(list(next_after), separators=(",", ":")).encode()
        cursor = base64.b64encode(key, altchars=b"-_").decode()
        query = self._given.copy()
        query["cursor"] = cursor
        return {
            "results": rows,
            "next": self._request.build_absolute_uri(f"{self._request.path}?{query.urlencode()}"),
        }
