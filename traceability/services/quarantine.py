"""Reports of facts about batteries that are not known yet: kept, shown, placed later.

A report is placed under the credential it came with, as if it came now; what then turns out to
be impossible stays in quarantine with the reason. Once placed, the row keeps no payload.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, models, transaction
from django.utils import timezone as clock

from traceability.core import codes, history, manifest
from traceability.core.errors import (
    LedgerBusy,
    PrerequisiteMissing,
    StaleHead,
    TraceabilityError,
)
from traceability.core.events import KINDS, EventKind, Nature
from traceability.core.lifecycle import BatteryState, Confirmation, State
from traceability.core.roles import Role
from traceability.models.intake import QuarantinedReport
from traceability.models.parties import OrganisationRole, Scope
from traceability.services import submissions
from traceability.services.acting import Actor
from traceability.services.preparing import Place, check_sender
from traceability.services.projecting import about_code
from traceability.services.reports import ReportedEvent, completed, fingerprint
from traceability.services.taking import Report, bounds, take


def keep(
    reports: Sequence[Report],
    waiting: Collection[int],
    *,
    actor: Actor,
    key: str,
    now: datetime,
) -> dict[int, UUID]:
    """Put reports that cannot be placed yet into quarantine and return the ids they wait under.

    Raises:
        PrerequisiteMissing: it asks leave for a battery that does not exist.
        TraceabilityError: it would be refused of any battery of this code; params `index`.
    """
    rows: dict[int, QuarantinedReport] = {}
    for index in sorted(waiting):
        try:
            _check(reports[index], actor, now)
        except TraceabilityError as refusal:
            refusal.params["index"] = index
            raise
        rows[index] = _row(reports[index], actor, f"{key}/{index}", now)
    QuarantinedReport.objects.bulk_create(rows.values())
    return {index: row.id for index, row in rows.items()}


def place_waiting(battery_ids: Collection[UUID], *, now: datetime) -> int:
    """Place the reports that waited for these batteries or their parts; return how many.

    Called in the transaction that made the batteries; doing it twice changes nothing.

    Raises:
        StaleHead, LedgerBusy: as the ledger's appends.
    """
    placed = 0
    for credential, rows in sorted(_due(battery_ids).items()):
        placed += _place(rows, credential, now)
    return placed


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A quarantined report that may be placed now."""

    row: QuarantinedReport
    report: Report


def _check(report: Report, actor: Actor, now: datetime) -> None:
    """Refuse what would be refused of any battery with this code."""
    said = report.said
    about: dict[str, Any] = about_code(said.code)
    check_sender(said.kind, actor, level=about["level"])
    if KINDS[said.kind].nature is Nature.PERMISSION:
        raise PrerequisiteMissing(what="registration", code=said.code)
    current = None
    schema = KINDS[said.kind].schema or 0
    if said.kind is not EventKind.SEPARATED:
        # A separation says where the part comes from; only the register knows that.
        completed(said.kind, said.body, by=report.by, offset=report.offset, known={})
        current = BatteryState(State.OPENED, Confirmation.UNCONFIRMED)
    place = Place(
        codes.battery_id_of(said.code), said.code, about["level"], about["maker"],
        about["produced_on"], None, -1,
    )  # fmt: skip
    entry = history.entry_of(
        seq=0, kind=said.kind, schema=schema, occurred_at=said.occurred_at, recorded_at=now,
        body=None,
    )  # fmt: skip
    history.decide_next(current, entry, bounds=bounds(now, place))


def _row(report: Report, actor: Actor, key: str, now: datetime) -> QuarantinedReport:
    said = report.said
    return QuarantinedReport(
        id=uuid4(),
        organisation=actor.organisation,
        credential=actor.credential,
        key=key,
        code=said.code,
        kind=said.kind.value,
        occurred_at=said.occurred_at,
        body={
            "said": dict(said.body),
            "site": said.site,
            "joint": f"{key.rsplit('/', 1)[0]}/{said.joint}" if said.joint else "",
            "by": report.by,
            "offset": report.offset,
            "refusal": None,
        },
        received_at=now,
    )


