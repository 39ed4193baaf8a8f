"""The life of a job: claimed under a lease, reported on, finished, or taken up again.

The row in the database is the truth; a queued task carries its id and nothing else. A worker that
dies leaves a lease that runs out, and the sweep sends the job again. That two workers never write
one job twice is not the lease's business: the submission's unique key sees to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from celery import current_app
from django.conf import settings
from django.db import connections, models, transaction
from django.utils import timezone

from traceability.core.errors import TraceabilityError
from traceability.models.intake import Job, JobState

UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


class JobGaveUp(TraceabilityError):
    """A job was taken up too often without coming to an end. Params: attempts."""

    code = "job_gave_up"


def remind(job_id: UUID) -> None:
    """Ask a worker to take up a job, once the transaction that made it has committed."""
    transaction.on_commit(lambda: _send(job_id))


def take_up(job_id: UUID) -> Job | None:
    """Claim a job for this worker; None when it is finished or in another worker's hands."""
    now = timezone.now()
    claimed = (
        Job.objects.filter(id=job_id)
        .filter(
            models.Q(state=JobState.QUEUED) | models.Q(state=JobState.RUNNING, lease_until__lt=now)
        )
        .update(
            state=JobState.RUNNING,
            lease_until=now + _lease(),
            attempts=models.F("attempts") + 1,
            started_at=models.functions.Coalesce("started_at", models.Value(now)),
        )
    )
    return Job.objects.get(id=job_id) if claimed else None


def sweep() -> int:
    """Send every job again that nobody holds and return how many were sent.

    Those taken up too often are given up.
    """
    now = timezone.now()
    overdue = Job.objects.filter(state__in=UNFINISHED, lease_until__lt=now)
    for job in overdue.filter(attempts__gte=settings.LEDGER_JOB_ATTEMPTS):
        fail(job, JobGaveUp(attempts=job.attempts), now=now)
    again = overdue.filter(attempts__lt=settings.LEDGER_JOB_ATTEMPTS)
    due = list(again.values_list("id", flat=True))
    # A queued job gets time to be taken up before it is sent once more.
    Job.objects.filter(id__in=due, state=JobState.QUEUED).update(lease_until=now + _lease())
    for job_id in due:
        _send(job_id)
    return len(due)


def fail(job: Job, refusal: TraceabilityError, *, now: datetime) -> None:
    """Close a job that registered nothing, with the reason."""
    job.state = JobState.FAILED
    job.refusal = {"code": refusal.code, "params": _plain(refusal.params)}
    job.finished_at = now
    job.lease_until = None
    job.save(update_fields=["state", "refusal", "finished_at", "lease_until"])


def hand_over(job: Job) -> None:
    """Give a job back for another worker, at once."""
    Job.objects.filter(id=job.id).update(state=JobState.QUEUED, lease_until=timezone.now())
    remind(job.id)


class Progress:
    """Reports how far a job is and renews its lease, on a connection of its own.

    The job's own transaction shows nothing until it commits.
    """

    def __init__(self, job: Job) -> None:
        self._job_id = job.id
        self._connection = connections.create_connection("default")
        self._said_at: datetime | None = None

    def say(self, *, rows_done: int, rows_total: int) -> None:
        """Publish a figure, at most once a second."""
        now = timezone.now()
        if self._said_at is not None and now - self._said_at < timedelta(seconds=1):
            return
        self._said_at = now
        with self._connection.cursor() as cursor:
            cursor.execute(
                "UPDATE job SET rows_done = %s, rows_total = %s, lease_until = %s"
                " WHERE id = %s AND state = %s",
                (rows_done, rows_total, now + _lease(), self._job_id, JobState.RUNNING.value),
            )

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


@contextmanager
def progress_of(job: Job) -> Iterator[Progress]:
    """Yield a progress reporter and close it whatever happens."""
    progress = Progress(job)
    try:
        yield progress
    finally:
        progress.close()


def _lease() -> timedelta:
    return timedelta(seconds=settings.LEDGER_JOB_LEASE_SECONDS)


def _send(job_id: UUID) -> None:
    current_app.send_task("traceability.tasks.run_job", args=[str(job_id)])


def _plain(params: dict[str, object]) -> dict[str, object]:
    return {
        name: value if isinstance(value, str | int | list | dict | None) else str(value)
        for name, value in params.items()
    }
