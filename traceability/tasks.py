"""Background work: each task loads an id and calls one service, nothing else."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from traceability.services import jobs, registration


@shared_task(name="traceability.tasks.run_job", ignore_result=True)
def run_job(job_id: str) -> None:
    """Bring a registration job to its end."""
    registration.run(UUID(job_id))


@shared_task(name="traceability.tasks.sweep_jobs", ignore_result=True)
def sweep_jobs() -> None:
    """Send again what nobody holds."""
    jobs.sweep()