def _due(battery_ids: Collection[UUID]) -> dict[int, list[_Waiting]]:
    """Return the reports that wait for these batteries, by credential, locked."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT q.id FROM quarantined_report q JOIN battery b USING (code)"
            " WHERE b.battery_id = ANY(%s) AND q.placed_at IS NULL",
            (list(battery_ids),),
        )
        due = {report_id for (report_id,) in cursor.fetchall()}
    due |= _of_parts(battery_ids)
    if not due:
        return {}
    rows = QuarantinedReport.objects.select_related("organisation", "credential")
    joints = [
        joint
        for body in rows.filter(id__in=due).values_list("body", flat=True)
        if (joint := body["joint"])
    ]
    found = rows.filter(models.Q(id__in=due) | models.Q(body__joint__in=joints))
    by_credential: dict[int, list[_Waiting]] = defaultdict(list)
    for row in (
        found.filter(placed_at__isnull=True)
        .order_by("received_at", "key")
        .select_for_update(of=("self",))
    ):
        by_credential[row.credential.number].append(_Waiting(row, _report(row)))
    return by_credential


def _of_parts(battery_ids: Collection[UUID]) -> set[UUID]:
    """Return the waiting separations of modules and cells that these packs and lots hold."""
    waiting = QuarantinedReport.objects.filter(
        placed_at__isnull=True, kind=EventKind.SEPARATED.value
    ).values_list("id", "code")
    by_code = {code: report_id for report_id, code in waiting}
    if not by_code:
        return set()
    by_print = {manifest.fingerprint_of(code): code for code in by_code}
    ids = list(battery_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT code, NULL FROM component WHERE code = ANY(%s)"
            " AND (pack_id = ANY(%s) OR lot_id = ANY(%s)) UNION ALL"
            " SELECT NULL, fingerprint FROM cell_fingerprint WHERE fingerprint = ANY(%s)"
            " AND battery_id = ANY(%s)",
            (list(by_code), ids, ids, list(by_print), ids),
        )
        return {by_code[code or by_print[fingerprint]] for code, fingerprint in cursor.fetchall()}


def _report(row: QuarantinedReport) -> Report:
    body = row.body
    sign = -1 if body["offset"].startswith("-") else 1
    hours, minutes = map(int, body["offset"][1:].split(":"))
    zone = timezone(sign * timedelta(hours=hours, minutes=minutes))
    said = ReportedEvent(
        row.code, EventKind(row.kind), row.occurred_at.astimezone(zone), body["site"],
        body["said"], body["joint"],
    )  # fmt: skip
    return Report(said, body["by"], body["offset"])


def _place(waiting: Sequence[_Waiting], credential: int, now: datetime) -> int:
    """Place one credential's reports: together, or group by group when one is refused."""
    if credential != waiting[0].row.credential.number:
        raise AssertionError("reports of one credential")
    actor = _actor_of(waiting[0].row, now)
    try:
        with transaction.atomic():
            return _place_together(waiting, actor, now)
    except (StaleHead, LedgerBusy):
        raise
    except TraceabilityError as refusal:
        if len({_group(one) for one in waiting}) == 1:
            _note_refusal(waiting, refusal)
            return 0
    groups: dict[str, list[_Waiting]] = defaultdict(list)
    for one in waiting:
        groups[_group(one)].append(one)
    return sum(_place(group, credential, now) for group in groups.values())


def _group(one: _Waiting) -> str:
    return one.report.said.joint or str(one.row.id)


def _place_together(waiting: Sequence[_Waiting], actor: Actor, now: datetime) -> int:
    reports = [one.report for one in waiting]
    claimed = submissions.claim(
        actor=actor,
        key=f"placed/{min(one.row.id for one in waiting)}/{uuid4()}",
        request_sha256=fingerprint([report.said for report in reports]),
        now=now,
    )
    taken = take(reports, actor=actor, now=now)
    appended = [taken.appended[index] for index in sorted(taken.appended)]
    submissions.answer(claimed, appended=appended, answer={"placed": len(appended)})
    done = []
    for index, record in taken.appended.items():
        row = waiting[index].row
        row.placed_at, row.placed_seq = now, record.seq
        # The payload is the ledger's from here on, where redaction reaches it.
        row.body = {"joint": row.body["joint"]}
        done.append(row)
    QuarantinedReport.objects.bulk_update(done, ["placed_at", "placed_seq", "body"])
    # A part that has its chain now may have reports of its own waiting.
    born = [r.battery_id for r in appended if r.event.kind is EventKind.SEPARATED]
    return len(done) + (place_waiting(born, now=now) if born else 0)


def _note_refusal(waiting: Sequence[_Waiting], refusal: TraceabilityError) -> None:
    said = {"code": refusal.code, "params": {k: str(v) for k, v in refusal.params.items()}}
    for one in waiting:
        one.row.body["refusal"] = said
    QuarantinedReport.objects.bulk_update([one.row for one in waiting], ["body"])


def _actor_of(row: QuarantinedReport, now: datetime) -> Actor:
    """Return the actor as which a report came, with the roles of today."""
    today = clock.localdate(now)
    roles = OrganisationRole.objects.filter(
        models.Q(valid_to__isnull=True) | models.Q(valid_to__gte=today),
        organisation=row.organisation,
        valid_from__lte=today,
    ).values_list("role", flat=True)
    return Actor(
        organisation=row.organisation,
        credential=row.credential,
        user=None,
        roles=frozenset(map(Role, roles)),
        scopes=frozenset({Scope.RECORD}),
    )
