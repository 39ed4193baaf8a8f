"""The ledger's own rows. Written by the SQL functions, the bulk path and nobody else.

No foreign key leaves `event` (it would halve registration; `verify_ledger` proves what it would),
and `battery_id` leads every key, so that the tables can be distributed by it.
"""

from __future__ import annotations

from django.db import models

from traceability.core.events import EventKind
from traceability.models.constraints import hash_length, vocabulary
from traceability.models.parties import Credential, Organisation


class Event(models.Model):
    """One record of one battery's chain (docs/FORMATS.md, «Record»). Append-only."""

    pk = models.CompositePrimaryKey("battery_id", "seq")
    battery_id = models.UUIDField()
    seq = models.IntegerField()
    kind = models.SmallIntegerField()
    schema = models.SmallIntegerField()
    site = models.IntegerField()
    occurred_at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    actor = models.BigIntegerField()
    unit = models.BigIntegerField()
    ordinal = models.IntegerField()
    event_id = models.UUIDField(null=True)
    participants_n = models.IntegerField(null=True)
    participants_hash = models.BinaryField(null=True)
    body = models.TextField(null=True)  # noqa: DJ001 - null means erased, "" would be a payload
    salt = models.BinaryField(null=True)
    pcommit = models.BinaryField(null=True)
    leaf = models.BinaryField()

    class Meta:
        db_table = "event"
        indexes = [
            models.Index(fields=["unit", "ordinal"], name="event_by_unit"),
            # From one battery's record to the other rows of the same event. Births have none.
            models.Index(
                fields=["event_id"],
                condition=models.Q(event_id__isnull=False),
                name="event_by_joint",
            ),
        ]
        constraints = [
            vocabulary("kind", EventKind, table="event"),
            hash_length("leaf", table="event"),
            models.CheckConstraint(
                condition=models.Q(seq__gte=0) & models.Q(actor__gte=0) & models.Q(site__gte=0),
                name="event_numbers_fit_record",
            ),
            models.CheckConstraint(
                condition=(
                    models.Q(body__isnull=False, salt__isnull=False, pcommit__isnull=True)
                    | models.Q(body__isnull=True, salt__isnull=True, pcommit__isnull=False)
                ),
                name="event_payload_or_commitment",
            ),
            models.CheckConstraint(
                condition=(
                    models.Q(
                        event_id__isnull=True,
                        participants_n__isnull=True,
                        participants_hash__isnull=True,
                    )
                    | models.Q(
                        event_id__isnull=False,
                        participants_n__gte=2,
                        participants_hash__isnull=False,
                    )
                ),
                name="event_joint_whole",
            ),
            models.UniqueConstraint(
                fields=["battery_id", "event_id"],
                condition=models.Q(event_id__isnull=False),
                name="event_joint_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.battery_id}/{self.seq}"


class Head(models.Model):
    """The end of a chain and its lock. Made by the second event, not at registration."""

    battery_id = models.UUIDField(primary_key=True)
    seq = models.IntegerField()
    leaf = models.BinaryField()
    recorded_at = models.DateTimeField()

    class Meta:
        db_table = "head"

    def __str__(self) -> str:
        return f"{self.battery_id} at {self.seq}"


class UnitQueue(models.Model):
    """Submissions that wait to be sealed; one row each, written with their events."""

    unit = models.BigIntegerField(primary_key=True)
    n = models.IntegerField()

    class Meta:
        db_table = "unit_queue"

    def __str__(self) -> str:
        return f"{self.unit} ({self.n})"


class Submission(models.Model):
    """An append call as its sender made it: one key, one body, one answer.

    The row is claimed before the events are written, in the same transaction; the unique key
    makes a second sender wait for the first and then read its answer.
    """

    id = models.UUIDField(primary_key=True)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="+")
    credential = models.ForeignKey(Credential, models.PROTECT, related_name="+")
    key = models.CharField(max_length=200)
    request_sha256 = models.BinaryField()
    unit = models.BigIntegerField(null=True, unique=True)
    n = models.IntegerField(null=True)
    root = models.BinaryField(null=True)
    answer = models.JSONField(null=True)
    received_at = models.DateTimeField()

    class Meta:
        db_table = "submission"
        constraints = [
            models.UniqueConstraint(fields=["organisation", "key"], name="submission_key_once"),
            hash_length("request_sha256", table="submission"),
            hash_length("root", table="submission"),
        ]

    def __str__(self) -> str:
        return f"{self.organisation_id}: {self.key}"
