"""The rows that answer questions about a battery, written from its events.

What a whole chain comes to is told by `projecting`. Events that are reported in time need less:
`OnTime` holds what such events change, and the test suite and `rebuild_projections --check` hold
both ways equal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from traceability.core import history, lifecycle
from traceability.core.events import KINDS, EventKind
from traceability.core.lifecycle import Flag
from traceability.models.parties import Credential
from traceability.models.registry import FindingKind
from traceability.services.projecting import (
    BATTERY_COLUMNS,
    MOUNTING,
    Projection,
    Told,
    leaves_vehicle,
)

_BATTERY_TYPES = (
    "text", "text", "text", "text", "date", "text", "text", "text", "bigint", "text", "text",
    "timestamptz", "timestamptz", "boolean", "boolean",
)  # fmt: skip

if any(KINDS[kind].schema is not None for kind in lifecycle.SETS_HOLD):
    raise AssertionError("a hold that can be set needs its column: `Known` would miss it")


def organisations_of(actors: Collection[int]) -> dict[int, int]:
    """Return for each actor's number the organisation that it belongs to."""
    rows = Credential.objects.filter(number__in=set(actors))
    return dict(rows.values_list("number", "organisation_id"))


def chains_of(battery_ids: Collection[UUID]) -> dict[UUID, list[Told]]:
    """Return the chains of these batteries, each in order of seq."""
    chains: dict[UUID, list[Told]] = {battery_id: [] for battery_id in battery_ids}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT battery_id, seq, kind, schema, occurred_at, recorded_at, actor, body, leaf"
            " FROM event WHERE battery_id = ANY(%s) ORDER BY battery_id, seq",
            (list(battery_ids),),
        )
        for battery_id, *row in cursor.fetchall():
            chains[battery_id].append(Told._make(row))
    return chains


def insert(codes: Mapping[UUID, str], projections: Mapping[UUID, Projection]) -> None:
    """Make the rows of batteries that were born by an event; their other rows are `write`'s."""
    if not projections:
        return
    names = ", ".join(BATTERY_COLUMNS)
    arrays = ", ".join(f"%s::{type_}[]" for type_ in _BATTERY_TYPES)
    rows = [(id_, codes[id_], *projection.battery) for id_, projection in projections.items()]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO battery (battery_id, code, {names})"  # noqa: S608 - constant columns
            f" SELECT * FROM unnest(%s::uuid[], %s::text[], {arrays})",
            columns_of(rows, 2 + len(BATTERY_COLUMNS)),
        )


def write(projections: Mapping[UUID, Projection]) -> None:
    """Bring the rows of these batteries to what their chains come to.

    Rows of `battery` exist already; `battery_party` is only added to, since a maker stands there
    without having recorded anything.
    """
    if not projections:
        return
    ids = list(projections)
    _update_batteries(projections)
    stays = [
        (battery_id, seq, *stay)
        for battery_id, projection in projections.items()
        for seq, stay in projection.stays.items()
    ]
    findings = [
        (battery_id, seq, kind, opened_at)
        for battery_id, projection in projections.items()
        for (seq, kind), opened_at in projection.findings.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM installation WHERE battery_id = ANY(%s)", (ids,))
        cursor.execute("DELETE FROM finding WHERE battery_id = ANY(%s)", (ids,))
    _insert_stays(stays)
    _insert_findings(findings)
    add_parties(
        (battery_id, organisation)
        for battery_id, projection in projections.items()
        for organisation in projection.organisations
    )


def add_parties(pairs: Iterable[tuple[UUID, int]]) -> None:
    """Note organisations that have to do with batteries."""
    wanted = sorted(set(pairs))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO battery_party (battery_id, organisation_id)"
            " SELECT * FROM unnest(%s::uuid[], %s::bigint[]) ON CONFLICT DO NOTHING",
            columns_of(wanted, 2),
        )


