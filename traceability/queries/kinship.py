"""What joint events tie batteries to: successors, predecessors, replacements.

Table-driven: a new pair of kinds is one line in `RELATIONS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from traceability.core.events import EventKind
from traceability.core.lifecycle import State
from traceability.queries import visibility
from traceability.services.acting import Actor

# A family that is regrouped more often than this is cut off, and says so.
MOST_GENERATIONS = 6


class Relation(StrEnum):
    """What another unit is to the one whose family is told."""

    PACK = "pack"
    LOT = "lot"
    DRAWN_FROM = "drawn_from"
    DRAWN_INTO = "drawn_into"
    SEPARATED = "separated"
    SIBLING = "sibling"
    SUCCESSOR = "successor"
    PREDECESSOR = "predecessor"
    REPLACEMENT = "replacement"
    REPLACED = "replaced"


# What the other row of a joint event is to this battery: (its kind, the other's kind). Joint
# events that are not named here make no family: of a swap, the two packs remain strangers.
RELATIONS: Mapping[tuple[EventKind, EventKind], Relation] = MappingProxyType(
    {
        (EventKind.REGROUPED, EventKind.PRODUCT_REGISTERED): Relation.SUCCESSOR,
        (EventKind.PRODUCT_REGISTERED, EventKind.REGROUPED): Relation.PREDECESSOR,
        (EventKind.REPLACED_OUT, EventKind.REPLACED_IN): Relation.REPLACEMENT,
        (EventKind.REPLACED_IN, EventKind.REPLACED_OUT): Relation.REPLACED,
        (EventKind.COMPONENT_REPLACED, EventKind.SEPARATED): Relation.SEPARATED,
        (EventKind.DISMANTLED, EventKind.SEPARATED): Relation.SEPARATED,
        (EventKind.SEPARATED, EventKind.COMPONENT_REPLACED): Relation.PREDECESSOR,
        (EventKind.SEPARATED, EventKind.DISMANTLED): Relation.PREDECESSOR,
        (EventKind.SEPARATED, EventKind.SEPARATED): Relation.SIBLING,
    }
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A battery with a chain of its own, as its relatives show it.

    `is_visible`: whether this reader may open it. `state` is the one at the moment asked for,
    None where it was not read.
    """

    battery_id: UUID
    code: str
    level: str
    scheme: str
    state: State | None
    is_visible: bool


@dataclass(frozen=True, slots=True)
class Link:
    """Another unit, what it is to the one with the code `of`, and the event that says so.

    `generation` is 1 for what the battery itself has to do with; `parts` counts the components
    that a lot and a pack have in common.
    """

    unit: Unit
    relation: Relation
    of: str
    generation: int
    kind: EventKind | None = None
    occurred_at: datetime | None = None
    event_id: UUID | None = None
    parts: int = 0


def units_of(battery_ids: Iterable[UUID], *, actor: Actor) -> dict[UUID, Unit]:
    """Return which of these have a chain, in two queries."""
    ids = list(battery_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT battery_id, code, level, scheme, state FROM battery"
            " WHERE battery_id = ANY(%s) ORDER BY code",
            (ids,),
        )
        rows = cursor.fetchall()
    seen = visibility.visible_batteries(actor).filter(battery_id__in=[row[0] for row in rows])
    visible = set(seen.values_list("battery_id", flat=True))
    return {
        battery_id: Unit(battery_id, code, level, scheme, State(state), battery_id in visible)
        for battery_id, code, level, scheme, state in rows
    }


def links_of(
    members: Sequence[Unit], *, actor: Actor, as_of: datetime | None, known_at: datetime | None
) -> tuple[tuple[Link, ...], bool]:
    """Return what these units are tied to, generation by generation, and whether there is more.

    A tie counts from when its event happened (`as_of`) and was recorded (`known_at`).
    """
    links: list[Link] = []
    reached = {unit.battery_id: unit.code for unit in members}
    front = dict(reached)
    is_past = as_of is not None or known_at is not None
    for generation in range(1, MOST_GENERATIONS + 1):
        ties = [tie for tie in _ties(front) if tie.held(as_of, known_at)]
        new = [tie for tie in ties if tie.other not in reached]
        units = units_of({tie.other for tie in new}, actor=actor) if new else {}
        for tie in new:
            if (unit := units.get(tie.other)) is not None:
                if is_past:
                    # Where a relative stood at the time is a reading of its own.
                    unit = Unit(unit.battery_id, unit.code, unit.level, unit.scheme, None,
                                unit.is_visible)  # fmt: skip
                links.append(
                    Link(
                        unit=unit,
                        relation=RELATIONS[tie.own_kind, tie.kind],
                        of=front[tie.own],
                        generation=generation,
                        kind=tie.kind,
                        occurred_at=tie.occurred_at,
                        event_id=tie.event_id,
                    )
                )
        front = {unit.battery_id: unit.code for unit in units.values()}
        reached |= front
        if not front:
            return tuple(links), False
    return tuple(links), True


class _Tie(NamedTuple):
    """One other row of a joint event."""

    own: UUID
    own_kind: EventKind
    other: UUID
    kind: EventKind
    event_id: UUID
    occurred_at: datetime
    recorded_at: datetime

    def held(self, as_of: datetime | None, known_at: datetime | None) -> bool:
        """Return whether the tie existed, and was known, at the moment asked for."""
        return (as_of is None or self.occurred_at <= as_of) and (
            known_at is None or self.recorded_at <= known_at
        )


def _ties(battery_ids: Iterable[UUID]) -> list[_Tie]:
    """Return the other rows of every joint event of these batteries that makes family."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT mine.battery_id, mine.kind, other.battery_id, other.kind, other.event_id,"
            " other.occurred_at, other.recorded_at"
            " FROM event mine JOIN event other ON other.event_id = mine.event_id"
            " AND other.battery_id <> mine.battery_id"
            " WHERE mine.battery_id = ANY(%s) AND mine.event_id IS NOT NULL"
            " AND mine.kind = ANY(%s) ORDER BY other.occurred_at, other.battery_id",
            (list(battery_ids), sorted({own.value for own, _ in RELATIONS})),
        )
        rows = cursor.fetchall()
    return [
        _Tie(own, EventKind(own_kind), other, EventKind(kind), *rest)
        for own, own_kind, other, kind, *rest in rows
        if (own_kind, kind) in RELATIONS
    ]
