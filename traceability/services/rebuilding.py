"""Projections computed from the events alone, held against the stored ones, and put right.

Chains are streamed in order of battery and compared a few thousand at a time. Modules and cells
follow from manifests; what they come to is laid into temporary tables and compared as sets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, TypeAlias
from uuid import UUID

from django.db import connection, transaction

from traceability.core import manifest
from traceability.core.codes import Level, battery_id_of
from traceability.core.errors import TraceabilityError
from traceability.models.parties import Credential
from traceability.models.registry import MakerCode
from traceability.services import copying, projections
from traceability.services.projecting import BATTERY_COLUMNS, BatteryRow, Projection, Told, project

CHAINS_AT_ONCE = 2_000
ROWS_FROM_SERVER = 5_000

Chain: TypeAlias = tuple[UUID, str | None, list[Told]]


@dataclass(frozen=True, slots=True)
class Difference:
    """A stored row that is not what the events come to.

    `table` and `row` say which; `wrong` is `missing`, `extra`, `unreadable` or the names of the
    columns that differ. No value is given: some are persons' data.
    """

    table: str
    battery_id: UUID
    row: str
    wrong: str


def check(battery_ids: Collection[UUID] | None = None) -> Iterator[Difference]:
    """Yield every difference between stored projections and the events; change nothing.

    With None all batteries are compared, on one snapshot of the database.
    """
    with transaction.atomic():
        _take_snapshot()
        for batch in _batches(battery_ids):
            expected, unreadable = _expected(batch)
            yield from unreadable
            yield from _differing(expected)
            _lay_out(expected)
        if battery_ids is not None:
            partners = _partners_of(battery_ids) - set(battery_ids)
            _lay_out(_expected(list(_stream(partners)))[0])
        yield from _rows_without_chain(battery_ids)
        yield from _differing_components(battery_ids)
        _clear_away()


def rebuild(battery_ids: Collection[UUID] | None = None) -> Iterator[Difference]:
    """Yield the differences, each after its row has been put right.

    What is unreadable, or has no battery, stays as it is: there is nothing to put in its place.
    """
    found = list(check(battery_ids))
    wrong = sorted({d.battery_id for d in found if d.table in _OF_ONE_CHAIN})
    for ids in _chunks(wrong):
        with transaction.atomic():
            _put_right(ids)
    _delete_orphans([d for d in found if d.wrong == "extra"])
    holders = {d.battery_id for d in found if d.table in ("component", "cell_fingerprint")}
    with transaction.atomic():
        rewrite_components(sorted(holders))
    yield from found


def rewrite_components(battery_ids: Collection[UUID]) -> None:
    """Bring modules and cells of these packs and lots to what their manifests say."""
    ids = list(battery_ids)
    for batch in _batches({*ids, *_partners_of(ids)}):
        expected, _ = _expected(batch)
        _lay_out(expected)
    _lay_out({})
    with connection.cursor() as cursor:
        cursor.execute(_COMPONENTS_WRONG, {"all": False, "ids": ids})
        wrong = [component_id for component_id, *_ in cursor.fetchall()]
        cursor.execute("DELETE FROM component WHERE component_id = ANY(%s)", (wrong,))
        cursor.execute(
            f"INSERT INTO component ({_COMPONENT_COLUMNS}) SELECT {_COMPONENT_COLUMNS}"  # noqa: S608 - constant columns
            f" FROM ({_MERGED}) AS merged WHERE component_id = ANY(%s)",
            (wrong,),
        )
        cursor.execute(
            "DELETE FROM cell_fingerprint f WHERE f.battery_id = ANY(%s) AND NOT EXISTS"
            " (SELECT 1 FROM rebuilt_cell r WHERE r.fingerprint = f.fingerprint"
            " AND r.battery_id = f.battery_id)",
            (ids,),
        )
        cursor.execute(
            "INSERT INTO cell_fingerprint (fingerprint, battery_id) SELECT DISTINCT fingerprint,"
            " battery_id FROM rebuilt_cell WHERE battery_id = ANY(%s) ON CONFLICT DO NOTHING",
            (ids,),
        )
    _clear_away()


_OF_ONE_CHAIN = frozenset({"battery", "installation", "finding", "battery_party"})
_COMPONENT_COLUMNS = "component_id, code, level, pack_id, lot_id, position, lot, line, produced_on"
# A module that left its factory in a lot keeps the lot's marks and has the pack's position.
_MERGED = """
SELECT component_id, coalesce(l.code, p.code) AS code, coalesce(l.level, p.level) AS level,
       p.battery_id AS pack_id, l.battery_id AS lot_id,
       coalesce(p.position, l.position) AS position,
       CASE WHEN l.battery_id IS NULL THEN p.lot ELSE l.lot END AS lot,
       CASE WHEN l.battery_id IS NULL THEN p.line ELSE l.line END AS line,
       CASE WHEN l.battery_id IS NULL THEN p.produced_on ELSE l.produced_on END AS produced_on
