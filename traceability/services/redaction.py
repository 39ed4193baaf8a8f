"""Erasing what a record says and keeping that it was said: for personal data, nothing else.

Payload and salt go, the commitment stays, so every hash over it still stands. The erasure reaches
what was made of the payload as well: corrections that repeat it, projections, the original file
and the row results of the job it came with. Stored answers hold nothing out of payloads. A record
of its own names the records whose payload is gone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import models, transaction
from django.utils import timezone

from traceability.core import codes, history, payloads
from traceability.core.errors import NotFound, NotPermitted, PrerequisiteMissing
from traceability.core.events import KINDS, EventKind
from traceability.core.roles import Role
from traceability.models.intake import Job, StoredFile
from traceability.models.parties import Duty, Membership, Scope
from traceability.models.registry import Battery
from traceability.services import files, ledger, projections, row_results, submissions
from traceability.services.acting import Actor
from traceability.services.ledger import retrying_once
from traceability.services.preparing import Place
from traceability.services.projecting import Told, project
from traceability.services.reports import ReportedEvent, fingerprint
from traceability.services.taking import bounds

_FROM_JOB = re.compile(r"job:([0-9a-f-]{36})")


@retrying_once
@transaction.atomic(durable=True)
def redact_event(*, actor: Actor, battery: str, seq: int, reason: str) -> ledger.Appended:
    """Erase the payload of one record, and of corrections that repeat it; return the new record.

    Only a regulator may, or an administrator of the organisation whose record it is. In backups
    the salts expire by themselves (docs/OPERATIONS.md).

    Raises:
        NotPermitted: the actor is neither.
        NotFound: no such battery or record.
        PrerequisiteMissing: the payload is erased already.
        Malformed: no reason is given.
    """
    actor.demand(Scope.RECORD, act="redact")
    now = timezone.now()
    row = Battery.objects.filter(battery_id=codes.battery_id_of(codes.normalise(battery))).first()
    if row is None:
        raise NotFound(what="battery", key=battery)
    told = projections.chains_of([row.battery_id])[row.battery_id]
    target = next((event for event in told if event.seq == seq), None)
    if target is None:
        raise NotFound(what="event", key=f"{row.code}/{seq}")
    organisations = projections.organisations_of([actor.credential.number, *_actors(told)])
    _check_right(actor, organisations[target.actor], now, battery=row.code, seq=seq)
    if target.body is None or target.kind == EventKind.REDACTED:
        raise PrerequisiteMissing(what="payload", battery=row.code, seq=seq)
    erased = [target, *(event for event in told if _repeats(event, target))]
    _erase_origins(erased, row.code, now)
    for event in erased:
        ledger.redact(battery_id=row.battery_id, seq=event.seq)
    record = _append(row, told, erased, reason, actor=actor, now=now)
    # Told anew from what is left.
    left = projections.chains_of([row.battery_id])[row.battery_id]
    roots = projections.roots_of([row.battery_id]).get(row.battery_id, [])
    projected = project(row.code, left, organisations=organisations, roots=roots)
    projections.write({row.battery_id: projected})
    return record


def _actors(told: Sequence[Told]) -> set[int]:
    return {event.actor for event in told}


def _check_right(actor: Actor, author: int, now: datetime, *, battery: str, seq: int) -> None:
    if Role.REGULATOR in actor.roles:
        return
    administers = (
        author == actor.organisation.pk
        and actor.user is not None
        and Membership.objects.filter(
            models.Q(until__isnull=True) | models.Q(until__gt=now),
            user=actor.user,
            organisation=actor.organisation,
            duty=Duty.ADMINISTRATOR,
        ).exists()
    )
    if not administers:
        raise NotPermitted(act="redact", battery=battery, seq=seq)


def _repeats(event: Told, target: Told) -> bool:
    """Return whether the event is a correction that states the target's payload anew."""
    if event.kind != EventKind.CORRECTED:
        return False
    body = event.payload()
    return body is not None and body["corrects"] == target.seq and bool(body["body"])


def _append(
    row: Battery,
    told: Sequence[Told],
    erased: Sequence[Told],
    reason: str,
    *,
    actor: Actor,
    now: datetime,
) -> ledger.Appended:
    """Record which payloads are gone, as a submission of its own."""
    payload = payloads.Redacted(
        by=actor.by, leaves=tuple(event.leaf for event in erased), reason=reason
    )
    place = Place(
        row.battery_id, row.code, row.level, row.maker, row.produced_on, None, told[-1].seq
    )
    entry = history.Entry(told[-1].seq + 1, EventKind.REDACTED, now, now)
    history.decide([event.entry() for event in told], entry, bounds=bounds(now, place))
    said = ReportedEvent(row.code, EventKind.REDACTED, now, 0, payload.to_body())
    claimed = submissions.claim(actor=actor, key=None, request_sha256=fingerprint([said]), now=now)
    record = ledger.append(
        ledger.new_event(
            code=row.code,
            expected_seq=told[-1].seq,
            kind=EventKind.REDACTED,
            schema=KINDS[EventKind.REDACTED].schema or payloads.Redacted.SCHEMA,
            occurred_at=now,
            payload=payload.to_body(),
        ),
        credential=actor.credential,
    )
    submissions.answer(claimed, appended=[record], answer={"redacted": len(erased)})
    return record


def _erase_origins(erased: Sequence[Told], code: str, now: datetime) -> None:
    """Erase the files that the payloads were read from, and what their rows' results say."""
    job_ids = {
        UUID(found[1])
        for event in erased
        if (found := _FROM_JOB.fullmatch(str((event.payload() or {}).get("source", ""))))
    }
    for job in Job.objects.filter(id__in=job_ids).select_related("file"):
        StoredFile.objects.filter(sha256=job.file.sha256, erased_at__isnull=True).update(
            erased_at=now
        )
        path = files.path_of(bytes(job.file.sha256))
        # Only when the erasure holds: a file cannot be rolled back.
        transaction.on_commit(partial(path.unlink, missing_ok=True))
        row_results.forget(job.id, code)
