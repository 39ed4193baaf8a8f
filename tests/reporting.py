"""Reports as senders make them, for tests of recording and of everything that follows."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

from tests import stored
from traceability.core import manifest
from traceability.core.events import EventKind
from traceability.core.roles import Role
from traceability.models.registry import MakerCode
from traceability.services.acting import Actor
from traceability.services.recording import Outcome, record_events
from traceability.services.reports import ReportedEvent

BEIJING = timezone(timedelta(hours=8))
# The batteries of `stored` were made and registered on 2026-01-02.
SPRING = datetime(2026, 3, 1, 12, tzinfo=BEIJING)
VINS = ("LSVAA4182E2184847", "LSVAA4182E2184848", "LSVAA4182E2184849")


def maker() -> Actor:
    """Return the maker that holds 04Q."""
    actor = stored.party("maker", Role.BATTERY_MAKER, number=1)
    MakerCode.objects.get_or_create(
        code="04Q", organisation=actor.organisation, valid_from=date(2015, 1, 1)
    )
    return actor


def automaker() -> Actor:
    """Return a maker of vehicles without a battery code."""
    return stored.party("automaker", Role.AUTOMAKER, number=2)


def outlet() -> Actor:
    """Return a service outlet."""
    return stored.party("outlet", Role.OUTLET, number=3)


def regulator() -> Actor:
    """Return a regulator."""
    return stored.party("regulator", Role.REGULATOR, number=4)


def report(
    code: str,
    kind: EventKind,
    body: dict[str, object] | None = None,
    *,
    days: float = 0,
    joint: str = "",
    site: int = 0,
) -> ReportedEvent:
    """Return a report of what happened so many days after the first of March."""
    return ReportedEvent(code, kind, SPRING + timedelta(days=days), site, body or {}, joint)


def factory_test(code: str, *, days: float = 0, result: str = "passed") -> ReportedEvent:
    """Return a report of a factory test."""
    return report(code, EventKind.FACTORY_TEST, {"result": result}, days=days)


def installed(code: str, *, days: float = 0, vin: str = VINS[0]) -> ReportedEvent:
    """Return a report of an installation."""
    return report(code, EventKind.INSTALLED, {"vin": vin, "purpose": "production"}, days=days)


def listed(rows: list[manifest.Row]) -> list[list[object]]:
    """Return components as a sender lists them."""
    return [[*row[1:6], manifest.date_text(row[6])] for row in rows]


def record(actor: Actor, *events: ReportedEvent, key: str | None = None) -> list[Outcome]:
    """Record reports and return the outcomes."""
    return record_events(actor=actor, events=events, key=key)