FROM (SELECT * FROM rebuilt_module WHERE NOT is_lot) p
FULL JOIN (SELECT * FROM rebuilt_module WHERE is_lot) l USING (component_id)
"""
# Of some batteries only their own modules: those of a lot that went elsewhere are not laid out.
_COMPONENTS_WRONG = f"""
SELECT component_id, coalesce(s.pack_id, s.lot_id, m.pack_id, m.lot_id),
       coalesce(s.code, m.code), s.component_id IS NULL, m.component_id IS NULL
FROM ({_MERGED}) m FULL JOIN (SELECT {_COMPONENT_COLUMNS} FROM component) s USING (component_id)
WHERE (m.code, m.level, m.pack_id, m.lot_id, m.position, m.lot, m.line, m.produced_on)
      IS DISTINCT FROM
      (s.code, s.level, s.pack_id, s.lot_id, s.position, s.lot, s.line, s.produced_on)
  AND (%(all)s OR component_id IN (
      SELECT component_id FROM component WHERE pack_id = ANY(%(ids)s) OR lot_id = ANY(%(ids)s)
      UNION SELECT component_id FROM rebuilt_module WHERE battery_id = ANY(%(ids)s)))
"""  # noqa: S608 - constant columns
_CELLS_WRONG = """
SELECT coalesce(r.battery_id, f.battery_id), coalesce(r.fingerprint, f.fingerprint),
       f.battery_id IS NULL
FROM (SELECT DISTINCT fingerprint, battery_id FROM rebuilt_cell) r
FULL JOIN cell_fingerprint f ON r.fingerprint = f.fingerprint AND r.battery_id = f.battery_id
WHERE (r.battery_id IS NULL OR f.battery_id IS NULL)
  AND (%(all)s OR coalesce(r.battery_id, f.battery_id) = ANY(%(ids)s))
