"""What of a vehicle's number is shown: never the whole, wherever it stands.

`LSV********123456`: the first 3 and the last 6 characters stay, which is common practice; no
legal form of the mask was found (domain facts, 11). Who must have the whole has the evidence
file, if the payload is for them at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# GB 16735: 17 characters, no I, O, Q; standing alone, since battery codes are made of the same.
_VIN = re.compile(r"(?<![0-9A-Za-z:._-])[0-9A-HJ-NPR-Z]{17}(?![0-9A-Za-z:._-])")
_SHOWN_IN_FRONT = 3
_SHOWN_BEHIND = 6


def masked_vin(vin: str) -> str:
    """Return a vehicle's number with the middle hidden; a text of another length as it is."""
    if len(vin) != 17:
        return vin
    hidden = "*" * (len(vin) - _SHOWN_IN_FRONT - _SHOWN_BEHIND)
    return vin[:_SHOWN_IN_FRONT] + hidden + vin[-_SHOWN_BEHIND:]


def masked_payload(payload: Mapping[str, object]) -> dict[str, Any]:
    """Return a payload with every vehicle in it masked, and without the persons behind it."""
    shown = {name: _masked(value) for name, value in payload.items() if name != "by"}
    body = shown.get("body")
    if isinstance(body, dict):
        # A correction holds the payload that takes the place of the corrected one.
        shown["body"] = masked_payload(body)
    return shown


def names_a_vehicle(payload: Mapping[str, object] | None) -> bool:
    """Return whether a vehicle's number stands anywhere in a payload."""
    return payload is not None and _masked(payload) != payload


def _masked(value: object) -> object:
    if isinstance(value, str):
        return _VIN.sub(lambda found: masked_vin(found[0]), value)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _masked(item) for name, item in value.items()}
    return value
