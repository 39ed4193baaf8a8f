"""What packs and lots are made of: their manifests, held against what the records commit to.

A manifest is unpacked once per reading, and its cells stay plain tuples: a row object for each
would cost more than everything else on a page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from traceability.core import manifest
from traceability.core.codes import Level, battery_id_of
from traceability.core.errors import Malformed
from traceability.core.events import EventKind
from traceability.queries.chains import StoredRecord

# The kinds whose payload commits to a manifest under `manifest_root`.
COMMITTING = frozenset(
    {
        EventKind.REGISTERED,
        EventKind.OPENED,
        EventKind.COMPLETED,
        EventKind.STRUCTURE_SUPERSEDED,
        EventKind.PRODUCT_REGISTERED,
    }
)
# Everything that says which manifest is in force.
STRUCTURAL = COMMITTING | {EventKind.STRUCTURE_ANNULLED, EventKind.ANNULLED}


class StoredManifest(NamedTuple):
    """A manifest as it is stored: `root` of 32 bytes, `packed` for `core.manifest`."""

    battery_id: UUID
    version: int
    root: bytes
    components: int
    modules: int
    cells: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class ManifestCheck:
    """What making a manifest's root again came to.

    `damage` is "" when it is the one that record `seq` commits to; else `unreadable`, `root` (its
    components lead to another root than the stored one), `uncommitted` (no record states this
    root), or `erased` (it may be committed to by a payload that was erased).
    """

    version: int
    root: bytes
    seq: int | None
    damage: str = ""

    @property
    def is_whole(self) -> bool:
        """Return whether the manifest is the one that the chain commits to."""
        return not self.damage


@dataclass(frozen=True, slots=True)
class TreeModule:
    """A module and the cells in it."""

    unit: manifest.Component
    cells: tuple[manifest.Component, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """A pack or lot: its modules with their cells, and the cells that sit in none."""

    unit: manifest.Component
    modules: tuple[TreeModule, ...]
    cells: tuple[manifest.Component, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """Return the codes of all modules and cells."""
        modules = (module.unit.code for module in self.modules)
        return (*modules, *(cell.code for cell in self.all_cells))

    @property
    def all_cells(self) -> Iterable[manifest.Component]:
        """Yield every cell, those of modules first."""
        for module in self.modules:
            yield from module.cells
        yield from self.cells


def manifests_of(battery_ids: Collection[UUID]) -> dict[UUID, list[StoredManifest]]:
    """Return the manifests of these batteries in order of version, in one query."""
    found: dict[UUID, list[StoredManifest]] = {}
    if not battery_ids:
        return found
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT battery_id, version, root, components, modules, cells, packed FROM manifest"
            " WHERE battery_id = ANY(%s) ORDER BY battery_id, version",
            (list(battery_ids),),
        )
        for row in cursor.fetchall():
            stored = StoredManifest._make(row)
            found.setdefault(stored.battery_id, []).append(stored)
    return found


def version_in_force(
    manifests: Sequence[StoredManifest],
    records: Iterable[StoredRecord],
    *,
    known_at: datetime | None = None,
) -> StoredManifest | None:
    """Return the manifest that holds now, or held as far as was known at a time.

    It is the one that the last record to commit to any commits to, unless that was annulled.
    `records` need the structural kinds only, in order of seq. Where every such payload was
    erased, the latest version holds.
    """
    by_root = {stored.root.hex(): stored for stored in manifests}
    in_force: StoredManifest | None = None
    is_told = False
    for record in records:
        if record.kind not in STRUCTURAL or (known_at and record.recorded_at > known_at):
            continue
        payload = record.payload()
        if record.kind == EventKind.ANNULLED:
            in_force, is_told = None, True
        elif payload is None:
            continue
        elif record.kind == EventKind.STRUCTURE_ANNULLED:
            if in_force is not None and in_force.root.hex() == payload.get("annulled_root"):
                in_force = None
        elif payload.get("manifest_root"):
            in_force, is_told = by_root.get(str(payload["manifest_root"])), True
    if not is_told and known_at is None and manifests:
        return manifests[-1]
    return in_force


def check_manifest(stored: StoredManifest, records: Iterable[StoredRecord]) -> ManifestCheck:
    """Return whether a manifest is what its battery's records commit to, made again now."""
    root = stored.root.hex()
    seq, may_be_erased = None, False
    for record in records:
        if record.kind in COMMITTING:
            payload = record.payload()
            may_be_erased |= record.is_erased
            if payload is not None and payload.get("manifest_root") == root:
                seq = record.seq
    try:
        made = manifest.manifest_root(manifest.unpack_manifest(stored.packed))
    except Malformed:
        return ManifestCheck(stored.version, stored.root, seq, "unreadable")
    if made != stored.root:
        return ManifestCheck(stored.version, stored.root, seq, "root")
    if seq is None:
        damage = "erased" if may_be_erased else "uncommitted"
        return ManifestCheck(stored.version, stored.root, None, damage)
    return ManifestCheck(stored.version, stored.root, seq)


def tree_of(stored: StoredManifest) -> Tree | None:
    """Return the components in the shape of the thing, None when they cannot be read."""
    try:
        components = manifest.unpack_manifest(stored.packed)
    except Malformed:
        return None
    inside: dict[int, list[manifest.Component]] = {
        component.position: [] for component in components if component.level == Level.MODULE
    }
    loose: list[manifest.Component] = []
    for component in components[1:]:
        if component.level == Level.CELL:
            inside.get(component.parent, loose).append(component)
    modules = tuple(
        TreeModule(component, tuple(inside[component.position]))
        for component in components
        if component.level == Level.MODULE
    )
    return Tree(components[0], modules, tuple(loose))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a module or cell stands: the pack or lot, and the module in it (None: directly)."""

    holder_id: UUID
    version: int
    component: manifest.Component
    module: manifest.Component | None


def places_of(
    codes: Collection[str], *, manifests: Mapping[UUID, Sequence[StoredManifest]]
) -> dict[str, list[Place]]:
    """Return where these components stand in these manifests, the latest versions only.

    This is the confirmation of what fingerprints only hint at.
    """
    wanted = frozenset(codes)
    found: dict[str, list[Place]] = {}
    for holder_id, versions in manifests.items():
        try:
            components = manifest.unpack_manifest(versions[-1].packed)
        except Malformed:
            continue
        for component in components[1:]:
            if component.code in wanted:
                parent = components[component.parent]
                module = parent if parent.level == Level.MODULE else None
                place = Place(holder_id, versions[-1].version, component, module)
                found.setdefault(component.code, []).append(place)
    return found


def holders_of(codes: Collection[str]) -> dict[str, set[UUID]]:
    """Return the packs and lots that may hold these modules and cells, in one query.

    A module's holder is certain; a cell's is a hint of eight bytes until `places_of` confirms it.
    """
    by_fingerprint = {manifest.fingerprint_of(code): code for code in codes}
    by_id = {battery_id_of(code): code for code in codes}
    found: dict[str, set[UUID]] = {}
    if not codes:
        return found
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT NULL::uuid, fingerprint, battery_id, NULL::uuid FROM cell_fingerprint"
            " WHERE fingerprint = ANY(%s) UNION ALL"
            " SELECT component_id, NULL, pack_id, lot_id FROM component"
            " WHERE component_id = ANY(%s)",
            (list(by_fingerprint), list(by_id)),
        )
        for component_id, fingerprint, first, second in cursor.fetchall():
            code = by_id[component_id] if component_id else by_fingerprint[fingerprint]
            found.setdefault(code, set()).update(holder for holder in (first, second) if holder)
    return found
