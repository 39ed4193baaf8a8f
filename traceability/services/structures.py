"""What packs and lots are made of, after registration: new versions, annulments, separations.

A manifest is never edited: a new version stands beside the old one, and an event says which is in
force. Whoever takes components does so as registration does, under the locks of their design
parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from traceability.core import manifest
from traceability.core.codes import Level
from traceability.core.errors import Malformed, RuleViolation
from traceability.core.lifecycle import Confirmation
from traceability.core.payloads import Structure
from traceability.models.registry import CodeFiling
from traceability.services import claims
from traceability.services.projections import columns_of

LOT_LEVEL = "L"
DESIGN_PART_LEVELS = frozenset(Level)
# The maker stands behind such a record.
MAKERS_WORD = frozenset({Confirmation.BY_MAKER, Confirmation.CONFIRMED})


class ComponentInOtherPack(RuleViolation):
    """A module or cell is held by another pack or lot. Params: component, other, count."""

    code = "component_in_other_pack"


@dataclass(frozen=True, slots=True)
class Change:
    """What an event does to a battery's structure: a new version, or (None) nothing in force."""

    battery_id: UUID
    is_lot: bool
    version: int
    built: manifest.Built | None
    components: Sequence[manifest.Row]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a module or cell stands that has no chain yet: the proof, and whose word it is."""

    of: str
    version: int
    claim: dict[str, object]
    is_by_maker: bool


def read_components(said: object, *, code: str, level: str) -> list[manifest.Row]:
    """Return the components a sender lists, in order of position, the unit itself first.

    `said` is a list of [parent position, level, code, lot, line, day], the day `YYYYMMDD` or "".

    Raises:
        Malformed: field `components`, with the position.
    """
    if not isinstance(said, list):
        raise Malformed(field="components", reason="type")
    rows: list[manifest.Row] = []
    for position, item in enumerate(said):
        if not isinstance(item, list | tuple) or [type(part) for part in item] != [int] + [str] * 5:
            raise Malformed(field="components", reason="type", position=position)
        parent, item_level, item_code, lot, line, day = item
        produced_on = manifest.parse_date(day or manifest.NO_DATE)
        rows.append((position, parent, item_level, item_code, lot, line, produced_on))
    if not rows or rows[0][3] != code or rows[0][2] != (level or LOT_LEVEL):
        raise Malformed(field="components", reason="unit", position=0)
    manifest.check_structure(rows)
    return rows


def stated(rows: Sequence[manifest.Row], *, root: bytes, unfiled: Iterable[str]) -> dict[str, Any]:
    """Return what a payload states of a structure."""
    levels = Counter(row[2] for row in rows[1:])
    return {
        "structure": _structure_of(rows[0][2], levels).value,
        "manifest_root": root.hex(),
        "components": len(rows),
        "modules": levels[Level.MODULE],
        "cells": levels[Level.CELL],
        "unfiled": sorted(unfiled),
    }


def unfiled_of(rows: Iterable[manifest.Row]) -> set[str]:
    """Return the design parts among these components that nobody filed."""
    parts = {row[3][: claims.DESIGN_PART] for row in rows if row[2] in DESIGN_PART_LEVELS}
    filed = CodeFiling.objects.filter(design_part__in=parts).values_list("design_part", flat=True)
    return parts - set(filed)


def apply(changes: Sequence[Change]) -> None:
    """Bring manifests, components and fingerprints to what these changes say.

    A constant number of queries, whatever the number of changes.

    Raises:
        ComponentInOtherPack: a new version lists what somebody else holds.
    """
    if not changes:
        return
    if len({change.battery_id for change in changes}) != len(changes):
        raise Malformed(field="events", reason="structure_twice")
    news = [change for change in changes if change.built is not None]
    claims.lock(row[3] for change in news for row in change.components)
    ids = [change.battery_id for change in changes]
    shared = _sharing(ids)
    claims.release(ids)
    asked = [claims.Claim(c.battery_id, c.is_lot, c.components) for c in news]
    found = claims.stage(asked)
    if found:
        first = found[0]
        raise ComponentInOtherPack(
            component=first.code, other=_code_of(first.held_by), count=len(found)
        )
    claims.take(())
    _insert_manifests(news)
    _restore(shared)


def versions_of(battery_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return the highest version of manifest that each of these batteries has."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT battery_id, max(version) FROM manifest WHERE battery_id = ANY(%s)"
            " GROUP BY battery_id",
            (list(battery_ids),),
        )
        return dict(cursor.fetchall())


def origins_of(wanted: Collection[str]) -> dict[str, Origin]:
    """Return for each module or cell the pack or lot that holds it now, with the proof.

    A pack speaks before the lot it drew on. What nobody holds is left out.
    """
    if not wanted:
        return {}
    origins: dict[str, Origin] = {}
    ranked = sorted(_holders_of(wanted), key=lambda holder: holder[4] == "")
    for of, version, packed, confirmation, _ in ranked:
        components = manifest.unpack_manifest(packed)
        here = {c.code: c.position for c in components[1:] if c.code in wanted}
        root = manifest.manifest_root(components) if here else b""
        for code, position in here.items():
            if code not in origins:
                path = manifest.manifest_path(components, position)
                claim = manifest.path_claim(path, of=of, root=root)
                is_by_maker = Confirmation(confirmation) in MAKERS_WORD
                origins[code] = Origin(of, version, claim, is_by_maker)
    return origins


def _structure_of(level: str, levels: Counter[str]) -> Structure:
    if level == LOT_LEVEL:
        return Structure.LOT
    if not levels:
        return Structure.SINGLE
    if level == Level.MODULE:
        return Structure.MODULE_CELL
    return Structure.PACK_MODULE_CELL if levels[Level.MODULE] else Structure.PACK_CELL


def _sharing(battery_ids: list[UUID]) -> list[UUID]:
    """Return the packs and lots that have modules in common with these."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT lot_id FROM component WHERE pack_id = ANY(%s) AND lot_id IS NOT NULL"
            " UNION SELECT pack_id FROM component WHERE lot_id = ANY(%s) AND pack_id IS NOT NULL",
            (battery_ids, battery_ids),
        )
        return [holder for (holder,) in cursor.fetchall()]


