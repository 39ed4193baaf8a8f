"""Recording what happened to batteries: one or many reports in, one outcome for each.

Facts are taken, also late and out of order, with flags and findings; what asks leave is refused
when the rules do not give it; a report of a battery that nobody has registered waits in
quarantine, visibly, and is placed when the battery comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from traceability.core.codes import battery_id_of
from traceability.core.errors import Malformed
from traceability.core.events import EventKind
from traceability.core.submission import MOST_EVENTS
from traceability.models.parties import Scope
from traceability.services import quarantine, submissions
from traceability.services.acting import Actor
from traceability.services.ledger import retrying_once
from traceability.services.reports import (
    Outcome,
    ReportedEvent,
    Result,
    fingerprint,
    normalised,
    utc_offset,
)
from traceability.services.taking import Report, Taken, take

__all__ = ["Outcome", "ReportedEvent", "Result", "record_events"]

# Room for the prefix that keeps senders' keys apart from those of jobs.
LONGEST_KEY = submissions.LONGEST_KEY - len("events/")


@retrying_once
@transaction.atomic(durable=True)
def record_events(
    *, actor: Actor, events: Sequence[ReportedEvent], key: str | None
) -> list[Outcome]:
    """Record reports as one submission and return what became of each, in the order given.

    All are recorded (or quarantined) or none. The same key with the same reports returns the
    first answer.

    Raises:
        NotPermitted: the actor may not record, or not this of that battery.
        Malformed, RuleViolation: a report that cannot be taken; params `index` says which.
        SubmissionConflict: the key was used for other reports.
        StaleHead: twice in a row somebody else recorded on the same battery first.
        LedgerBusy: locks were not to be had; try again.
    """
    actor.demand(Scope.RECORD, act="record")
    if not 1 <= len(events) <= MOST_EVENTS:
        raise Malformed(field="events", reason="count", count=len(events))
    now = timezone.now()
    said = [_normalised(event, index) for index, event in enumerate(events)]
    claimed = submissions.claim(
        actor=actor, key=_own_key(key), request_sha256=fingerprint(said), now=now
    )
    if claimed.answer is not None:
        return [Outcome.read(line) for line in claimed.answer["outcomes"]]
    reports = [Report(event, actor.by, utc_offset(event.occurred_at)) for event in said]
    taken = take(reports, actor=actor, now=now)
    waiting = quarantine.keep(reports, taken.waiting, actor=actor, key=claimed.key, now=now)
    outcomes = [_outcome(index, event, taken, waiting) for index, event in enumerate(said)]
    appended = [taken.appended[index] for index in sorted(taken.appended)]
    submissions.answer(
        claimed, appended=appended, answer={"outcomes": [o.line() for o in outcomes]}
    )
    _place_what_waited(said, taken, now)
    return outcomes


def _normalised(event: ReportedEvent, index: int) -> ReportedEvent:
    try:
        return normalised(event)
    except Malformed as refusal:
        refusal.params["index"] = index
        raise


def _own_key(key: str | None) -> str | None:
    if key is None:
        return None
    if not 1 <= len(key) <= LONGEST_KEY:
        raise Malformed(field="key", reason="length", length=len(key))
    return f"events/{key}"


def _outcome(index: int, event: ReportedEvent, taken: Taken, waiting: dict[int, UUID]) -> Outcome:
    if index in waiting:
        waits_as = str(waiting[index])
        return Outcome(event.code, event.kind, Result.QUARANTINED, waits_as=waits_as)
    record = taken.appended[index]
    return Outcome(
        event.code,
        event.kind,
        Result.RECORDED,
        seq=record.seq,
        recorded_at=record.recorded_at,
        leaf=record.leaf.hex(),
        flags=taken.decisions[index].flags,
    )


def _place_what_waited(said: Sequence[ReportedEvent], taken: Taken, now: datetime) -> None:
    """Place reports about parts that have got their chains just now."""
    born = [
        battery_id_of(said[index].code)
        for index in taken.appended
        if said[index].kind is EventKind.SEPARATED
    ]
    if born:
        quarantine.place_waiting(born, now=now)
