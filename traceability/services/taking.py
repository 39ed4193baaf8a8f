"""Reports become records: read, decide, append, project; a constant number of queries.

What a report comes to is decided here on what was read; the append then checks that no chain has
moved since. Most events follow what is known and need the battery's row alone; what comes late,
or speaks about the record, is decided on the whole chain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import connection
from django.utils import timezone

from traceability.core import history
from traceability.core.canonical import canonical
from traceability.core.codes import battery_id_of
from traceability.core.errors import AlreadyRegistered, Malformed, StaleHead, TraceabilityError
from traceability.core.events import EventKind, check_participants
from traceability.core.lifecycle import BatteryState, Confirmation, State
from traceability.core.manifest import parse_date
from traceability.core.registration import Period
from traceability.models.registry import MakerCode
from traceability.services import ledger, projections, structures
from traceability.services.acting import Actor
from traceability.services.preparing import Place, Prepared, Rights, prepare
from traceability.services.projecting import Projection, Told, about_code, project
from traceability.services.reports import ReportedEvent

# A sender's clock may be ahead of ours by this much; what lies further ahead has not happened.
CLOCK_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Report:
    """A report with who made it and the offset of the sender's clock, `+08:00`."""

    said: ReportedEvent
    by: str
    offset: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of some reports, by their place in the sequence.

    `waiting` are those whose battery is not known, with the partners of a joint event.
    """

    appended: Mapping[int, ledger.Appended]
    decisions: Mapping[int, history.Decision]
    waiting: frozenset[int]


@dataclass(slots=True)
class _Chain:
    """One battery's side of a call: where it stood, and the reports that go into its chain."""

    place: Place
    current: BatteryState | None
    is_mounted: bool = False
    reports: list[int] = field(default_factory=list)
    entries: list[history.Entry] = field(default_factory=list)

    @property
    def is_new(self) -> bool:
        """Return whether the battery has no row yet."""
        return self.place.origin is not None


def take(reports: Sequence[Report], *, actor: Actor, now: datetime) -> Taken:
    """Record the reports whose battery is known, as one submission, and say which wait.

    Raises:
        TraceabilityError: the first report that is refused, its place in params `index`.
        StaleHead: a chain moved while this was decided: read again, decide again.
    """
    taking = _Taking(reports, actor, now)
    taking.read()
    taking.decide()
    return taking.write()


def bounds(now: datetime, place: Place) -> history.Bounds:
    """Return what the times of an event are held against."""
    zone = timezone.get_default_timezone()
    return history.Bounds(now, CLOCK_TOLERANCE, place.produced_on, zone)


