"""The whole family of a battery, in both directions and at any moment.

Up: the pack or lot it was built into, the lots its parts were drawn from, what it was regrouped
from. Down: modules, cells, vehicles, and what became of it. Each generation is read as a set, so
the number of queries grows with the generations and never with the units; no recursive query
walks from key to key. Cells are plain tuples from one unpacked manifest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from django.db import connection

from traceability.core import codes, manifest
from traceability.core.codes import Scheme
from traceability.core.errors import NotFound
from traceability.core.lifecycle import State
from traceability.models.registry import Installation
from traceability.queries import batteries, chains, composition, kinship, visibility
from traceability.queries.batteries import Facts
from traceability.queries.composition import Place, StoredManifest, Tree
from traceability.queries.kinship import Link, Relation, Unit
from traceability.queries.visibility import Sight
from traceability.services.acting import Actor


@dataclass(frozen=True, slots=True)
class Structure:
    """The manifest in force; `chained` are the components that have a chain of their own."""

    manifest: StoredManifest
    tree: Tree
    chained: Mapping[str, Unit]


@dataclass(frozen=True, slots=True)
class Vehicle:
    """An installation and the code of the battery that was installed."""

    code: str
    installation: Installation


@dataclass(frozen=True, slots=True)
class Family:
    """The family of one code. `unit` is None for a component without a chain of its own.

    `place` says where a module or cell stands in the pack or lot it came from. `versions` are all
    manifests of the battery, whichever of them is in force. `links` are the units that are no
    part of it, nearest first; `is_cut` says that there are more generations than were read.
    """

    code: str
    level: str
    unit: Unit | None
    place: Place | None
    structure: Structure | None
    versions: tuple[StoredManifest, ...]
    links: tuple[Link, ...]
    vehicles: tuple[Vehicle, ...]
    is_cut: bool
    as_of: datetime | None
    known_at: datetime | None


@dataclass(frozen=True, slots=True)
class Moment:
    """When the family is looked at, by both clocks; None for now."""

    as_of: datetime | None
    known_at: datetime | None

    @property
    def is_past(self) -> bool:
        """Return whether a moment was asked for at all."""
        return self.as_of is not None or self.known_at is not None


def family(
    code: str, *, actor: Actor, as_of: datetime | None = None, known_at: datetime | None = None
) -> Family:
    """Return the family of a battery, module or cell by its code.

    With `as_of` the family as it was then, with `known_at` as far as it was known then.

    Raises:
        NotFound: no such unit, or not for this actor.
    """
    moment = Moment(as_of, known_at)
    normal = codes.normalise(code)
    own_id = codes.battery_id_of(normal)
    holder_ids = composition.holders_of([normal]).get(normal, set())
    facts = batteries.facts_of({own_id, *holder_ids})
    manifests = composition.manifests_of({own_id, *holder_ids})
    held = {i: versions for i, versions in manifests.items() if i in holder_ids}
    places = composition.places_of([normal], manifests=held).get(normal, [])
    own = facts.get(own_id)
    _demand_sight(normal, own, places, actor=actor)
    structure_kept = _structure(own_id, manifests.get(own_id, []), moment)
    parts = structure_kept[1].codes if structure_kept else ()
    ids = {own_id, *map(codes.battery_id_of, parts), *(place.holder_id for place in places)}
    units = _units(ids, actor=actor, moment=moment)
    holders = [units[p.holder_id] for p in places if p.holder_id in units]
    drawn = _drawn(own, structure_kept[1] if structure_kept else None, actor=actor)
    joint, is_cut = kinship.links_of(
        [unit for unit in units.values() if unit.scheme != Scheme.LOT],
        actor=actor,
        as_of=as_of,
        known_at=known_at,
    )
    links = (*(_up(holder, normal) for holder in holders), *drawn, *joint)
    chained = {units[i].code: units[i] for i in map(codes.battery_id_of, parts) if i in units}
    return Family(
        code=normal,
        level=own.level if own else places[0].component.level,
        unit=units.get(own_id),
        place=next((p for p in places if p.holder_id in units), None),
        structure=Structure(*structure_kept, chained) if structure_kept else None,
        versions=tuple(manifests.get(own_id, ())),
        links=links,
        vehicles=_vehicles([*units.values(), *(link.unit for link in joint)], moment),
        is_cut=is_cut,
        as_of=as_of,
        known_at=known_at,
    )


def _demand_sight(code: str, own: Facts | None, places: Sequence[Place], *, actor: Actor) -> None:
    """Refuse who may see neither the unit nor anything that holds it."""
    candidates = [own.battery_id] if own else [place.holder_id for place in places]
    if all(visibility.sight_of(actor, i) is Sight.NOTHING for i in candidates):
        raise NotFound(what="battery", key=code)


def _structure(
    battery_id: UUID, manifests: Sequence[StoredManifest], moment: Moment
) -> tuple[StoredManifest, Tree] | None:
    records = chains.records_of_many(
        [battery_id], bodies_of=composition.STRUCTURAL, only=composition.STRUCTURAL
    )
    in_force = composition.version_in_force(
        manifests, records.get(battery_id, []), known_at=moment.known_at
    )
    tree = composition.tree_of(in_force) if in_force is not None else None
    return (in_force, tree) if in_force is not None and tree is not None else None


def _units(battery_ids: Collection[UUID], *, actor: Actor, moment: Moment) -> dict[UUID, Unit]:
    """Return those that have a chain, in the state of the moment; who was not yet is left out."""
    units = kinship.units_of(battery_ids, actor=actor)
    if not moment.is_past:
        return units
    states = _states(units, moment)
    return {i: replace(unit, state=states[i]) for i, unit in units.items() if i in states}


def _states(battery_ids: Iterable[UUID], moment: Moment) -> dict[UUID, State]:
    states: dict[UUID, State] = {}
    for battery_id, records in chains.records_of_many(battery_ids, bodies_of=chains.FOLDED).items():
        told = chains.tell(records, as_of=moment.as_of, known_at=moment.known_at)
        if told is not None and told.current is not None:
            states[battery_id] = told.current.state
    return states


def _up(holder: Unit, code: str) -> Link:
    relation = Relation.LOT if holder.scheme == Scheme.LOT else Relation.PACK
    return Link(unit=holder, relation=relation, of=code, generation=1)


def _drawn(own: Facts | None, tree: Tree | None, *, actor: Actor) -> list[Link]:
    """Return the lots that a pack draws on, or the packs that draw on a lot."""
    if own is None or tree is None:
        return []
    is_lot = own.scheme == Scheme.LOT
    relation = Relation.DRAWN_INTO if is_lot else Relation.DRAWN_FROM
    counts = _shared_components(own.battery_id, tree)
    units = kinship.units_of(counts, actor=actor).values()
    return [
        Link(unit=unit, relation=relation, of=own.code, generation=1, parts=counts[unit.battery_id])
        for unit in sorted(units, key=lambda unit: unit.code)
        if (unit.scheme == Scheme.LOT) is not is_lot
    ]


def _shared_components(battery_id: UUID, tree: Tree) -> dict[UUID, int]:
    """Return how many components of this unit each other pack or lot also holds.

    A pack and the lot that its cells left the factory in both hold a fingerprint of each cell. Of
    2^64 values two codes share one too rarely to open the other manifest for it, which may be
    that of a lot of a hundred thousand.
    """
    fingerprints = [manifest.fingerprint_of(cell.code) for cell in tree.all_cells]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT battery_id, sum(n)::int FROM ("
            " SELECT battery_id, count(*) AS n FROM cell_fingerprint"
            "  WHERE fingerprint = ANY(%s) GROUP BY battery_id"
            " UNION ALL SELECT lot_id, count(*) FROM component WHERE pack_id = %s GROUP BY lot_id"
            " UNION ALL SELECT pack_id, count(*) FROM component WHERE lot_id = %s GROUP BY pack_id"
            ") held WHERE battery_id IS NOT NULL AND battery_id <> %s GROUP BY battery_id",
            (fingerprints, battery_id, battery_id, battery_id),
        )
        return dict(cursor.fetchall())


def _vehicles(units: Iterable[Unit], moment: Moment) -> tuple[Vehicle, ...]:
    code_of = {unit.battery_id: unit.code for unit in units if unit.is_visible}
    found = Installation.objects.filter(battery_id__in=list(code_of))
    if moment.as_of is not None:
        found = found.filter(installed_at__lte=moment.as_of)
    ordered = found.order_by("installed_at", "battery_id", "seq")
    return tuple(Vehicle(code_of[row.battery_id], row) for row in ordered)
