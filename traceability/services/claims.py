"""The claim of a pack or lot on its modules and cells: each may be claimed once.

Cells have no row of their own, so uniqueness cannot be a constraint. It is made by order instead:
the design parts concerned are locked in sorted order, then fingerprints are looked up, then
inserted; whoever claims the same cell at the same moment waits for the same row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from traceability.core import manifest
from traceability.core.codes import Level, Scheme, battery_id_bytes
from traceability.services import copying

DESIGN_PART = 14


@dataclass(frozen=True, slots=True)
class Claim:
    """A unit's composition as it asks for it; `components` as `core.manifest` takes them."""

    battery_id: UUID
    is_lot: bool
    components: Sequence[manifest.Row]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A component that somebody else holds. `claim` is the index of the claim."""

    claim: int
    code: str
    held_by: UUID


def stage(claims: Sequence[Claim]) -> list[Conflict]:
    """Lock the design parts, note all claims and return those that cannot be met.

    A pack may draw on components of lots; everything else that is already held is a conflict.
    The claims stay noted for `take` until the transaction ends.
    """
    with connection.cursor() as cursor:
        _lock(cursor, _design_parts(claims))
        _note(cursor, claims)
        return _modules_held(cursor) + _cells_held(cursor, claims)


def take(refused: Iterable[int]) -> None:
    """Write the noted claims, except those with an index among `refused`."""
    with connection.cursor() as cursor:
        without = sorted(set(refused))
        cursor.execute(
            "INSERT INTO cell_fingerprint (fingerprint, battery_id)"
            " SELECT DISTINCT fingerprint, battery_id FROM claimed_cell"
            " WHERE NOT claim = ANY(%s) ORDER BY fingerprint",
            (without,),
        )
        cursor.execute(
            "INSERT INTO component (component_id, code, level, pack_id, lot_id, position, lot,"
            " line, produced_on)"
            " SELECT component_id, code, level, pack_id, lot_id, position, lot, line, produced_on"
            " FROM claimed_module WHERE NOT claim = ANY(%s) ORDER BY component_id"
            " ON CONFLICT (component_id) DO UPDATE"
            " SET pack_id = excluded.pack_id, position = excluded.position",
            (without,),
        )


def release(battery_ids: Sequence[UUID]) -> None:
    """Give back what packs or lots held: their components may be claimed again."""
    with connection.cursor() as cursor:
        ids = list(battery_ids)
        cursor.execute("DELETE FROM cell_fingerprint WHERE battery_id = ANY(%s)", (ids,))
        # A module of a lot goes back to its lot; one that came with the pack is nobody's.
        cursor.execute(
            "DELETE FROM component WHERE (pack_id = ANY(%s) AND lot_id IS NULL)"
            " OR (lot_id = ANY(%s) AND pack_id IS NULL)",
            (ids, ids),
        )
        cursor.execute("UPDATE component SET pack_id = NULL WHERE pack_id = ANY(%s)", (ids,))
        cursor.execute("UPDATE component SET lot_id = NULL WHERE lot_id = ANY(%s)", (ids,))


def _design_parts(claims: Sequence[Claim]) -> list[str]:
    # The unit's own part is locked too: two senders of one pack meet here, not at the key.
    return sorted({row[3][:DESIGN_PART] for claim in claims for row in claim.components})


def _lock(cursor: Any, design_parts: list[str]) -> None:
    cursor.execute(
        "INSERT INTO design_part (design_part) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
        (design_parts,),
    )
    cursor.execute(
        "SELECT 1 FROM design_part WHERE design_part = ANY(%s) ORDER BY design_part FOR UPDATE",
        (design_parts,),
    )


def _note(cursor: Any, claims: Sequence[Claim]) -> None:
    cursor.execute("DROP TABLE IF EXISTS claimed_cell, claimed_module")
    cursor.execute(
        "CREATE TEMPORARY TABLE claimed_cell"
        " (fingerprint bigint, battery_id uuid, claim integer) ON COMMIT DROP"
    )
    cursor.execute(
        "CREATE TEMPORARY TABLE claimed_module (component_id uuid, code text, level text,"
        " pack_id uuid, lot_id uuid, position integer, lot text, line text, produced_on date,"
        " claim integer) ON COMMIT DROP"
    )
    copying.send(
        cursor,
        "COPY claimed_cell FROM STDIN (FORMAT binary)",
        copying.fingerprint_rows(
            (manifest.fingerprint_of(row[3]), claim.battery_id.bytes, index)
            for index, claim in enumerate(claims)
            for row in claim.components[1:]
            if row[2] == Level.CELL
        ),
    )
    with cursor.copy("COPY claimed_module FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(
            ["uuid", "text", "text", "uuid", "uuid", "int4", "text", "text", "date", "int4"]
        )
        for index, claim in enumerate(claims):
            pack, lot = (None, claim.battery_id) if claim.is_lot else (claim.battery_id, None)
            for position, _, level, code, in_lot, line, produced_on in claim.components[1:]:
                if level == Level.MODULE:
                    copy.write_row(
                        (
                            UUID(bytes=battery_id_bytes(code)),
                            code,
                            level,
                            pack,
                            lot,
                            position,
                            in_lot,
                            line,
                            produced_on,
                            index,
                        )
                    )
    # The planner must know that a claim is large before it joins it to the whole register.
    cursor.execute("ANALYZE claimed_cell")


def _modules_held(cursor: Any) -> list[Conflict]:
    cursor.execute(
        "SELECT m.claim, m.code, coalesce(c.pack_id, c.lot_id)"
        " FROM claimed_module m JOIN component c USING (component_id)"
        " WHERE c.pack_id IS NOT NULL OR (m.lot_id IS NOT NULL AND c.lot_id IS NOT NULL)"
    )
    return [Conflict(*row) for row in cursor.fetchall()]


def _cells_held(cursor: Any, claims: Sequence[Claim]) -> list[Conflict]:
    """Return the cells that a pack holds (or, for a lot, that anybody holds).

    A fingerprint is only a hint: the code must stand in the manifest it points to.
    """
    cursor.execute(
        "SELECT n.claim, n.fingerprint, f.battery_id, b.scheme = %s"
        " FROM claimed_cell n JOIN cell_fingerprint f USING (fingerprint)"
        " JOIN battery b ON b.battery_id = f.battery_id",
        (Scheme.LOT.value,),
    )
    hits = [hit for hit in cursor.fetchall() if claims[hit[0]].is_lot or not hit[3]]
    if not hits:
        return []
    codes_held = _cells_of(cursor, {holder for _, _, holder, _ in hits})
    conflicts = []
    by_claim: dict[int, dict[int, str]] = {}
    for index, fingerprint, holder, _ in hits:
        if index not in by_claim:
            by_claim[index] = {
                manifest.fingerprint_of(row[3]): row[3]
                for row in claims[index].components
                if row[2] == Level.CELL
            }
        code = by_claim[index][fingerprint]
        if code in codes_held[holder]:
            conflicts.append(Conflict(index, code, holder))
    return conflicts


def _cells_of(cursor: Any, holders: set[UUID]) -> dict[UUID, set[str]]:
    cursor.execute(
        "SELECT DISTINCT ON (battery_id) battery_id, packed FROM manifest"
        " WHERE battery_id = ANY(%s) ORDER BY battery_id, version DESC",
        (list(holders),),
    )
    codes: dict[UUID, set[str]] = defaultdict(set)
    for battery_id, packed in cursor.fetchall():
        codes[battery_id] = {
            component.code for component in manifest.unpack_manifest(bytes(packed))
        }
    return codes
