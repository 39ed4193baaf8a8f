"""The story of one battery: what the code says, what was recorded, and whether the record holds.

Every reading makes the chain's hashes and the manifests' roots again; nothing is taken from a
stored verdict. The number of queries does not depend on how much there is to tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from traceability.core import codes, history
from traceability.core.errors import NotFound
from traceability.core.events import KINDS, EventKind
from traceability.core.lifecycle import BatteryState, Confirmation, Flag, State
from traceability.models.registry import CodeFiling, Finding, Installation
from traceability.queries import chains, composition, visibility
from traceability.queries.chains import ChainCheck, StoredHead, StoredRecord
from traceability.queries.composition import ManifestCheck
from traceability.queries.visibility import Sight
from traceability.services.acting import Actor

_BATTERY = """
SELECT b.battery_id, b.code, b.scheme, b.level, b.maker, b.design_part, b.produced_on, b.model,
       b.lot, b.line, b.state, b.confirmation, b.last_occurred_at, b.recorded_at, b.is_filed,
       b.is_structure_known, o.id, o.uscc, o.name, o.name_en, h.seq, h.leaf
FROM battery b
JOIN traceability_organisation o ON o.id = b.registrant_id
LEFT JOIN head h USING (battery_id)
WHERE b.battery_id = ANY(%s)
"""


class Party(NamedTuple):
    """An organisation as others see it."""

    id: int
    uscc: str
    name: str
    name_en: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the registry knows of a battery without reading its chain."""

    battery_id: UUID
    code: str
    scheme: str
    level: str
    maker: str
    design_part: str
    produced_on: date | None
    model: str
    lot: str
    line: str
    state: State
    confirmation: Confirmation
    last_occurred_at: datetime
    recorded_at: datetime
    is_filed: bool
    is_structure_known: bool
    registrant: Party
    head: StoredHead | None


@dataclass(frozen=True, slots=True)
class Told:
    """One event as it reads now, and as it was reported.

    `kind` is None for a number this release does not know. `payload` is None where it was erased
    or is not for this reader (`is_hidden`). `corrections` are the later records that name this
    one, oldest first.
    """

    seq: int
    kind: EventKind | None
    kind_number: int
    occurred_at: datetime
    occurred_as_reported: datetime
    recorded_at: datetime
    who: Party | None
    site: int
    state: State | None
    flags: frozenset[Flag]
    payload: Mapping[str, object] | None
    is_erased: bool
    is_hidden: bool
    event_id: UUID | None
    participants: int | None
    leaf: bytes
    corrections: tuple[Told, ...] = ()

    @property
    def is_moved(self) -> bool:
        """Return whether a correction gave the event another time."""
        return self.occurred_at != self.occurred_as_reported


@dataclass(frozen=True, slots=True)
class Story:
    """Everything about one battery that one reader may see. `events` are in order of seq.

    `current` is the fold of the events, None before the beginning, or where they cannot be folded
    (`is_folded`). Corrections stand under what they correct, not among `events`.
    """

    facts: Facts
    sight: Sight
    current: BatteryState | None
    is_folded: bool
    chain: ChainCheck
    manifests: tuple[ManifestCheck, ...]
    events: tuple[Told, ...]
    filing: CodeFiling | None
    installations: tuple[Installation, ...]
    findings: tuple[Finding, ...]
    as_of: datetime | None
    known_at: datetime | None

    @property
    def is_whole(self) -> bool:
        """Return whether chain and manifests stand. An erased payload is no damage."""
        return self.chain.is_whole and all(
            check.is_whole or check.damage == "erased" for check in self.manifests
        )

    @property
    def records(self) -> int:
        """Return how many records the chain has, corrections included."""
        return self.chain.records


def facts_of(battery_ids: Iterable[UUID]) -> dict[UUID, Facts]:
    """Return what the registry knows of these batteries, in one query."""
    ids = list(battery_ids)
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_BATTERY, (ids,))
        return {row[0]: _facts(row) for row in cursor.fetchall()}


def story(
    code: str, *, actor: Actor, as_of: datetime | None = None, known_at: datetime | None = None
) -> Story:
    """Return the story of a battery by its code, as far as the actor may see it.

    With `as_of` only what had happened by then, with `known_at` only what had been recorded by
    then; the chain is checked whole in any case.

    Raises:
        NotFound: no such battery, or not for this actor.
    """
    normal = codes.normalise(code)
    facts = facts_of([codes.battery_id_of(normal)]).get(codes.battery_id_of(normal))
    sight = visibility.sight_of(actor, facts.battery_id) if facts else Sight.NOTHING
    if facts is None or sight is Sight.NOTHING:
        raise NotFound(what="battery", key=normal)
    records = chains.records_of(facts.battery_id)
    manifests = composition.manifests_of([facts.battery_id]).get(facts.battery_id, [])
    told = chains.tell(records, as_of=as_of, known_at=known_at)
    steps = {step.entry.seq: step for step in told.steps} if told else {}
    shown = [record for record in records if told is None or record.seq in steps]
    return Story(
        facts=facts,
        sight=sight,
        current=told.current if told else None,
        is_folded=told is not None,
        chain=chains.check(facts.code, records, facts.head),
        manifests=tuple(composition.check_manifest(m, records) for m in manifests),
        events=tell_events(
            shown, steps, parties=parties_of(records), hides=sight is not Sight.WHOLE
        ),
        filing=_filing(facts.design_part),
        installations=tuple(
            Installation.objects.filter(battery_id=facts.battery_id).order_by("seq")
        ),
        findings=tuple(Finding.objects.filter(battery_id=facts.battery_id).order_by("seq", "kind")),
        as_of=as_of,
        known_at=known_at,
    )


