"""A database that really commits: for races, and for damage that only its owner can do.

The event table refuses TRUNCATE, so Django's own flush cannot clean up after such a test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection, connections

GUARDS = ("guard_rows", "guard_truncate")
ROWS = (
    "event", "head", "unit_queue", "submission", "battery", "manifest", "component",
    "cell_fingerprint", "installation", "finding", "battery_party", "quarantined_report",
    "design_part", "job", "job_rows", "stored_file", "traceability_makercode",
    "traceability_codefiling", "traceability_membership", "traceability_user",
    "traceability_credential", "traceability_organisationrole", "traceability_organisation",
)  # fmt: skip


@contextmanager
def unguarded() -> Iterator[None]:
    """Switch the guards off, as only the table's owner can."""
    with connection.cursor() as cursor:
        for guard in GUARDS:
            cursor.execute(f"ALTER TABLE event DISABLE TRIGGER {guard}")
        try:
            yield
        finally:
            for guard in GUARDS:
                cursor.execute(f"ALTER TABLE event ENABLE ALWAYS TRIGGER {guard}")


def together(*commands: Callable[[], object]) -> list[object]:
    """Run commands at once, each on a connection of its own; return results or exceptions."""
    barrier = threading.Barrier(len(commands))
    results: list[object] = [None] * len(commands)

    def run(index: int, command: Callable[[], object]) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=10)
            results[index] = command()
        except Exception as error:  # noqa: BLE001 - handed to the test, which looks at it
            results[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(commands)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    if any(thread.is_alive() for thread in threads):
        raise AssertionError("a command never came back: a deadlock")
    return results


def empty() -> None:
    """Leave no row of this product behind."""
    with unguarded(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(ROWS)} CASCADE")
