"""The whole ledger verified: every hash made again, and what no single chain can show.

Everything is read on one snapshot. With several workers, each takes a range of battery ids on
that same snapshot, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection, transaction
from psycopg import sql
from psycopg.conninfo import make_conninfo

from traceability.core.chain import verify_chain
from traceability.core.codes import battery_id_bytes
from traceability.core.errors import ChainBroken
from traceability.queries import verification_sets as sets
from traceability.queries.damage import Checked, Damage, Found, Scope
from traceability.queries.event_stream import StoredChain, chains

# How often a long verification says how far it is.
CHAINS_BETWEEN_REPORTS = 5_000

OnProgress = Callable[[int], None]


def verify(
    checked: Checked,
    *,
    battery_id: UUID | None = None,
    workers: int = 1,
    on_progress: OnProgress | None = None,
) -> Iterator[Found]:
    """Yield everything that is wrong with the ledger, or with one battery in it.

    `checked` is filled in on the way: who reads no finding and does not look there knows
    nothing. `on_progress` hears the number of events hashed so far.
    """
    scope = Scope(battery_id)
    with transaction.atomic():
        is_own = _take_snapshot()
        if workers > 1 and is_own and battery_id is None:
            yield from _in_parallel(checked, workers, on_progress)
        else:
            stream = chains(_raw(), first=battery_id, last=battery_id)
            yield from _chains_damage(stream, checked, on_progress)
        yield from sets.lone_rows(scope)
        yield from sets.heads(scope)
        yield from sets.manifests(scope, checked)
        yield from sets.joint_events(scope, checked)
        yield from sets.units(scope, checked)
        yield from sets.unit_roots(scope)


def estimated_events() -> int:
    """Return about how many events there are, without counting them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = 'event'::regclass")
        row = cursor.fetchone()
    return max(int(row[0]), 0) if row else 0


def chain_damage(stored: StoredChain) -> Found | None:
    """Return what is wrong with one chain, None when every hash of it stands."""
    battery_id, code, rows = stored
    if code is None:
        return Found(Damage.BATTERY_MISSING, str(UUID(bytes=battery_id)), 0)
    if battery_id_bytes(code) != battery_id:
        return Found(Damage.CODE, code, 0)
    try:
        verify_chain(code, rows)
    except ChainBroken as broken:
        seq = broken.params["seq"]
        damage = Damage(str(broken.params["damage"]))
        return Found(damage, code, seq if isinstance(seq, int) else None)
    except (TypeError, ValueError):
        # A column holds what no record can: null, or a text that is none.
        return Found(Damage.LEAF, code)
    return None


def _chains_damage(
    stream: Iterable[StoredChain], checked: Checked, on_progress: OnProgress | None
) -> Iterator[Found]:
    for stored in stream:
        checked.chains += 1
        checked.events += len(stored.rows)
        found = chain_damage(stored)
        if found is not None:
            yield found
        if on_progress is not None and checked.chains % CHAINS_BETWEEN_REPORTS == 0:
            on_progress(checked.events)


def _take_snapshot() -> bool:
    """Let all that follows see one state; return False inside somebody else's transaction."""
    if connection.savepoint_ids:
        return False
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    return True


def _raw() -> psycopg.Connection[Any]:
    connection.ensure_connection()
    raw: psycopg.Connection[Any] = connection.connection
    return raw


def _in_parallel(checked: Checked, workers: int, on_progress: OnProgress | None) -> Iterator[Found]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = cursor.fetchone()
    raw = _raw()
    conninfo = make_conninfo(raw.info.dsn, password=raw.info.password)
    bounds = [2**128 * k // workers for k in range(workers + 1)]
    # A forked process would share this one's connection.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        parts = [
            pool.submit(verify_range, conninfo, snapshot, UUID(int=low), UUID(int=high - 1))
            for low, high in pairwise(bounds)
        ]
        for part in parts:
            found, n_chains, n_events = part.result()
            checked.chains += n_chains
            checked.events += n_events
            if on_progress is not None:
                on_progress(checked.events)
            yield from found


def verify_range(
    conninfo: str, snapshot: str, first: UUID, last: UUID
) -> tuple[list[Found], int, int]:
    """Return the damage in a range of chains, and how many chains and events it has.

    Runs in a process of its own, on the snapshot of the one that asked.
    """
    checked = Checked()
    with psycopg.connect(conninfo) as raw:
        raw.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        raw.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
        found = list(_chains_damage(chains(raw, first=first, last=last), checked, None))
    return found, checked.chains, checked.events
