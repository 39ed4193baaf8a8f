"""From a report to the payload that will be stored, and whether this sender may say it.

The core's tables say which roles may record a kind. Here stands what depends on the battery: only
its maker confirms, only who registered it (or a regulator) annuls, only who recorded an event
corrects it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NoReturn
from uuid import UUID

from traceability.core import codes, manifest, payloads
from traceability.core.bundle import time_text
from traceability.core.errors import Malformed, NotPermitted, PrerequisiteMissing, RuleViolation
from traceability.core.events import EventKind, check_may_record, check_open
from traceability.core.history import Impossible
from traceability.core.registration import Period
from traceability.core.roles import Role
from traceability.services import structures
from traceability.services.acting import Actor
from traceability.services.projecting import STRUCTURING, Told, project
from traceability.services.reports import ReportedEvent, completed

_SAYS_STRUCTURE = frozenset(
    {"structure", "manifest_root", "components", "modules", "cells", "unfiled", "version",
     "replaced_root", "annulled_root", "manifest_version", "manifest_path", "is_by_maker"}
)  # fmt: skip
# Births come with registration; who erases a payload does that and not only says so.
_NOT_REPORTED = frozenset({EventKind.REGISTERED, EventKind.OPENED, EventKind.REDACTED})
# Taking one of these back would bring an earlier structure into force unseen.
_NOT_WITHDRAWN = STRUCTURING | {EventKind.STRUCTURE_ANNULLED, EventKind.SEPARATED}


class StructureNotCorrected(RuleViolation):
    """A correction would change what a battery is made of, which takes a version. Params: seq."""

    code = "structure_not_corrected"


@dataclass(slots=True)
class Place:
    """Where a report goes: the battery as it stands, and more of it where the kind needs that.

    `seq` is that of the chain's last record, -1 for a battery that is about to be separated.
    `told` is the whole chain, None where the present state is enough; `roots` are those of the
    stored manifests; `origin` only of a battery without a chain.
    """

    battery_id: UUID
    code: str
    level: str
    maker: str
    produced_on: date | None
    registrant: int | None
    seq: int
    told: list[Told] | None = None
    roots: Sequence[bytes] = ()
    version: int = 0
    origin: structures.Origin | None = None


@dataclass(frozen=True, slots=True)
class Rights:
    """Who is reporting: `by` is the person, `held` the maker codes of the organisation."""

    actor: Actor
    by: str
    held: Mapping[str, Sequence[Period]]
    organisations: Mapping[int, int]
    now: datetime
    today: date

    def is_maker_of(self, place: Place) -> bool:
        """Return whether the maker code is theirs: on the day of production, or now."""
        days = [self.today] if place.produced_on is None else [place.produced_on, self.today]
        return any(period.covers(day) for period in self.held.get(place.maker, ()) for day in days)

    def is_registrant_of(self, place: Place) -> bool:
        """Return whether their registration made the record."""
        return place.registrant == self.actor.organisation.pk


@dataclass(frozen=True, slots=True)
class Prepared:
    """A report ready to be decided on, and what it does to the battery's structure."""

    payload: payloads.Payload
    change: structures.Change | None = None
    body: dict[str, object] = field(default_factory=dict)


def prepare(report: ReportedEvent, place: Place, rights: Rights, *, offset: str) -> Prepared:
    """Return the payload of a report and the change of structure that it brings.

    Raises:
        NotPermitted, WrongLevel: this sender may not say it, or not of this battery.
        Malformed, KindNotOpen, PrerequisiteMissing, Impossible, StructureNotCorrected: it
            cannot be said in this way.
    """
    check_sender(report.kind, rights.actor, level=place.level)
    _check_standing(report.kind, place, rights)
    make = _MAKERS_OF.get(report.kind, _plain)
    payload, change = make(report, place, rights, offset)
    return Prepared(payload, change, payload.to_body())


def check_sender(kind: EventKind, actor: Actor, *, level: str) -> None:
    """Refuse a kind that does not come as a report, or not from this sender."""
    if kind in _NOT_REPORTED:
        raise Malformed(field="kind", reason="not_reported", text=kind.name.lower())
    check_open(kind)
    check_may_record(kind, roles=actor.roles, level=level)


