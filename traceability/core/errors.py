"""The error tree: every refusal and every failure of evidence, each with a stable code.

`code` is part of the public interface (`problem+json`, job rows, command output) and never
changes once released. `params` carry the facts a sentence needs; the sentence itself is made at
the edge, in the reader's language. HTTP is the adapter's business.
"""

from __future__ import annotations

from typing import ClassVar


class TraceabilityError(Exception):
    """Root of everything this product raises on purpose."""

    code: ClassVar[str] = "error"

    def __init__(self, **params: object) -> None:
        self.params: dict[str, object] = params
        super().__init__(self.code)

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"{self.code}({facts})"


class Malformed(TraceabilityError):
    """The input is not a code, event, note or quantity at all. Params: field, text, reason."""

    code = "malformed"


class RuleViolation(TraceabilityError):
    """Well-formed, but the rules refuse it now."""

    code = "rule_violation"


class TransitionRefused(RuleViolation):
    """A permission asked for in a state that does not give it. Params: state, kind."""

    code = "transition_refused"


class AlreadyRegistered(RuleViolation):
    """A code that has a chain is registered again. Params: battery."""

    code = "already_registered"


class PrerequisiteMissing(RuleViolation):
    """Something that must exist first does not. Params: what."""

    code = "prerequisite_missing"


class SubmissionConflict(RuleViolation):
    """An idempotency key came back with another body. Params: key."""

    code = "submission_conflict"


class NotPermitted(TraceabilityError):
    """This actor may not do this. Params: act, and what it was tried on."""

    code = "not_permitted"


class NotFound(TraceabilityError):
    """Nothing of that name is visible to this actor. Params: what, key."""

    code = "not_found"


class StaleHead(TraceabilityError):
    """The chain moved since it was read: read again, decide again. Params: battery."""

    code = "stale_head"


class LedgerBusy(TraceabilityError):
    """The ledger cannot take this now; the same call later may succeed. Params: retry_after_s."""

    code = "ledger_busy"


class IntegrityFailure(TraceabilityError):
    """Our own evidence does not hold: an alarm, never swallowed and never retried."""

    code = "integrity_failure"


class ChainBroken(IntegrityFailure):
    """A record does not follow from its predecessor. Params: battery, seq, damage."""

    code = "chain_broken"


class ProofInvalid(IntegrityFailure):
    """A proof does not lead to the root it claims. Params: what, reason."""

    code = "proof_invalid"