"""


def _take_snapshot() -> None:
    # What is recorded meanwhile is neither in the events nor in the rows that are compared.
    if connection.in_atomic_block and len(connection.savepoint_ids) == 0:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _batches(battery_ids: Collection[UUID] | None) -> Iterator[list[Chain]]:
    """Yield chains with their codes in order of battery, some thousand at a time."""
    chains = _stream(battery_ids)
    while batch := list(islice(chains, CHAINS_AT_ONCE)):
        yield batch


def _stream(battery_ids: Collection[UUID] | None) -> Iterator[Chain]:
    condition, values = "", []
    if battery_ids is not None:
        condition, values = "WHERE e.battery_id = ANY(%s)", [list(battery_ids)]
    with connection.chunked_cursor() as cursor:
        cursor.execute(
            "SELECT e.battery_id, b.code, e.seq, e.kind, e.schema, e.occurred_at, e.recorded_at,"  # noqa: S608 - constant text
            f" e.actor, e.body FROM event e LEFT JOIN battery b USING (battery_id) {condition}"
            " ORDER BY e.battery_id, e.seq",
            values,
        )
        rows = iter(lambda: cursor.fetchmany(ROWS_FROM_SERVER), [])
        flat = (row for block in rows for row in block)
        for (battery_id, code), group in groupby(flat, key=itemgetter(0, 1)):
            yield battery_id, code, [Told(*row[2:]) for row in group]


def _expected(batch: Sequence[Chain]) -> tuple[dict[UUID, Projection], list[Difference]]:
    """Return what these chains come to, and those of which nothing can be said."""
    organisations = dict(Credential.objects.values_list("number", "organisation_id"))
    roots = projections.roots_of([battery_id for battery_id, *_ in batch])
    expected: dict[UUID, Projection] = {}
    unreadable: list[Difference] = []
    for battery_id, code, told in batch:
        if code is None:
            unreadable.append(Difference("battery", battery_id, str(battery_id), "missing"))
            continue
        try:
            expected[battery_id] = project(
                code, told, organisations=organisations, roots=roots.get(battery_id, [])
            )
        except (TraceabilityError, ValueError, KeyError):
            # A damaged record is `verify_ledger`'s to name; here it only cannot be projected.
            unreadable.append(Difference("event", battery_id, code, "unreadable"))
    return expected, unreadable


def _differing(expected: Mapping[UUID, Projection]) -> Iterator[Difference]:
    ids = list(expected)
    stored = dict(_stored_batteries(ids))
    for battery_id, projection in expected.items():
        pairs = zip(BATTERY_COLUMNS, projection.battery, stored[battery_id], strict=True)
        wrong = [name for name, ours, theirs in pairs if ours != theirs]
        if wrong:
            yield Difference("battery", battery_id, str(battery_id), ",".join(wrong))
    stays = _stored(ids, "installation", "seq, vin, installed_at, removed_at")
    findings = _stored(ids, "finding", "seq, kind, opened_at")
    parties = _stored(ids, "battery_party", "organisation_id")
    makers = _makers()
    for battery_id, p in expected.items():
        yield from _as_sets(
            "installation", battery_id, {(seq, *stay) for seq, stay in p.stays.items()},
            stays[battery_id],
        )  # fmt: skip
        yield from _as_sets(
            "finding", battery_id, {(*key, at) for key, at in p.findings.items()},
            findings[battery_id],
        )  # fmt: skip
        # Who holds the maker code reads along without having recorded anything.
        reading = {(maker,) for maker in makers[p.battery.maker]}
        yield from _as_sets(
            "battery_party", battery_id, {(one,) for one in p.organisations},
            parties[battery_id], may=reading,
        )  # fmt: skip


def _as_sets(
    table: str,
    battery_id: UUID,
    ours: set[tuple[Any, ...]],
    theirs: set[tuple[Any, ...]],
    *,
    may: Collection[tuple[Any, ...]] = (),
) -> Iterator[Difference]:
    kept = {row[0] for row in ours} & {row[0] for row in theirs}
    for row in ours - theirs:
        wrong = "values" if row[0] in kept else "missing"
        yield Difference(table, battery_id, str(row[0]), wrong)
    for row in theirs - ours - set(may):
        if row[0] not in kept:
            yield Difference(table, battery_id, str(row[0]), "extra")


def _stored_batteries(ids: list[UUID]) -> Iterator[tuple[UUID, BatteryRow]]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT battery_id, {', '.join(BATTERY_COLUMNS)} FROM battery"  # noqa: S608 - constant columns
            " WHERE battery_id = ANY(%s)",
            (ids,),
        )
        for battery_id, *row in cursor.fetchall():
            yield battery_id, BatteryRow._make(row)


def _stored(ids: list[UUID], table: str, columns: str) -> dict[UUID, set[tuple[Any, ...]]]:
    rows: dict[UUID, set[tuple[Any, ...]]] = defaultdict(set)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT battery_id, {columns} FROM {table} WHERE battery_id = ANY(%s)",  # noqa: S608 - constant names
            (ids,),
        )
        for battery_id, *row in cursor.fetchall():
            rows[battery_id].add(tuple(row))
    return rows


def _makers() -> dict[str, set[int]]:
    makers: dict[str, set[int]] = defaultdict(set)
    for code, organisation in MakerCode.objects.values_list("code", "organisation_id"):
        makers[code].add(organisation)
    return makers


def _lay_out(expected: Mapping[UUID, Projection]) -> None:
    """Lay the modules and cells of the structures in force into the temporary tables."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE IF NOT EXISTS rebuilt_module (component_id uuid, code text,"
            " level text, battery_id uuid, is_lot boolean, position integer, lot text, line text,"
            " produced_on date) ON COMMIT DROP"
        )
        cursor.execute(
            "CREATE TEMPORARY TABLE IF NOT EXISTS rebuilt_cell"
            " (fingerprint bigint, battery_id uuid, claim integer) ON COMMIT DROP"
        )
        in_force = list(_in_force(cursor, expected))
        copying.send(
            cursor,
            "COPY rebuilt_cell FROM STDIN (FORMAT binary)",
            copying.fingerprint_rows(
                (manifest.fingerprint_of(c.code), battery_id.bytes, 0)
                for battery_id, _, components in in_force
                for c in components[1:]
                if c.level == Level.CELL
            ),
        )
        with cursor.copy("COPY rebuilt_module FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["uuid", "text", "text", "uuid", "bool", "int4", "text", "text", "date"])
            for battery_id, is_lot, components in in_force:
                for c in components[1:]:
                    if c.level == Level.MODULE:
                        copy.write_row(
                            (
                                battery_id_of(c.code), c.code, c.level, battery_id, is_lot,
                                c.position, c.lot, c.line, c.produced_on,
                            )
                        )  # fmt: skip


def _in_force(
    cursor: Any, expected: Mapping[UUID, Projection]
) -> Iterator[tuple[UUID, bool, list[manifest.Component]]]:
    wanted = {id_: p.root for id_, p in expected.items() if p.root is not None}
    cursor.execute(
        "SELECT battery_id, root, packed FROM manifest WHERE battery_id = ANY(%s)"
        " ORDER BY battery_id, version",
        (list(wanted),),
    )
    packed_of = {
        battery_id: bytes(packed)
        for battery_id, root, packed in cursor.fetchall()
        if bytes(root) == wanted[battery_id]
    }
    for battery_id, packed in packed_of.items():
        components = manifest.unpack_manifest(packed)
        yield battery_id, components[0].level == "L", components


def _differing_components(battery_ids: Collection[UUID] | None) -> Iterator[Difference]:
    _lay_out({})
    values: dict[str, Any] = {"all": battery_ids is None, "ids": list(battery_ids or ())}
    with connection.cursor() as cursor:
        cursor.execute(_COMPONENTS_WRONG, values)
        for _, holder, code, is_missing, is_extra in cursor.fetchall():
            wrong = "missing" if is_missing else "extra" if is_extra else "values"
            yield Difference("component", holder, code, wrong)
        cursor.execute(_CELLS_WRONG, values)
        for holder, fingerprint, is_missing in cursor.fetchall():
            wrong = "missing" if is_missing else "extra"
            yield Difference("cell_fingerprint", holder, str(fingerprint), wrong)


def _clear_away() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS rebuilt_module, rebuilt_cell")


def _rows_without_chain(battery_ids: Collection[UUID] | None) -> Iterator[Difference]:
    """Yield rows of batteries that no event was ever recorded of."""
    for table in sorted(_OF_ONE_CHAIN):
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT DISTINCT t.battery_id FROM {table} t WHERE (%s OR battery_id = ANY(%s))"  # noqa: S608 - constant names
                " AND NOT EXISTS (SELECT 1 FROM event e WHERE e.battery_id = t.battery_id)",
                (battery_ids is None, list(battery_ids or ())),
            )
            for (battery_id,) in cursor.fetchall():
                yield Difference(table, battery_id, str(battery_id), "extra")