def roots_of(battery_ids: Collection[UUID]) -> dict[UUID, list[bytes]]:
    """Return the roots of the manifests stored for these batteries, in order of version."""
    roots: dict[UUID, list[bytes]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT battery_id, root FROM manifest WHERE battery_id = ANY(%s)"
            " ORDER BY battery_id, version",
            (list(battery_ids),),
        )
        for battery_id, root in cursor.fetchall():
            roots.setdefault(battery_id, []).append(bytes(root))
    return roots


def follow_plainly(kinds: Iterable[EventKind], *, is_mounted: bool) -> bool:
    """Return whether events that come in time change no more than `OnTime` can hold.

    What is said about the record may touch anything; a second vehicle needs the first one's
    installation, and one that begins and ends in one call is not stored yet when it ends.
    """
    has_mounted = False
    for kind in kinds:
        if kind in lifecycle.STATEMENTS or kind in lifecycle.BIRTHS:
            return False
        if kind in MOUNTING:
            if is_mounted:
                return False
            is_mounted = has_mounted = True
        elif leaves_vehicle(kind):
            if has_mounted:
                return False
            is_mounted = False
    return True


@dataclass(slots=True)
class OnTime:
    """What events that follow plainly change, gathered for several batteries."""

    states: dict[UUID, tuple[str, datetime]] = field(default_factory=dict)
    stays: list[tuple[UUID, int, str, datetime, None]] = field(default_factory=list)
    left: dict[UUID, datetime] = field(default_factory=dict)
    findings: list[tuple[UUID, int, str, datetime]] = field(default_factory=list)

    def add(
        self,
        battery_id: UUID,
        told: Told,
        decision: history.Decision,
    ) -> None:
        """Note one event; `told` has the seq and the times of the record that was appended."""
        current = decision.current
        kind = EventKind(told.kind)
        self.states[battery_id] = current.state.value, told.occurred_at
        if kind in MOUNTING:
            vin = (told.payload() or {}).get("vin")
            if vin:
                self.stays.append((battery_id, told.seq, vin, told.occurred_at, None))
        elif leaves_vehicle(kind):
            self.left[battery_id] = told.occurred_at
        if Flag.VIOLATION in decision.flags:
            self.findings.append(
                (battery_id, told.seq, FindingKind.VIOLATION.value, told.recorded_at)
            )

    def write(self) -> None:
        """Write what was noted, a constant number of statements."""
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE battery b SET state = t.state, last_occurred_at = t.at"
                " FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[]) AS t(id, state, at)"
                " WHERE b.battery_id = t.id",
                columns_of([(id_, *values) for id_, values in self.states.items()], 3),
            )
            cursor.execute(
                "UPDATE installation i SET removed_at = t.at"
                " FROM unnest(%s::uuid[], %s::timestamptz[]) AS t(id, at)"
                " WHERE i.battery_id = t.id AND i.removed_at IS NULL",
                columns_of(list(self.left.items()), 2),
            )
        _insert_stays(self.stays)
        _insert_findings(self.findings)


def columns_of(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return rows turned into columns, as `unnest` takes them."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


def _update_batteries(projections: Mapping[UUID, Projection]) -> None:
    names = ", ".join(f"{name} = t.{name}" for name in BATTERY_COLUMNS)
    arrays = ", ".join(f"%s::{type_}[]" for type_ in _BATTERY_TYPES)
    rows = [(battery_id, *projection.battery) for battery_id, projection in projections.items()]
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE battery b SET {names} FROM unnest(%s::uuid[], {arrays})"  # noqa: S608 - constant columns
            f" AS t(battery_id, {', '.join(BATTERY_COLUMNS)}) WHERE b.battery_id = t.battery_id",
            columns_of(rows, 1 + len(BATTERY_COLUMNS)),
        )


def _insert_stays(rows: Sequence[tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO installation (battery_id, seq, vin, installed_at, removed_at) SELECT *"
            " FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::timestamptz[], %s::timestamptz[])",
            columns_of(rows, 5),
        )


def _insert_findings(rows: Sequence[tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO finding (battery_id, seq, kind, opened_at) SELECT *"
            " FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::timestamptz[])",
            columns_of(rows, 4),
        )
