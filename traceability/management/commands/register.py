"""`manage.py register FILE --organisation USCC --actor USERNAME`: a file in, row answers out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from traceability.core.errors import TraceabilityError
from traceability.core.registration import Basis
from traceability.models.intake import Job, JobRows, JobState, OnError
from traceability.queries import parties
from traceability.services import registration, row_results
from traceability.wording import sentence

CHUNK_BYTES = 1 << 20
SHOWN_FAILURES = 50


class Command(BaseCommand):
    """Registers a workbook, CSV or JSON file as an organisation's member would by upload."""

    help = "Register the codes of one file and print what became of its rows."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--organisation", required=True, metavar="USCC")
        parser.add_argument("--actor", required=True, metavar="USERNAME")
        parser.add_argument("--structure", choices=registration.STRUCTURES, default="pack")
        parser.add_argument("--basis", choices=[basis.value for basis in Basis], default="maker")
        parser.add_argument("--on-error", choices=[o.value for o in OnError], default="none")
        parser.add_argument("--dry-run", action="store_true")
        parser.add_argument("--key", help="idempotency key; the same key answers the same job")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the command."""
        path: Path = options["file"]
        if not path.is_file():
            raise CommandError(f"{path}: no such file")
        try:
            actor = parties.actor_named(options["actor"], uscc=options["organisation"])
            job = registration.submit(
                actor=actor,
                chunks=_chunks(path),
                filename=path.name,
                structure=options["structure"],
                basis=options["basis"],
                on_error=options["on_error"],
                is_dry_run=options["dry_run"],
                key=options["key"],
            )
            # Nobody else is asked to do a command's work: it is done here.
            registration.run(job.id)
        except TraceabilityError as refusal:
            raise CommandError(sentence(refusal.code, refusal.params)) from refusal
        job.refresh_from_db()
        self._report(job)
        if job.state != JobState.SUCCEEDED:
            sys.exit(1)

    def _report(self, job: Job) -> None:
        if job.refusal:
            self.stderr.write(sentence(job.refusal["code"], job.refusal["params"]))
        shown = 0
        for part in JobRows.objects.filter(job_id=job.id, failed__gt=0).order_by("part"):
            for row in row_results.read(part):
                if row.result == row_results.Result.REFUSED and shown < SHOWN_FAILURES:
                    shown += 1
                    self.stderr.write(
                        f"{row.sheet}:{row.row} {row.code} {sentence(row.refusal, row.params)}"
                    )
        self.stdout.write(
            f"{job.id} {job.state}: {job.accepted} accepted, {job.already_registered} already "
            f"registered, {job.refused} refused, {job.warnings} warnings"
        )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
