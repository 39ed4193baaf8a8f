"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

from collections.abc import Callable

from celery import current_app
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from kombu.exceptions import OperationalError

from traceability.portal.access import everybody

BROKER_TIMEOUT_S = 2


@require_safe
@never_cache
@everybody
def healthz(_request: HttpRequest) -> HttpResponse:
    """Answer that the process lives."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
@everybody
def readyz(_request: HttpRequest) -> HttpResponse:
    """Answer 200 when everything a request needs is there, else 503 with what is not.

    A word for each part and nothing more: the page is open to everybody.
    """
    checks: dict[str, Callable[[], bool]] = {
        "database": _database,
        "migrations": _migrations,
        "broker": _broker,
    }
    found: dict[str, str] = {}
    for name, check in checks.items():
        found[name] = "ok" if check() else "failed"
    is_ready = set(found.values()) == {"ok"}
    status = "ok" if is_ready else "failed"
    return JsonResponse({"status": status, "checks": found}, status=200 if is_ready else 503)


def _database() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def _migrations() -> bool:
    try:
        executor = MigrationExecutor(connection)
        return not executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return False


def _broker() -> bool:
    try:
        with current_app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT_S)
    except (OperationalError, OSError):
        return False
    return True