class _Taking:
    """One call of `take`. Its clock has been read once."""

    def __init__(self, reports: Sequence[Report], actor: Actor, now: datetime) -> None:
        self._reports = reports
        self._actor = actor
        self._now = now
        self._chains: dict[str, _Chain] = {}
        self._waiting: frozenset[int] = frozenset()
        self._prepared: dict[int, Prepared] = {}
        self._decisions: dict[int, history.Decision] = {}

    def read(self) -> None:
        """Read every battery concerned, and the chains of those that need it."""
        codes = {report.said.code for report in self._reports}
        self._chains = _known(codes)
        separated = {
            r.said.code for r in self._reports if r.said.kind is EventKind.SEPARATED
        } - self._chains.keys()
        for code, origin in structures.origins_of(separated).items():
            self._chains[code] = _Chain(_place_of_new(code, origin), None)
        self._waiting = _waiting(self._reports, self._chains)
        for index, report in enumerate(self._reports):
            if index not in self._waiting:
                self._chains[report.said.code].reports.append(index)
        deep = [chain for chain in self._chains.values() if chain.reports and self._is_deep(chain)]
        ids = [chain.place.battery_id for chain in deep]
        told, roots, versions = _whole_chains(ids)
        for chain in deep:
            place = chain.place
            place.told = told.get(place.battery_id, [])
            place.roots = roots.get(place.battery_id, [])
            place.version = versions.get(place.battery_id, 0)
            chain.entries = [event.entry() for event in place.told]

    def _is_deep(self, chain: _Chain) -> bool:
        """Return whether the battery's row is not enough to decide on its reports."""
        said = [self._reports[index].said for index in chain.reports]
        last = chain.current.last_occurred_at if chain.current else None
        if last is None:
            return True
        times = [last, *(report.occurred_at for report in said)]
        return times != sorted(times) or not projections.follow_plainly(
            (report.kind for report in said), is_mounted=chain.is_mounted
        )

    def decide(self) -> None:
        """Prepare and decide every report in the order given."""
        rights = self._rights()
        for index, report in enumerate(self._reports):
            if index in self._waiting:
                continue
            chain = self._chains[report.said.code]
            try:
                self._decide_one(index, report, chain, replace(rights, by=report.by))
            except TraceabilityError as refusal:
                refusal.params["index"] = index
                raise
        _check_joint(self._reports, self._waiting)

    def _decide_one(self, index: int, report: Report, chain: _Chain, rights: Rights) -> None:
        said, place = report.said, chain.place
        prepared = prepare(said, place, rights, offset=report.offset)
        seq = place.seq + 1
        entry = history.entry_of(
            seq=seq,
            kind=said.kind,
            schema=prepared.payload.SCHEMA,
            occurred_at=said.occurred_at,
            recorded_at=self._now,
            body=prepared.body,
        )
        limits = bounds(self._now, place)
        if place.told is None:
            decision = history.decide_next(chain.current, entry, bounds=limits)
        else:
            decision = history.decide(chain.entries, entry, bounds=limits)
            chain.entries.append(entry)
            place.told.append(self._as_told(seq, said, prepared))
        place.seq = seq
        if prepared.change is not None:
            place.version = prepared.change.version
        if said.kind is EventKind.SEPARATED:
            place.registrant = self._actor.organisation.pk
        chain.current = decision.current
        self._prepared[index] = prepared
        self._decisions[index] = decision

    def write(self) -> Taken:
        """Append what was decided and write what follows from it."""
        order = sorted(self._prepared)
        changes = [c for index in order if (c := self._prepared[index].change) is not None]
        structures.apply(changes)
        appended: dict[int, ledger.Appended] = {}
        if order:
            appended = dict(zip(order, self._append(order), strict=True))
            self._project(appended)
        return Taken(appended, self._decisions, self._waiting)

    def _append(self, order: Sequence[int]) -> Sequence[ledger.Appended]:
        events = _joined([(self._reports[i].said.joint, self._new_event(i)) for i in order])
        try:
            if len(events) == 1:
                return [ledger.append(events[0], credential=self._actor.credential)]
            return ledger.append_many(events, credential=self._actor.credential)
        except AlreadyRegistered as error:
            # Somebody else separated the same part meanwhile.
            raise StaleHead(**error.params) from error

    def _new_event(self, index: int) -> ledger.NewEvent:
        said, prepared = self._reports[index].said, self._prepared[index]
        chain = self._chains[said.code]
        before = chain.place.seq - len(chain.reports)
        return ledger.new_event(
            code=said.code,
            expected_seq=before if index == chain.reports[0] else None,
            kind=said.kind,
            schema=prepared.payload.SCHEMA,
            occurred_at=said.occurred_at,
            payload=prepared.body,
            site=said.site,
        )

    def _project(self, appended: Mapping[int, ledger.Appended]) -> None:
        on_time = projections.OnTime()
        whole: dict[UUID, Projection] = {}
        new: dict[UUID, str] = {}
        organisations = self._rights_organisations()
        for code, chain in self._chains.items():
            if not chain.reports:
                continue
            place = chain.place
            if place.told is None:
                for index in chain.reports:
                    told = _told(appended[index], self._actor)
                    on_time.add(place.battery_id, told, self._decisions[index])
                continue
            kept = place.told[: -len(chain.reports)]
            told_now = [_told(appended[index], self._actor) for index in chain.reports]
            whole[place.battery_id] = project(
                code, [*kept, *told_now], organisations=organisations, roots=place.roots
            )
            if chain.is_new:
                new[place.battery_id] = code
        projections.insert(new, {battery_id: whole[battery_id] for battery_id in new})
        projections.write(whole)
        on_time.write()
        projections.add_parties(
            (record.battery_id, self._actor.organisation.pk) for record in appended.values()
        )

    def _as_told(self, seq: int, said: ReportedEvent, prepared: Prepared) -> Told:
        return Told(
            seq,
            said.kind.value,
            prepared.payload.SCHEMA,
            said.occurred_at,
            self._now,
            self._actor.credential.number,
            canonical(prepared.body),
        )

    def _rights(self) -> Rights:
        held: dict[str, list[Period]] = defaultdict(list)
        for code, first, last in MakerCode.objects.filter(
            organisation=self._actor.organisation
        ).values_list("code", "valid_from", "valid_to"):
            held[code].append(Period(first, last))
        today = timezone.localdate(self._now)
        organisations = self._rights_organisations()
        return Rights(self._actor, "", held, organisations, self._now, today)

    def _rights_organisations(self) -> dict[int, int]:
        actors = {self._actor.credential.number}
        for chain in self._chains.values():
            actors.update(told.actor for told in chain.place.told or ())
        return projections.organisations_of(actors)


