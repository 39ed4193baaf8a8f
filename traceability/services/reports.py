"""What a sender reports, and what we answer: the two ends of recording.

A sender states what it knows; fields that it leaves out are unknown, who reported and the offset
of its clock are filled in here. The payload that is stored names every field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from traceability.core import canonical, codes, payloads
from traceability.core.bundle import time_text
from traceability.core.errors import Malformed
from traceability.core.events import EventKind, check_open
from traceability.core.lifecycle import Flag

LONGEST_JOINT = 64


@dataclass(frozen=True, slots=True)
class ReportedEvent:
    """One event as its sender tells it. `occurred_at` keeps the sender's offset.

    `site` is 0 when it is not stated. Reports with the same `joint` are one event that concerns
    several batteries; "" for an event of one.
    """

    code: str
    kind: EventKind
    occurred_at: datetime
    site: int
    body: Mapping[str, object]
    joint: str = ""


class Result(StrEnum):
    """What became of a report."""

    RECORDED = "recorded"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one report, without anything out of its payload.

    A recorded one has its place and leaf (hexadecimal); a quarantined one the id under which it
    waits. `flags` are those at the time of recording.
    """

    code: str
    kind: EventKind
    result: Result
    seq: int | None = None
    recorded_at: datetime | None = None
    leaf: str = ""
    flags: frozenset[Flag] = frozenset()
    waits_as: str = ""

    def line(self) -> dict[str, Any]:
        """Return the outcome as it stands in a stored answer."""
        return {
            "code": self.code,
            "kind": self.kind.value,
            "result": self.result.value,
            "seq": self.seq,
            "recorded_at": self.recorded_at.isoformat() if self.recorded_at else None,
            "leaf": self.leaf,
            "flags": sorted(flag.value for flag in self.flags),
            "waits_as": self.waits_as,
        }

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Outcome:
        """Return the outcome that `line` wrote."""
        at = line["recorded_at"]
        return cls(
            code=line["code"],
            kind=EventKind(line["kind"]),
            result=Result(line["result"]),
            seq=line["seq"],
            recorded_at=datetime.fromisoformat(at) if at else None,
            leaf=line["leaf"],
            flags=frozenset(map(Flag, line["flags"])),
            waits_as=line["waits_as"],
        )


def normalised(report: ReportedEvent) -> ReportedEvent:
    """Return the report with its code in the one spelling that the ledger knows.

    Raises:
        Malformed: the time has no zone, the joint label is too long, the site is no number of one.
    """
    if report.occurred_at.tzinfo is None:
        raise Malformed(field="occurred_at", reason="no_zone", text=report.occurred_at.isoformat())
    if len(report.joint) > LONGEST_JOINT:
        raise Malformed(field="joint", reason="length", length=len(report.joint))
    if not 0 <= report.site < 2**31:
        raise Malformed(field="site", reason="range", value=report.site)
    return replace(report, code=codes.normalise(report.code))


def fingerprint(reports: Sequence[ReportedEvent]) -> bytes:
    """Return the hash under which a repeated key must come back, 32 bytes."""
    said = [
        [
            report.code,
            report.kind.value,
            time_text(report.occurred_at),
            report.site,
            report.joint,
            dict(report.body),
        ]
        for report in reports
    ]
    return sha256(canonical.canonical(said).encode()).digest()


def utc_offset(moment: datetime) -> str:
    """Return the offset of the sender's clock, `+08:00`."""
    return moment.isoformat()[-6:] if moment.utcoffset() else "+00:00"


def completed(
    kind: EventKind,
    said: Mapping[str, object],
    *,
    by: str,
    offset: str,
    known: Mapping[str, object],
) -> payloads.Payload:
    """Return the payload of a new event: what was said, what we know, the rest unknown.

    `known` fills in what the sender need not say; where it says it too, both must agree.

    Raises:
        Malformed: a field that is missing, unknown or no value of its form.
        KindNotOpen: the kind has no payload yet.
    """
    schema = check_open(kind)
    names = [each.name for each in fields(payloads.PAYLOADS[kind, schema])]
    ours = {"by": by, **known}
    if "by" in said:
        # Who reports is whose credential it came with.
        raise Malformed(field="by", reason="unknown")
    for name, value in ours.items():
        if name in said and said[name] != value:
            raise Malformed(field=name, reason="contradicts", text=str(said[name]))
    body = dict.fromkeys(names, "") | {"utc_offset": offset} | dict(said) | ours
    if "utc_offset" not in names and "utc_offset" not in said:
        del body["utc_offset"]
    try:
        return payloads.parse(kind, schema, body)
    except Malformed as error:
        field = error.params.get("field")
        if field in names and field not in said and field not in ours and field != "utc_offset":
            raise Malformed(field=field, reason="missing") from error
        raise
