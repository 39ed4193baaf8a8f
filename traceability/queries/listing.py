"""Lists that an organisation works through: its batteries, its findings, what waits for a place.

Pages are keyed by the last row shown, so that what is recorded meanwhile moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Generic, TypeVar
from uuid import UUID

from django.db import models
from django.db.models import Q

from traceability.models.intake import QuarantinedReport
from traceability.models.registry import Battery, Finding
from traceability.queries import batteries, visibility
from traceability.queries.batteries import Facts
from traceability.services.acting import Actor

MOST_ROWS = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows in order, and the key of the last one when there are more."""

    rows: tuple[T, ...]
    next_after: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list of batteries is narrowed to; what is empty narrows nothing."""

    states: tuple[str, ...] = ()
    confirmations: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    maker: str = ""
    design_part: str = ""
    lot: str = ""
    line: str = ""
    model: str = ""
    registrant: str = ""
    code_begins: str = ""
    produced_from: date | None = None
    produced_to: date | None = None
    recorded_from: datetime | None = None
    recorded_to: datetime | None = None
    is_filed: bool | None = None

    def condition(self) -> Q:
        """Return the narrowing as a condition."""
        fields: dict[str, object] = {
            "state__in": self.states,
            "confirmation__in": self.confirmations,
            "level__in": self.levels,
            "maker": self.maker,
            "design_part": self.design_part,
            "lot": self.lot,
            "line": self.line,
            "model": self.model,
            "registrant__uscc": self.registrant,
            "code__startswith": self.code_begins,
            "produced_on__gte": self.produced_from,
            "produced_on__lte": self.produced_to,
            "recorded_at__gte": self.recorded_from,
            "recorded_at__lte": self.recorded_to,
            "is_filed": self.is_filed,
        }
        return Q(**{name: value for name, value in fields.items() if value not in ("", (), None)})


def batteries_page(
    wanted: Wanted,
    *,
    actor: Actor,
    after: tuple[datetime, UUID] | None = None,
    limit: int = 50,
) -> Page[Facts]:
    """Return batteries that the actor may see, recorded last first, in two queries."""
    seen = visibility.visible_batteries(actor).filter(wanted.condition())
    if after is not None:
        moment, battery_id = after
        # The first condition lets the index seek; the second cuts among those of one moment.
        seen = seen.filter(
            Q(recorded_at__lt=moment) | Q(recorded_at=moment, battery_id__gt=battery_id),
            recorded_at__lte=moment,
        )
    size = max(1, min(limit, MOST_ROWS))
    ids = list(
        seen.order_by("-recorded_at", "battery_id").values_list("battery_id", flat=True)[: size + 1]
    )
    facts = batteries.facts_of(ids[:size])
    rows = tuple(facts[battery_id] for battery_id in ids[:size])
    last = rows[-1] if len(ids) > size else None
    key = (last.recorded_at.isoformat(), str(last.battery_id)) if last else None
    return Page(rows, key)


@dataclass(frozen=True, slots=True)
class FoundFault:
    """A finding with the code of its battery."""

    code: str
    finding: Finding = field(compare=False)


def findings_page(
    *,
    actor: Actor,
    kind: str = "",
    after: tuple[datetime, UUID, int, str] | None = None,
    limit: int = 50,
) -> Page[FoundFault]:
    """Return open findings on batteries that the actor may see, newest first, in two queries."""
    seen = visibility.visible_batteries(actor)
    found = Finding.objects.filter(battery_id__in=seen.values("battery_id"))
    if kind:
        found = found.filter(kind=kind)
    if after is not None:
        moment, battery_id, seq, last_kind = after
        later = (
            Q(battery_id__gt=battery_id)
            | Q(battery_id=battery_id, seq__gt=seq)
            | Q(battery_id=battery_id, seq=seq, kind__gt=last_kind)
        )
        found = found.filter(Q(opened_at__lt=moment) | (Q(opened_at=moment) & later))
    size = max(1, min(limit, MOST_ROWS))
    rows = list(found.order_by("-opened_at", "battery_id", "seq", "kind")[: size + 1])
    codes = _codes_of([row.battery_id for row in rows])
    shown = rows[:size]
    last = shown[-1] if len(rows) > size else None
    key = None
    if last is not None:
        key = (last.opened_at.isoformat(), str(last.battery_id), str(last.seq), last.kind)
    return Page(tuple(FoundFault(codes[row.battery_id], row) for row in shown), key)


def quarantine_page(
    *,
    actor: Actor,
    is_placed: bool | None = False,
    after: tuple[datetime, UUID] | None = None,
    limit: int = 50,
) -> Page[QuarantinedReport]:
    """Return the actor's own reports that wait for their battery, or waited, newest first."""
    waiting = QuarantinedReport.objects.filter(organisation=actor.organisation)
    if is_placed is not None:
        waiting = waiting.filter(placed_at__isnull=not is_placed)
    if after is not None:
        moment, last_id = after
        waiting = waiting.filter(Q(received_at__lt=moment) | Q(received_at=moment, id__gt=last_id))
    size = max(1, min(limit, MOST_ROWS))
    rows = list(waiting.order_by("-received_at", "id")[: size + 1])
    last = rows[size - 1] if len(rows) > size else None
    key = (last.received_at.isoformat(), str(last.id)) if last else None
    return Page(tuple(rows[:size]), key)


def _codes_of(battery_ids: list[UUID]) -> dict[UUID, str]:
    rows: models.QuerySet[Battery] = Battery.objects.filter(battery_id__in=battery_ids)
    return dict(rows.values_list("battery_id", "code"))