def _known(codes: Iterable[str]) -> dict[str, _Chain]:
    """Return the batteries that are registered, by code, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT b.battery_id, b.code, b.level, b.maker, b.produced_on, b.registrant_id,"
            " b.state, b.confirmation, b.last_occurred_at,"
            # A chain of one record has no head yet.
            " coalesce(h.seq, (SELECT max(e.seq) FROM event e WHERE e.battery_id = b.battery_id)),"
            " EXISTS (SELECT 1 FROM installation i"
            " WHERE i.battery_id = b.battery_id AND i.removed_at IS NULL)"
            " FROM battery b LEFT JOIN head h USING (battery_id) WHERE b.battery_id = ANY(%s)",
            ([battery_id_of(code) for code in codes],),
        )
        found = {}
        for row in cursor.fetchall():
            battery_id, code, level, maker, produced_on, registrant, *standing = row
            state, confirmation, last_occurred_at, seq, is_mounted = standing
            place = Place(battery_id, code, level, maker, produced_on, registrant, seq)
            current = BatteryState(
                State(state), Confirmation(confirmation), last_occurred_at=last_occurred_at
            )
            found[code] = _Chain(place, current, is_mounted)
        return found


def _place_of_new(code: str, origin: structures.Origin) -> Place:
    about: dict[str, Any] = about_code(code)
    produced_on = parse_date(str(origin.claim["date"])) or about["produced_on"]
    level = str(origin.claim["level"])
    return Place(
        battery_id_of(code), code, level, about["maker"], produced_on, None, -1, origin=origin
    )


def _whole_chains(
    ids: Sequence[UUID],
) -> tuple[dict[UUID, list[Told]], dict[UUID, list[bytes]], dict[UUID, int]]:
    if not ids:
        return {}, {}, {}
    return projections.chains_of(ids), projections.roots_of(ids), structures.versions_of(ids)


def _waiting(reports: Sequence[Report], chains: Mapping[str, _Chain]) -> frozenset[int]:
    """Return the reports that cannot be placed yet; one partner that waits keeps all."""
    unknown = {index for index, r in enumerate(reports) if r.said.code not in chains}
    joints = {reports[index].said.joint for index in unknown} - {""}
    partners = {index for index, r in enumerate(reports) if r.said.joint in joints}
    return frozenset(unknown | partners)


def _check_joint(reports: Sequence[Report], waiting: frozenset[int]) -> None:
    groups: dict[str, list[EventKind]] = defaultdict(list)
    for index, report in enumerate(reports):
        if index not in waiting:
            groups[report.said.joint or f"\0{index}"].append(report.said.kind)
    for kinds in groups.values():
        check_participants(kinds)
    if any(len(kinds) == 1 and not label.startswith("\0") for label, kinds in groups.items()):
        raise Malformed(field="joint", reason="alone")


def _joined(events: Sequence[tuple[str, ledger.NewEvent]]) -> list[ledger.NewEvent]:
    """Return the events in the same order, those with a common label tied together."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, (label, _) in enumerate(events):
        if label:
            groups[label].append(place)
    tied = [event for _, event in events]
    for places in groups.values():
        together = ledger.joined([tied[place] for place in places], event_id=uuid4())
        for place, event in zip(places, together, strict=True):
            tied[place] = event
    return tied


def _told(record: ledger.Appended, actor: Actor) -> Told:
    event = record.event
    return Told(
        record.seq, event.kind.value, event.schema, event.occurred_at, record.recorded_at,
        actor.credential.number, event.body, record.leaf,
    )  # fmt: skip