def _delete_orphans(extra: Sequence[Difference]) -> None:
    for table in _OF_ONE_CHAIN:
        orphans = [d.battery_id for d in extra if d.table == table and d.row == str(d.battery_id)]
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table} WHERE battery_id = ANY(%s)", (orphans,))  # noqa: S608 - constant names


def _put_right(ids: list[UUID]) -> None:
    """Write the projections of these chains anew, and remove parties that have none in them."""
    with connection.cursor() as cursor:
        # An append in flight has this lock, or waits for it and then writes on what stands here.
        cursor.execute(
            "SELECT 1 FROM battery WHERE battery_id = ANY(%s) ORDER BY battery_id FOR UPDATE",
            (ids,),
        )
        cursor.fetchall()
        expected, _ = _expected(list(_stream(ids)))
        projections.write(expected)
        makers = _makers()
        cursor.execute(
            "DELETE FROM battery_party p USING unnest(%s::uuid[]) AS t(id) WHERE"
            " p.battery_id = t.id AND NOT (p.battery_id, p.organisation_id) IN"
            " (SELECT * FROM unnest(%s::uuid[], %s::bigint[]))",
            (
                list(expected),
                *projections.columns_of(
                    [
                        (battery_id, organisation)
                        for battery_id, p in expected.items()
                        for organisation in p.organisations | makers[p.battery.maker]
                    ],
                    2,
                ),
            ),
        )


def _partners_of(battery_ids: Collection[UUID]) -> set[UUID]:
    """Return the packs and lots that share a module with these, as rows or manifests say."""
    ids = list(battery_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pack_id, lot_id FROM component WHERE pack_id = ANY(%s) OR lot_id = ANY(%s)",
            (ids, ids),
        )
        return {holder for row in cursor.fetchall() for holder in row if holder is not None}


def _chunks(ids: Sequence[UUID]) -> Iterable[list[UUID]]:
    for start in range(0, len(ids), CHAINS_AT_ONCE):
        yield list(ids[start : start + CHAINS_AT_ONCE])