def latest(*, actor: Actor, limit: int) -> list[Facts]:
    """Return what was recorded last of what the actor may see, newest first."""
    seen = visibility.visible_batteries(actor).order_by("-recorded_at", "code")
    ids = list(seen.values_list("battery_id", flat=True)[:limit])
    facts = facts_of(ids)
    return [facts[battery_id] for battery_id in ids]


def raw_record(
    code: str, seq: int, *, actor: Actor
) -> tuple[chains.RawRecord, dict[str, object] | None]:
    """Return a record down to its bytes, and its payload.

    Raises:
        NotFound: no such record, or its payload is not for this actor.
    """
    normal = codes.normalise(code)
    battery_id = codes.battery_id_of(normal)
    records = []
    if visibility.sight_of(actor, battery_id) is Sight.WHOLE:
        records = chains.records_at(battery_id, [seq - 1, seq])
    raw = chains.raw_of(normal, records, seq)
    if raw is None:
        raise NotFound(what="record", key=f"{normal}/{seq}")
    return raw, records[-1].payload()


def tell_events(
    records: Sequence[StoredRecord],
    steps: Mapping[int, history.Step],
    *,
    parties: Mapping[int, Party],
    hides: bool,
    nests: bool = True,
) -> tuple[Told, ...]:
    """Return the events as they read now, with `nests` the corrections under what they correct.

    A record without a step is shown as it was reported: its chain could not be folded.
    """
    told = {r.seq: _told(r, steps.get(r.seq), parties=parties, hides=hides) for r in records}
    if not nests:
        return tuple(told.values())
    corrections: dict[int, list[Told]] = {}
    for seq, event in told.items():
        fix = steps[seq].entry.correction if seq in steps else None
        if fix is not None and fix.seq in told:
            corrections.setdefault(fix.seq, []).append(event)
    nested = {event.seq for events in corrections.values() for event in events}
    return tuple(
        replace(event, corrections=tuple(corrections[seq])) if seq in corrections else event
        for seq, event in told.items()
        if seq not in nested
    )


@dataclass(frozen=True, slots=True)
class Component:
    """A module or cell that has no chain of its own: where it stands, and in what.

    `holders` are the packs and lots that the reader may see, with the place in each.
    """

    code: str
    level: str
    holders: tuple[tuple[Facts, composition.Place], ...] = field(default_factory=tuple)


def component(code: str, *, actor: Actor) -> Component:
    """Return what is known of a module or cell that never acted apart from its pack or lot.

    Raises:
        NotFound: nobody whom the actor may see holds such a component.
    """
    normal = codes.normalise(code)
    candidates = composition.holders_of([normal]).get(normal, set())
    places = composition.places_of([normal], manifests=composition.manifests_of(candidates))
    facts = facts_of(place.holder_id for place in places.get(normal, []))
    seen = tuple(
        (facts[place.holder_id], place)
        for place in places.get(normal, [])
        if place.holder_id in facts
        and visibility.sight_of(actor, place.holder_id) is not Sight.NOTHING
    )
    if not seen:
        raise NotFound(what="battery", key=normal)
    return Component(normal, seen[0][1].component.level, seen)


def _facts(row: Sequence[Any]) -> Facts:
    """Return the facts of one row of the statement above, whose columns they follow."""
    own, party, (head_seq, head_leaf) = row[:16], row[16:20], row[20:]
    names = (field.name for field in fields(Facts))
    values = dict(zip(names, own, strict=False)) | {
        "state": State(row[10]),
        "confirmation": Confirmation(row[11]),
        "registrant": Party(*party),
        "head": StoredHead(head_seq, head_leaf) if head_seq is not None else None,
    }
    return Facts(**values)


def _told(
    record: StoredRecord,
    step: history.Step | None,
    *,
    parties: Mapping[int, Party],
    hides: bool,
) -> Told:
    kind = EventKind(record.kind) if record.kind in _KIND_NUMBERS else None
    return Told(
        seq=record.seq,
        kind=kind,
        kind_number=record.kind,
        occurred_at=step.occurred_at if step else record.occurred_at,
        occurred_as_reported=record.occurred_at,
        recorded_at=record.recorded_at,
        who=parties.get(record.actor),
        site=record.site,
        state=step.state if step else None,
        flags=step.flags if step else frozenset(),
        payload=None if hides else record.payload(),
        is_erased=record.is_erased,
        is_hidden=hides and not record.is_erased,
        event_id=record.event_id,
        participants=record.participants_n,
        leaf=record.leaf,
    )


def parties_of(records: Iterable[StoredRecord]) -> dict[int, Party]:
    """Return the organisations behind the actor numbers of these records, in one query."""
    numbers = sorted({record.actor for record in records})
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.number, o.id, o.uscc, o.name, o.name_en FROM traceability_credential c"
            " JOIN traceability_organisation o ON o.id = c.organisation_id"
            " WHERE c.number = ANY(%s)",
            (numbers,),
        )
        return {number: Party(*party) for number, *party in cursor.fetchall()}


def _filing(design_part: str) -> CodeFiling | None:
    return (
        CodeFiling.objects.select_related("organisation")
        .filter(design_part=design_part)
        .order_by("-revision")
        .first()
    )


_KIND_NUMBERS = frozenset(kind.value for kind in KINDS)