def _restore(holders: list[UUID]) -> None:
    """Give modules that only these hold any more the place and the marks they have there."""
    if not holders:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT ON (battery_id) battery_id, packed FROM manifest"
            " WHERE battery_id = ANY(%s) ORDER BY battery_id, version DESC",
            (holders,),
        )
        rows = [
            (holder, c.code, c.position, c.lot, c.line, c.produced_on)
            for holder, packed in cursor.fetchall()
            for c in manifest.unpack_manifest(bytes(packed))[1:]
            if c.level == Level.MODULE
        ]
        cursor.execute(
            "UPDATE component c SET position = t.position, lot = t.lot, line = t.line,"
            " produced_on = t.produced_on FROM unnest(%s::uuid[], %s::text[], %s::int[],"
            " %s::text[], %s::text[], %s::date[])"
            " AS t(holder, code, position, lot, line, produced_on) WHERE c.code = t.code"
            " AND ((c.pack_id = t.holder AND c.lot_id IS NULL)"
            " OR (c.lot_id = t.holder AND c.pack_id IS NULL))",
            columns_of(rows, 6),
        )


def _holders_of(wanted: Collection[str]) -> list[tuple[str, int, bytes, str, str]]:
    """Return (code, version, packed, confirmation, level) of what may hold these components."""
    prints = [manifest.fingerprint_of(code) for code in wanted]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT ON (b.battery_id) b.code, m.version, m.packed, b.confirmation, b.level"
            " FROM battery b JOIN manifest m USING (battery_id) WHERE b.battery_id IN ("
            " SELECT battery_id FROM cell_fingerprint WHERE fingerprint = ANY(%s)"
            " UNION SELECT pack_id FROM component WHERE code = ANY(%s)"
            " UNION SELECT lot_id FROM component WHERE code = ANY(%s))"
            " ORDER BY b.battery_id, m.version DESC",
            (prints, list(wanted), list(wanted)),
        )
        return [(of, version, bytes(packed), *rest) for of, version, packed, *rest in cursor]


def _code_of(battery_id: UUID) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT code FROM battery WHERE battery_id = %s", (battery_id,))
        row = cursor.fetchone()
    return str(row[0]) if row else ""


def _insert_manifests(news: Sequence[Change]) -> None:
    rows = []
    for change in news:
        if change.built is None:
            raise AssertionError("a new version brings its manifest")
        levels = Counter(row[2] for row in change.components[1:])
        rows.append(
            (
                change.battery_id,
                change.version,
                change.built.root,
                change.built.size,
                levels[Level.MODULE],
                levels[Level.CELL],
                change.built.packed,
            )
        )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO manifest (battery_id, version, root, components, modules, cells, packed)"
            " SELECT * FROM unnest(%s::uuid[], %s::int[], %s::bytea[], %s::int[], %s::int[],"
            " %s::int[], %s::bytea[])",
            columns_of(rows, 7),
        )
