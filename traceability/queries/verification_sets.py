"""What no single chain can show: manifests, joint events, submissions, heads, lone rows.

The chains have been hashed by then. What is compared here by the database's own means (heads,
counts) finds accidents; whoever owns the database could make it lie, which is why records and
manifests are hashed outside of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from traceability.core import canonical, chain, manifest, submission
from traceability.core.errors import Malformed, ProofInvalid
from traceability.core.events import EventKind
from traceability.queries.composition import COMMITTING
from traceability.queries.damage import Checked, Damage, Found, Scope

MANIFESTS_AT_ONCE = 500
ROWS_AT_ONCE = 5_000


def lone_rows(scope: Scope) -> Iterator[Found]:
    """Yield batteries without a chain; chains without a battery are met on the way."""
    for code, _ in _rows(
        "SELECT b.code, 0 FROM battery b WHERE (%(all)s OR b.battery_id = %(one)s)"
        " AND NOT EXISTS (SELECT 1 FROM event e WHERE e.battery_id = b.battery_id)",
        scope,
    ):
        yield Found(Damage.CHAIN_MISSING, code)


def heads(scope: Scope) -> Iterator[Found]:
    """Yield chains whose lock row is not their last record, or is missing."""
    for battery_id, code, seq in _rows(
        "SELECT h.battery_id, b.code, least(h.seq, l.seq) FROM head h"
        " LEFT JOIN battery b USING (battery_id) LEFT JOIN LATERAL (SELECT e.seq, e.leaf,"
        " e.recorded_at FROM event e WHERE e.battery_id = h.battery_id ORDER BY e.seq DESC LIMIT 1)"
        " l ON true WHERE (%(all)s OR h.battery_id = %(one)s)"
        " AND (h.seq, h.leaf, h.recorded_at) IS DISTINCT FROM (l.seq, l.leaf, l.recorded_at)"
        " UNION ALL SELECT e.battery_id, b.code, e.seq FROM event e"
        " LEFT JOIN battery b USING (battery_id) WHERE (%(all)s OR e.battery_id = %(one)s)"
        # Only the second record makes a head.
        " AND e.seq = 1 AND NOT EXISTS (SELECT 1 FROM head h WHERE h.battery_id = e.battery_id)",
        scope,
    ):
        yield Found(Damage.HEAD, code or str(battery_id), seq)


def manifests(scope: Scope, checked: Checked) -> Iterator[Found]:
    """Yield manifests that are not what some record commits to, and those that are gone."""
    last: tuple[UUID, int] | None = None
    while batch := _manifests_after(last, scope):
        last = batch[-1][0], batch[-1][2]
        committed = _committed(list({row[0] for row in batch}))
        for battery_id, code, version, root, components, modules, cells, packed in batch:
            checked.manifests += 1
            stated = committed.get((battery_id, bytes(root).hex()))
            is_erased = (battery_id, "") in committed
            damage = _manifest_damage(
                code, bytes(root), (components, modules, cells), bytes(packed), stated,
                is_erased=is_erased,
            )  # fmt: skip
            if damage is not None:
                seq = stated[0] if stated else None
                yield Found(damage, code or str(battery_id), seq, detail=f"version {version}")
    yield from _missing_manifests(scope)
    yield from _paths(scope)


def joint_events(scope: Scope, checked: Checked) -> Iterator[Found]:
    """Yield joint events of which a row is missing, added, or not the one that was agreed on."""
    rows = _rows(
        "SELECT e.event_id, e.battery_id, b.code, e.seq, e.participants_n, e.participants_hash,"
        " e.body, e.salt, e.pcommit FROM event e LEFT JOIN battery b USING (battery_id)"
        " WHERE e.event_id IS NOT NULL AND (%(all)s OR e.event_id IN"
        " (SELECT event_id FROM event WHERE battery_id = %(one)s AND event_id IS NOT NULL))"
        " ORDER BY e.event_id, e.battery_id",
        scope,
    )
    for _, group in groupby(rows, key=itemgetter(0)):
        checked.joint_events += 1
        yield from _joint_damage(list(group))


def units(scope: Scope, checked: Checked) -> Iterator[Found]:
    """Yield submissions whose events are not as many as they say, or not in order."""
    rows = _rows(
        "WITH counted AS (SELECT unit, count(*) AS n, min(ordinal) AS first, max(ordinal) AS last,"
        " count(DISTINCT ordinal) AS places FROM event WHERE %(all)s OR unit IN"
        " (SELECT unit FROM event WHERE battery_id = %(one)s) GROUP BY unit)"
        " SELECT coalesce(c.unit, s.unit, q.unit), c.n, c.first, c.last, c.places, s.n, q.n"
        " FROM counted c FULL JOIN (SELECT unit, n FROM submission WHERE unit IS NOT NULL) s"
        " USING (unit) FULL JOIN unit_queue q USING (unit)"
        " WHERE %(all)s OR c.unit IS NOT NULL",
        scope,
    )
    for unit, n, first, last, places, said, queued in rows:
        checked.units += 1
        if said is None and queued is None:
            yield Found(Damage.UNIT_UNKNOWN, unit=unit, detail=f"{n} events")
        for count in {said, queued} - {None, n}:
            yield Found(Damage.UNIT_COUNT, unit=unit, detail=f"{count} said, {n or 0} found")
        if n is not None and (first, last, places) != (0, n - 1, n):
            yield Found(Damage.UNIT_ORDINALS, unit=unit, detail=f"{first} to {last}, {places}")


def unit_roots(scope: Scope) -> Iterator[Found]:
    """Yield submissions whose events do not lead to the root that the sender was answered for."""
    rows = _rows(
        "SELECT s.unit, s.root, b.code, e.kind, e.schema, e.occurred_at, e.event_id,"
        " e.participants_n, e.participants_hash, e.body, e.salt, e.pcommit"
        " FROM submission s JOIN event e USING (unit) JOIN battery b USING (battery_id)"
        " WHERE s.root IS NOT NULL AND (%(all)s OR s.unit IN"
        " (SELECT unit FROM event WHERE battery_id = %(one)s)) ORDER BY s.unit, e.ordinal",
        scope,
    )
    for (unit, root), group in groupby(rows, key=itemgetter(0, 1)):
        try:
            digests = [_digest(row) for row in group]
        except Malformed:
            # No commitment can be made again: the chain's own check names the record.
            continue
        if submission.unit_root(digests) != bytes(root):
            yield Found(Damage.UNIT_ROOT, unit=unit)


def _rows(query: str, scope: Scope) -> Iterator[tuple[Any, ...]]:
    values = {"all": scope.battery_id is None, "one": scope.battery_id}
    with connection.chunked_cursor() as cursor:
        cursor.execute(query, values)
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            yield from rows


def _inner(body: str | None, salt: bytes | None, kept: bytes | None) -> bytes:
    if body is not None and salt is not None:
        return canonical.commitment(bytes(salt), body.encode())
    return bytes(kept or b"")


def _digest(row: Sequence[Any]) -> bytes:
    (
        _, _, code, kind, schema, occurred_at, event_id, participants_n, participants_hash,
        body, salt, kept,
    ) = row  # fmt: skip
    pcommit = _inner(body, salt, kept)
    if event_id is not None:
        pcommit = canonical.joint_commitment(
            event_id, participants_n, bytes(participants_hash), pcommit
        )
    return submission.digest(code, kind, schema, chain.microseconds(occurred_at), pcommit)


def _joint_damage(rows: Sequence[Sequence[Any]]) -> Iterator[Found]:
    participants = [(row[1].bytes, _inner(*row[6:])) for row in rows]
    try:
        made = canonical.participants_hash(participants)
    except Malformed:
        made = b""
    for _, battery_id, code, seq, count, said, *_ in rows:
        where = code or str(battery_id)
        if count != len(rows):
            detail = f"{count} said, {len(rows)} found"
            yield Found(Damage.PARTICIPANTS_COUNT, where, seq, detail=detail)
        elif bytes(said) != made:
            yield Found(Damage.PARTICIPANTS_HASH, where, seq)


def _manifests_after(last: tuple[UUID, int] | None, scope: Scope) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT m.battery_id, b.code, m.version, m.root, m.components, m.modules, m.cells,"
            " m.packed FROM manifest m LEFT JOIN battery b USING (battery_id)"
            " WHERE (%(all)s OR m.battery_id = %(one)s)"
            " AND (%(after)s::uuid IS NULL"
            " OR (m.battery_id, m.version) > (%(after)s::uuid, %(version)s))"
            " ORDER BY m.battery_id, m.version LIMIT %(most)s",
            {
                "all": scope.battery_id is None,
                "one": scope.battery_id,
                "after": last and last[0],
                "version": last and last[1],
                "most": MANIFESTS_AT_ONCE,
            },
        )
        return list(cursor.fetchall())


def _committed(ids: list[UUID]) -> dict[tuple[UUID, str], tuple[int, Mapping[str, Any]]]:
    """Return for (battery, root) the record that commits to it; root "" for erased payloads."""
    found: dict[tuple[UUID, str], tuple[int, Mapping[str, Any]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT battery_id, seq, body FROM event WHERE battery_id = ANY(%s) AND kind = ANY(%s)"
            " ORDER BY battery_id, seq",
            (ids, [kind.value for kind in COMMITTING]),
        )
        for battery_id, seq, body in cursor.fetchall():
            try:
                payload = {} if body is None else orjson.loads(body)
                root = str(payload.get("manifest_root") or "")
            except (orjson.JSONDecodeError, AttributeError):
                continue
            if body is None or root:
                found[battery_id, root] = seq, payload
    return found


def _manifest_damage(
    code: str | None,
    root: bytes,
    counts: tuple[int, int, int],
    packed: bytes,
    stated: tuple[int, Mapping[str, Any]] | None,
    *,
    is_erased: bool,
) -> Damage | None:
    try:
        components = manifest.unpack_manifest(packed)
        made = manifest.manifest_root(components)
    except Malformed:
        return Damage.MANIFEST_UNREADABLE
    if made != root:
        return Damage.MANIFEST_ROOT
    if components[0].code != code:
        return Damage.MANIFEST_UNIT
    levels = [component.level for component in components[1:]]
    found = len(components), levels.count("M"), levels.count("C")
    if counts != found:
        return Damage.MANIFEST_COUNT
    if stated is None:
        return None if is_erased else Damage.MANIFEST_UNCOMMITTED
    said = tuple(stated[1].get(name) for name in ("components", "modules", "cells"))
    return None if said == found else Damage.MANIFEST_COUNT


def _missing_manifests(scope: Scope) -> Iterator[Found]:
    # The texts stand so in canonical JSON and nowhere inside a string, where quotes are escaped.
    for battery_id, code, seq in _rows(
        "SELECT e.battery_id, b.code, e.seq FROM event e LEFT JOIN battery b USING (battery_id)"  # noqa: S608 - constant kinds
        " WHERE (%(all)s OR e.battery_id = %(one)s)"
        f" AND e.kind IN ({', '.join(str(kind.value) for kind in sorted(COMMITTING))})"
        ' AND e.body LIKE \'%%"manifest_root":"%%\' AND e.body NOT LIKE \'%%"manifest_root":""%%\''
        " AND NOT EXISTS (SELECT 1 FROM manifest m WHERE m.battery_id = e.battery_id AND"
        " encode(m.root, 'hex') = substring(e.body FROM '\"manifest_root\":\"([0-9a-f]+)\"'))",
        scope,
    ):
        yield Found(Damage.MANIFEST_MISSING, code or str(battery_id), seq)


def _paths(scope: Scope) -> Iterator[Found]:
    """Yield separated parts whose path does not lead into a manifest that is stored."""
    for battery_id, code, seq, body in _rows(
        "SELECT e.battery_id, b.code, e.seq, e.body FROM event e"  # noqa: S608 - a constant number
        " JOIN battery b USING (battery_id) WHERE (%(all)s OR e.battery_id = %(one)s)"
        f" AND e.kind = {EventKind.SEPARATED.value} AND e.body IS NOT NULL",
        scope,
    ):
        try:
            of, root = manifest.check_path_claim(orjson.loads(body)["manifest_path"], code=code)
        except (Malformed, ProofInvalid, orjson.JSONDecodeError, KeyError, TypeError):
            yield Found(Damage.MANIFEST_PATH, code or str(battery_id), seq)
            continue
        if not _is_stored(of, root):
            yield Found(Damage.MANIFEST_PATH, code, seq, detail=f"of {of}")


def _is_stored(of: str, root: bytes) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM manifest m JOIN battery b USING (battery_id)"
            " WHERE b.code = %s AND m.root = %s",
            (of, root),
        )
        return cursor.fetchone() is not None
