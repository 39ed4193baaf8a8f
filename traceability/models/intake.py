"""What came in: files, jobs, their row results, and reports that wait for their battery."""

from __future__ import annotations

from enum import StrEnum

from django.db import models
from django.utils.translation import gettext_lazy as _

from traceability.core.registration import Basis
from traceability.models.constraints import hash_length, vocabulary
from traceability.models.parties import Credential, Organisation, User


class StoredFile(models.Model):
    """An original file, kept under its hash. `erased_at` says that only the hash is left."""

    sha256 = models.BinaryField(primary_key=True)
    size_bytes = models.BigIntegerField()
    stored_at = models.DateTimeField()
    erased_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "stored_file"
        constraints = [hash_length("sha256", table="stored_file")]

    def __str__(self) -> str:
        return bytes(self.sha256).hex()


class JobState(StrEnum):
    """Where a job is. Succeeded and failed are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class OnError(StrEnum):
    """What a registration does with the good rows of a file that has bad ones."""

    NONE = "none"
    SKIP = "skip"


class Job(models.Model):
    """A registration that was asked for: the truth of which a queued task is only a reminder."""

    id = models.UUIDField(primary_key=True)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="jobs")
    credential = models.ForeignKey(Credential, models.PROTECT, related_name="+")
    user = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    key = models.CharField(max_length=200)
    request_sha256 = models.BinaryField()
    file = models.ForeignKey(StoredFile, models.PROTECT, related_name="+")
    filename = models.CharField(max_length=255)
    structure = models.CharField(max_length=10)
    basis = models.CharField(max_length=16, choices=[(b.value, b.value) for b in Basis])
    on_error = models.CharField(max_length=4, choices=[(o.value, o.value) for o in OnError])
    is_dry_run = models.BooleanField()
    state = models.CharField(
        _("state"), max_length=10, choices=[(state.value, state.value) for state in JobState]
    )
    rows_total = models.IntegerField(default=0)
    rows_done = models.IntegerField(default=0)
    accepted = models.IntegerField(default=0)
    already_registered = models.IntegerField(default=0)
    refused = models.IntegerField(default=0)
    warnings = models.IntegerField(default=0)
    filings = models.JSONField(default=list)
    refusal = models.JSONField(null=True)
    attempts = models.IntegerField(default=0)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "job"
        constraints = [
            vocabulary("state", JobState, table="job"),
            vocabulary("on_error", OnError, table="job"),
            vocabulary("basis", Basis, table="job"),
            hash_length("request_sha256", table="job"),
            models.UniqueConstraint(fields=["organisation", "key"], name="job_key_once"),
        ]
        indexes = [
            models.Index(fields=["organisation", "-created_at"], name="job_by_organisation"),
            models.Index(
                fields=["lease_until"],
                condition=models.Q(state__in=[JobState.QUEUED, JobState.RUNNING]),
                name="job_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} ({self.state})"


class JobRows(models.Model):
    """Some thousand row results of a job, compressed together.

    A database row for each would cost as much as the registration itself.
    """

    pk = models.CompositePrimaryKey("job_id", "part")
    job_id = models.UUIDField()
    part = models.IntegerField()
    first_row = models.IntegerField()
    rows = models.IntegerField()
    failed = models.IntegerField()
    packed = models.BinaryField()

    class Meta:
        db_table = "job_rows"

    def __str__(self) -> str:
        return f"{self.job_id} part {self.part}"


class QuarantinedReport(models.Model):
    """A report of a fact about a battery that is not known yet. It waits here, visibly."""

    id = models.UUIDField(primary_key=True)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="+")
    credential = models.ForeignKey(Credential, models.PROTECT, related_name="+")
    key = models.CharField(max_length=200)
    code = models.TextField(db_index=True)
    kind = models.SmallIntegerField()
    occurred_at = models.DateTimeField()
    body = models.JSONField()
    received_at = models.DateTimeField()
    placed_at = models.DateTimeField(null=True)
    placed_seq = models.IntegerField(null=True)

    class Meta:
        db_table = "quarantined_report"
        constraints = [
            models.UniqueConstraint(fields=["organisation", "key"], name="quarantine_key_once")
        ]

    def __str__(self) -> str:
        return f"{self.code} ({self.kind})"