def _check_standing(kind: EventKind, place: Place, rights: Rights) -> None:
    """Refuse what the roles would allow and this battery does not."""
    is_registrant, is_maker = rights.is_registrant_of(place), rights.is_maker_of(place)
    is_regulator = Role.REGULATOR in rights.actor.roles
    if kind in (EventKind.CONFIRMED, EventKind.COMPLETED, EventKind.DISPUTED):
        is_theirs = is_maker
    elif kind in (EventKind.FACTORY_TEST, EventKind.STRUCTURE_SUPERSEDED):
        is_theirs = is_registrant or is_maker
    elif kind in (EventKind.ANNULLED, EventKind.STRUCTURE_ANNULLED):
        is_theirs = is_registrant or is_regulator
    else:
        is_theirs = True
    if not is_theirs:
        raise NotPermitted(act=kind.name.lower(), battery=place.code)


_Made = tuple[payloads.Payload, structures.Change | None]
_Maker = Callable[[ReportedEvent, Place, Rights, str], _Made]


def _plain(report: ReportedEvent, _: Place, rights: Rights, offset: str) -> _Made:
    return completed(report.kind, report.body, by=rights.by, offset=offset, known={}), None


def _separated(report: ReportedEvent, place: Place, rights: Rights, offset: str) -> _Made:
    if place.origin is None:
        # A chain of its own already: the fold says that nothing is born twice.
        raise Impossible(reason="second_birth", kind="separated")
    known: dict[str, object] = {
        "manifest_version": place.origin.version,
        "manifest_path": place.origin.claim,
        "is_by_maker": place.origin.is_by_maker,
    }
    return completed(report.kind, report.body, by=rights.by, offset=offset, known=known), None


def _confirmed(report: ReportedEvent, place: Place, rights: Rights, offset: str) -> _Made:
    root = _root_in_force(place, rights)
    known = {"manifest_root": root.hex() if root else ""}
    return completed(report.kind, report.body, by=rights.by, offset=offset, known=known), None


def _completed(report: ReportedEvent, place: Place, rights: Rights, offset: str) -> _Made:
    said = dict(report.body)
    known: dict[str, object] = {
        "maker": place.maker, "structure": "", "manifest_root": "", "components": 0, "modules": 0,
        "cells": 0, "unfiled": [],
    }  # fmt: skip
    change = None
    if "components" in said:
        change = _new_version(said.pop("components"), place)
        known |= _stated(change)
    return completed(report.kind, said, by=rights.by, offset=offset, known=known), change


def _superseded(report: ReportedEvent, place: Place, rights: Rights, offset: str) -> _Made:
    said = dict(report.body)
    if "components" not in said:
        raise Malformed(field="components", reason="missing")
    change = _new_version(said.pop("components"), place)
    root = _root_in_force(place, rights)
    known = _stated(change) | {
        "version": change.version,
        "replaced_root": root.hex() if root else "",
    }
    return completed(report.kind, said, by=rights.by, offset=offset, known=known), change


def _structure_annulled(report: ReportedEvent, place: Place, rights: Rights, offset: str) -> _Made:
    root = _root_in_force(place, rights)
    if root is None:
        raise PrerequisiteMissing(what="structure")
    said = _with_legal_basis(report, place, rights)
    known: dict[str, object] = {"version": place.version, "annulled_root": root.hex()}
    payload = completed(report.kind, said, by=rights.by, offset=offset, known=known)
    return payload, _released(place)


def _annulled(report: ReportedEvent, place: Place, rights: Rights, offset: str) -> _Made:
    said = _with_legal_basis(report, place, rights)
    return completed(report.kind, said, by=rights.by, offset=offset, known={}), _released(place)


