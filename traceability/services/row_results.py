"""What became of each row of a file, kept in compressed parts of some thousand rows.

A part is zlib over JSON lines: [sheet, row, code, result, code of refusal, params, position].
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import NamedTuple
from uuid import UUID

import orjson

from traceability.models.intake import JobRows

ROWS_PER_PART = 5_000


class Result(StrEnum):
    """What a row came to. A warning is a line beside the row's own."""

    ACCEPTED = "accepted"
    ALREADY_REGISTERED = "already_registered"
    REFUSED = "refused"
    BLOCKED = "blocked"
    WARNING = "warning"


# What the sender has to put right and send again.
FAILED = frozenset({Result.REFUSED, Result.BLOCKED})


class RowResult(NamedTuple):
    """One line of a job's answer. `position` is the 1-based digit of the code, 0 for none."""

    sheet: str
    row: int
    code: str
    result: str
    refusal: str
    params: dict[str, object]
    position: int


def write(job_id: UUID, rows: Iterable[RowResult]) -> None:
    """Store a job's row results in the order given, in place of those of an earlier attempt."""
    JobRows.objects.filter(job_id=job_id).delete()
    JobRows.objects.bulk_create(_parts(job_id, rows))


def read(part: JobRows) -> Iterator[RowResult]:
    """Yield the row results of one part."""
    for line in zlib.decompress(bytes(part.packed)).splitlines():
        yield RowResult(*orjson.loads(line))


def forget(job_id: UUID, code: str) -> None:
    """Leave of a battery's rows what became of them, and nothing of what they said."""
    for part in JobRows.objects.filter(job_id=job_id).order_by("part"):
        rows = list(read(part))
        kept = [row._replace(params={}) if row.code == code else row for row in rows]
        if kept != rows:
            part.packed = _packed(kept)
            JobRows.objects.filter(job_id=job_id, part=part.part).update(packed=part.packed)


def _packed(rows: Iterable[RowResult]) -> bytes:
    return zlib.compress(b"\n".join([orjson.dumps(tuple(row), default=str) for row in rows]), 1)


def _parts(job_id: UUID, rows: Iterable[RowResult]) -> Iterator[JobRows]:
    remaining = iter(rows)
    first_row = part = 0
    while taken := list(islice(remaining, ROWS_PER_PART)):
        yield JobRows(
            job_id=job_id,
            part=part,
            first_row=first_row,
            rows=len(taken),
            failed=sum(row.result in FAILED for row in taken),
            packed=_packed(taken),
        )
        part += 1
        first_row += len(taken)
