"""One key, one request, one answer: also for two senders at once."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from django.db import connections, transaction

from tests import stored
from tests.committed import together
from traceability.core import chain, submission
from traceability.core.canonical import commitment
from traceability.core.errors import Malformed, SubmissionConflict
from traceability.core.events import EventKind
from traceability.core.roles import Role
from traceability.models.ledger import Submission
from traceability.services import ledger, submissions
from traceability.services.acting import Actor

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BODY, OTHER_BODY = sha256(b"one").digest(), sha256(b"another").digest()
CODES = ["04QPB52091380JG120000001", "04QPB52091380JG120000002"]


@pytest.fixture
def maker(db) -> Actor:
    return stored.party("maker", Role.BATTERY_MAKER)


def claim(actor: Actor, key: str | None = "k", body: bytes = BODY) -> submissions.Claimed:
    return submissions.claim(actor=actor, key=key, request_sha256=body, now=NOW)


def append(actor: Actor) -> list[ledger.Appended]:
    events = [
        ledger.new_event(
            code=code, expected_seq=-1, kind=EventKind.FACTORY_TEST, schema=1, occurred_at=NOW,
            payload={"n": n},
        )
        for n, code in enumerate(CODES)
    ]  # fmt: skip
    return ledger.append_many(events, credential=actor.credential)


def test_a_new_key_is_claimed_and_a_known_one_has_its_answer(maker):
    first = claim(maker)
    assert not first.is_known
    submissions.answer(first, appended=[], answer={"done": ["一", 2]})
    again = claim(maker)
    assert (again.id, again.answer) == (first.id, {"done": ["一", 2]})
    assert Submission.objects.count() == 1


def test_a_key_with_another_body_is_a_conflict(maker):
    submissions.answer(claim(maker), appended=[], answer={})
    with pytest.raises(SubmissionConflict) as refused:
        claim(maker, body=OTHER_BODY)
    assert refused.value.params == {"key": "k"}


def test_organisations_do_not_share_keys(maker):
    submissions.answer(claim(maker), appended=[], answer={"whose": "maker"})
    other = stored.party("other", Role.OUTLET, number=2)
    assert not claim(other, body=OTHER_BODY).is_known


def test_without_a_key_nothing_is_repeated(maker):
    first, second = claim(maker, key=None), claim(maker, key=None)
    assert first.key != second.key
    assert not second.is_known


@pytest.mark.parametrize("key", ["", "k" * 201, "a\nb", "a\0b", "\u2028"])
def test_a_key_that_is_none_is_refused(maker, key):
    with pytest.raises(Malformed) as refused:
        claim(maker, key=key)
    assert refused.value.params["field"] == "key"
    assert not Submission.objects.exists()


def test_the_row_says_what_was_appended(maker):
    claimed = claim(maker)
    appended = append(maker)
    submissions.answer(claimed, appended=appended, answer={})
    row = Submission.objects.get()
    digests = [
        submission.digest(
            code, EventKind.FACTORY_TEST, 1, chain.microseconds(NOW),
            commitment(record.event.salt, record.event.body.encode()),
        )
        for code, record in zip(CODES, appended, strict=True)
    ]  # fmt: skip
    assert (row.unit, row.n) == (appended[0].unit, 2)
    assert bytes(row.root) == submission.unit_root(digests)


def test_an_answer_is_given_once(maker):
    submissions.answer(claim(maker), appended=[], answer={})
    with pytest.raises(AssertionError):
        submissions.answer(claim(maker), appended=[], answer={"another": True})


def test_two_append_calls_are_no_submission(maker):
    claimed = claim(maker)
    first = append(maker)
    later = ledger.append(
        ledger.new_event(
            code=CODES[0], expected_seq=0, kind=EventKind.FACTORY_TEST, schema=1, occurred_at=NOW,
            payload={},
        ),
        credential=maker.credential,
    )  # fmt: skip
    with pytest.raises(AssertionError):
        submissions.answer(claimed, appended=[*first, later], answer={})


def test_a_claim_needs_the_transaction_of_its_events(committed):
    maker = stored.party("maker", Role.BATTERY_MAKER)
    with pytest.raises(AssertionError):
        claim(maker)


def test_the_web_may_claim_and_answer(maker, as_app):
    claimed = claim(maker)
    submissions.answer(claimed, appended=append(maker), answer={"n": 2})
    assert claim(maker).answer == {"n": 2}


def test_of_two_senders_at_once_one_writes_and_both_have_its_answer(committed):
    maker = stored.party("maker", Role.BATTERY_MAKER)
    written = []

    @transaction.atomic
    def send() -> object:
        claimed = claim(maker)
        if claimed.is_known:
            return claimed.answer
        written.append(1)
        appended = append(maker)
        answer = {"unit": appended[0].unit}
        submissions.answer(claimed, appended=appended, answer=answer)
        return answer

    results = together(send, send, send)
    assert len(written) == 1
    assert results == [results[0]] * 3
    assert isinstance(results[0], dict)


def test_a_second_sender_takes_over_from_one_that_gave_up(committed):
    maker = stored.party("maker", Role.BATTERY_MAKER)
    claimed_first = threading.Event()
    outcomes: list[object] = []

    def second() -> None:
        claimed_first.wait(timeout=10)
        try:
            with transaction.atomic():
                outcomes.append(claim(maker).is_known)
                transaction.set_rollback(True)
        finally:
            connections.close_all()

    thread = threading.Thread(target=second)
    thread.start()
    with transaction.atomic():
        assert not claim(maker).is_known
        claimed_first.set()
        thread.join(timeout=0.3)
        # The second waits at the key until it is clear what becomes of the first.
        assert thread.is_alive()
        transaction.set_rollback(True)
    thread.join(timeout=10)
    assert outcomes == [False]