def _corrected(report: ReportedEvent, place: Place, rights: Rights, offset: str) -> _Made:
    """Return the payload of a correction: its target may be named by leaf or by seq."""
    said = dict(report.body)
    target = _target(said, place)
    if rights.organisations.get(target.actor) != rights.actor.organisation.pk:
        raise NotPermitted(act="corrected", battery=place.code, seq=target.seq)
    kind = EventKind(target.kind)
    if kind is EventKind.REDACTED:
        # What is erased stays erased, and so does the record of it.
        raise Impossible(reason="other_kind", kind="corrected", found=kind.name.lower())
    right = said.get("body") or {}
    if not isinstance(right, Mapping):
        raise Malformed(field="body", reason="type")
    if said.get("error") == payloads.ErrorReason.DID_NOT_OCCUR and kind in _NOT_WITHDRAWN:
        raise StructureNotCorrected(seq=target.seq)
    body: dict[str, object] = {}
    if right:
        before = target.payload()
        if before is None:
            # What it said is erased: nobody can tell what a new text would change.
            raise Impossible(reason="no_such_event", kind="corrected", seq=target.seq)
        kept = {name: before[name] for name in _SAYS_STRUCTURE & before.keys()}
        if any(name in right and right[name] != value for name, value in kept.items()):
            raise StructureNotCorrected(seq=target.seq)
        own = before.get("utc_offset", offset)
        new = {name: value for name, value in right.items() if name not in kept}
        body = completed(kind, new, by=rights.by, offset=str(own), known=kept).to_body()
    known: dict[str, object] = {
        "corrects": target.seq, "kind": kind.value, "schema": target.schema if body else 0,
        "body": body,
    }  # fmt: skip
    said.pop("body", None)
    if said.get("occurred_at"):
        said["occurred_at"] = _in_utc(said["occurred_at"])
    return completed(report.kind, said, by=rights.by, offset=offset, known=known), None


_MAKERS_OF: Mapping[EventKind, _Maker] = {
    EventKind.SEPARATED: _separated,
    EventKind.CONFIRMED: _confirmed,
    EventKind.COMPLETED: _completed,
    EventKind.STRUCTURE_SUPERSEDED: _superseded,
    EventKind.STRUCTURE_ANNULLED: _structure_annulled,
    EventKind.ANNULLED: _annulled,
    EventKind.CORRECTED: _corrected,
}


def _target(said: dict[str, Any], place: Place) -> Told:
    """Return the record that a correction names; takes the leaf out of what was said."""
    chain = place.told or []
    leaf = said.pop("leaf", None)
    if leaf is not None:
        seqs = [told.seq for told in chain if told.leaf.hex() == leaf]
        if not seqs or said.setdefault("corrects", seqs[0]) != seqs[0]:
            _no_such_event(said.get("corrects"))
    seq = said.get("corrects")
    if seq is None:
        raise Malformed(field="corrects", reason="missing")
    target = next((told for told in chain if told.seq == seq), None)
    return target if target is not None else _no_such_event(seq)


def _in_utc(said: object) -> str:
    """Return a time as payloads state it, whatever offset the sender wrote it with."""
    try:
        return time_text(datetime.fromisoformat(said if isinstance(said, str) else ""))
    except ValueError:
        raise Malformed(field="occurred_at", reason="time") from None


def _no_such_event(seq: object) -> NoReturn:
    raise Impossible(reason="no_such_event", kind="corrected", seq=seq)


def _with_legal_basis(report: ReportedEvent, place: Place, rights: Rights) -> Mapping[str, object]:
    # Every order of a regulator names its legal basis; whoever registered wrongly needs none.
    if not rights.is_registrant_of(place) and not report.body.get("legal_basis"):
        raise Malformed(field="legal_basis", reason="missing")
    return report.body


def _root_in_force(place: Place, rights: Rights) -> bytes | None:
    told = place.told or []
    return project(place.code, told, organisations=rights.organisations, roots=place.roots).root


def _new_version(said: object, place: Place) -> structures.Change:
    rows = structures.read_components(said, code=place.code, level=place.level)
    for row in rows[1:]:
        if codes.normalise(row[3]) != row[3]:
            raise Malformed(field="components", reason="code", position=row[0])
    is_lot = rows[0][2] == structures.LOT_LEVEL
    version = place.version + 1
    return structures.Change(place.battery_id, is_lot, version, manifest.build(rows), rows)


def _stated(change: structures.Change) -> dict[str, Any]:
    if change.built is None:
        raise AssertionError("a new version brings its manifest")
    unfiled = structures.unfiled_of(change.components)
    return structures.stated(change.components, root=change.built.root, unfiled=unfiled)


def _released(place: Place) -> structures.Change:
    return structures.Change(place.battery_id, False, place.version, None, ())
