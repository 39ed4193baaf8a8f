"""Idempotency: one key, one request, one answer, claimed in the transaction of its events.

Two senders of one key meet at the unique index: the second waits there until the first commits
and then reads its answer; if the first rolls back, the second takes its place. An answer holds
codes, places and results, never a person and nothing out of a payload: redaction need not reach it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.db import connection

from traceability.core.errors import Malformed, SubmissionConflict
from traceability.models.ledger import Submission
from traceability.services import ledger
from traceability.services.acting import Actor

LONGEST_KEY = 200


@dataclass(frozen=True, slots=True)
class Claimed:
    """A submission that is this call's to write, or (with `answer`) one that has been written."""

    id: UUID
    key: str
    answer: dict[str, Any] | None

    @property
    def is_known(self) -> bool:
        """Return whether the submission came before and has its answer."""
        return self.answer is not None


def claim(*, actor: Actor, key: str | None, request_sha256: bytes, now: datetime) -> Claimed:
    """Claim a key for the transaction that is open, or return what was answered to it before.

    `request_sha256` (32 bytes) is the hash under which a repeated key must come back; without a
    key the submission gets one of its own and is never repeated.

    Raises:
        SubmissionConflict: the key was used for another request.
        Malformed: the key is empty, too long or not printable.
    """
    ledger.demand_transaction()
    said = f"auto/{uuid4()}" if key is None else _checked(key)
    submission_id = uuid4()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO submission (id, organisation_id, credential_id, key, request_sha256,"
            " received_at) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (
                submission_id,
                actor.organisation.pk,
                actor.credential.pk,
                said,
                request_sha256,
                now,
            ),
        )
        if cursor.rowcount:
            return Claimed(submission_id, said, None)
    # A statement of its own: only its snapshot shows what the insert waited for.
    kept = Submission.objects.only("request_sha256", "answer").get(
        organisation=actor.organisation, key=said
    )
    if bytes(kept.request_sha256) != request_sha256:
        raise SubmissionConflict(key=said)
    if kept.answer is None:
        # Written within this very transaction, or by somebody who forgot to answer.
        raise AssertionError(f"submission {kept.pk} was committed without an answer")
    return Claimed(kept.pk, said, kept.answer)


def answer(
    claimed: Claimed, *, appended: Sequence[ledger.Appended], answer: Mapping[str, Any]
) -> None:
    """Keep the answer of a claimed submission, and the number, size and root of its events.

    `appended` are the records of one append call, none when nothing was appended.
    """
    if claimed.is_known:
        raise AssertionError("a submission is answered once")
    units = {record.unit for record in appended}
    if len(units) > 1:
        raise AssertionError("a submission is one append call")
    root = ledger.unit_root([record.event for record in appended]) if appended else None
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE submission SET unit = %s, n = %s, root = %s, answer = %s::jsonb WHERE id = %s",
            (
                units.pop() if units else None,
                len(appended) or None,
                root,
                json.dumps(answer, ensure_ascii=False, default=str),
                claimed.id,
            ),
        )


def _checked(key: str) -> str:
    if not 1 <= len(key) <= LONGEST_KEY:
        raise Malformed(field="key", reason="length", length=len(key))
    if not key.isprintable():
        raise Malformed(field="key", reason="characters")
    return key
