"""Canonical payload bytes and the commitments that records carry in their place.

Canonical form is RFC 8785 (JSON Canonicalization Scheme) restricted to the values on which plain
sorted, compact JSON already is that form; everything else is refused (docs/FORMATS.md,
«Canonical JSON»). A commitment hides a payload behind 16 random bytes, so that erasing both
leaves every hash that was built over the commitment valid:

    canonical({"b": "重庆", "a": [1, True]})  ->  '{"a":[1,true],"b":"重庆"}'
    commitment(salt, body)  =  SHA-256("ledger/payload/v1" 00 || salt[16] || body)
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256
from typing import NoReturn
from uuid import UUID

from traceability.core.errors import Malformed

SALT_BYTES = 16
HASH_BYTES = 32
BATTERY_ID_BYTES = 16
# RFC 8785, appendix D: beyond this a reader that keeps numbers as doubles sees another number.
INTEGER_LIMIT = 2**53
# Deeper nesting is no payload; a fixed limit refuses alike on every interpreter.
MOST_LEVELS = 32
# A decimal with more digits than this is an accident of arithmetic, not a measurement.
MOST_DECIMAL_DIGITS = 64

_payload_prefix = sha256(b"ledger/payload/v1\0").copy
_PARTICIPANTS = b"ledger/participants/v1\0"
_JOINT = b"ledger/joint/v1\0"
_MOST_PARTICIPANTS = 2**31


def canonical(value: object) -> str:
    """Return the one text of a JSON value; its UTF-8 bytes are what commitments cover.

    Takes dict, list, tuple, str, int, bool, None and Decimal. A Decimal becomes a string in plain
    notation with the places it was written with (`Decimal("5420.50")` -> `"5420.50"`).

    Raises:
        Malformed: field `json`; `reason` is one of the words of FORMATS.md and `at` the JSON
            pointer to the value.
    """
    _check(value, MOST_LEVELS)
    text = _encode(value)
    if not text.isascii():
        try:
            utf16 = text.encode("utf-16-le")
        except UnicodeEncodeError:
            _refuse("surrogate")
        if len(utf16) != 2 * len(text) and _has_astral_key(value):
            _refuse("key")
    # In JSON text U+0000 shows only as this escape; a backslash before it may make it harmless.
    if "\\u0000" in text and _has_nul(value):
        _refuse("nul")
    return text


def parse_canonical(text: str) -> object:
    """Return the value of a canonical text; any other spelling of it is refused.

    Raises:
        Malformed: field `json`; reasons as in `canonical`, and `duplicate_key`, `syntax`,
            `spelling` (valid JSON that is not in canonical form).
    """
    try:
        value: object = _decode(text)
    except RecursionError:
        _refuse("depth")
    except ValueError:
        _refuse("syntax")
    if canonical(value) != text:
        _refuse("spelling")
    return value


def commitment(salt: bytes, body: bytes) -> bytes:
    """Return the salted commitment to a payload, 32 bytes. `salt` is 16 random bytes."""
    if len(salt) != SALT_BYTES:
        raise Malformed(field="salt", reason="length", length=len(salt))
    state = _payload_prefix()
    state.update(salt + body)
    return state.digest()


def participants_hash(participants: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the hash over all batteries of a joint event, 32 bytes.

    `participants` are pairs of battery id (16 bytes) and inner commitment (32 bytes), in any
    order; at least two, no battery twice.
    """
    ordered = sorted(participants)
    if not 2 <= len(ordered) < _MOST_PARTICIPANTS:
        raise Malformed(field="participants", reason="count", count=len(ordered))
    if len({battery_id for battery_id, _ in ordered}) != len(ordered):
        raise Malformed(field="participants", reason="duplicate")
    for battery_id, inner in ordered:
        if len(battery_id) != BATTERY_ID_BYTES or len(inner) != HASH_BYTES:
            raise Malformed(field="participants", reason="length")
    return sha256(_PARTICIPANTS + b"".join(map(b"".join, ordered))).digest()


def joint_commitment(
    event_id: UUID, participants_n: int, participants_hash: bytes, inner: bytes
) -> bytes:
    """Return what a record of a joint event carries as its commitment, 32 bytes.

    Covers the parts that redaction keeps and the inner commitment to this battery's payload.
    """
    if not 2 <= participants_n < _MOST_PARTICIPANTS:
        raise Malformed(field="participants", reason="count", count=participants_n)
    if len(participants_hash) != HASH_BYTES or len(inner) != HASH_BYTES:
        raise Malformed(field="participants", reason="length")
    count = struct.pack(">I", participants_n)
    return sha256(_JOINT + event_id.bytes + count + participants_hash + inner).digest()


def decimal_text(value: Decimal) -> str:
    """Return a decimal in plain notation: no exponent, its own places, no negative zero."""
    if not value.is_finite():
        _refuse("not_a_number")
    # "1E+999999" would fill the disk.
    digits = len(value.as_tuple().digits)
    if max(abs(value.adjusted()) + 1, digits) > MOST_DECIMAL_DIGITS:
        _refuse("decimal_digits")
    return format(value or value.copy_abs(), "f")


def _check(value: object, levels: int) -> None:
    """Refuse what the canonical form has no room for, except what shows in the text anyway."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if isinstance(value, int):
        if not -INTEGER_LIMIT < value < INTEGER_LIMIT:
            _refuse("integer_range")
    elif isinstance(value, dict):
        _check_items(value, value.items(), levels)
    elif isinstance(value, list | tuple):
        _check_items(None, enumerate(value), levels)
    elif isinstance(value, float):
        _refuse("float")
    elif isinstance(value, Decimal):
        decimal_text(value)
    elif not isinstance(value, str):
        _refuse("type")


def _check_items(
    keys: dict[object, object] | None, items: Iterable[tuple[object, object]], levels: int
) -> None:
    if not levels:
        _refuse("depth")
    key: object = None
    try:
        for key, item in items:
            if keys is not None and not isinstance(key, str):
                _refuse("key")
            if type(item) is not str:
                _check(item, levels - 1)
    except Malformed as error:
        # The pointer (RFC 6901) grows from the inside out, and only when there is a refusal.
        step = str(key).replace("~", "~0").replace("/", "~1")
        raise Malformed(**error.params | {"at": f"/{step}{error.params['at']}"}) from None


def _has_astral_key(value: object) -> bool:
    # Beyond the BMP, order by code point and by UTF-16 unit (RFC 8785, 3.2.3) differ.
    return any(max(key, default="") > "\uffff" for key in _keys(value))


def _keys(value: object) -> Iterable[str]:
    if isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from _keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _keys(item)


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list | tuple) and any(map(_has_nul, value))


def _refuse(reason: str) -> NoReturn:
    raise Malformed(field="json", reason=reason, at="")


def _unique_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        _refuse("duplicate_key")
    return value


def _integer(digits: str) -> int:
    # 2^53 has 16 digits; the interpreter's own limit on digits is neither fixed nor ours.
    if len(digits.lstrip("-")) > len(str(INTEGER_LIMIT)):
        _refuse("integer_range")
    return int(digits)


def _no_float(_: str) -> NoReturn:
    _refuse("float")


def _no_constant(_: str) -> NoReturn:
    _refuse("not_a_number")


_encode = json.JSONEncoder(
    sort_keys=True,
    ensure_ascii=False,
    separators=(",", ":"),
    check_circular=False,
    default=decimal_text,
).encode
_decode = json.JSONDecoder(
    object_pairs_hook=_unique_pairs,
    parse_float=_no_float,
    parse_int=_integer,
    parse_constant=_no_constant,
).decode
