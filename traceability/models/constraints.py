"""Constraints that several tables share, so that a rule reads the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from django.db import models
from django.db.models.expressions import RawSQL

# `core.codes` normalises to this alphabet; the database holds everybody else to it.
CODE_PATTERN = r"^[0-9A-Z:._-]{1,64}$"


def vocabulary(field: str, values: Iterable[Enum], *, table: str) -> models.CheckConstraint:
    """Return the CHECK that holds a column to a closed vocabulary (Django's choices do not)."""
    members = [member.value for member in values]
    return models.CheckConstraint(
        condition=models.Q(**{f"{field}__in": members}), name=f"{table}_{field}_known"
    )


def hash_length(field: str, *, table: str) -> models.CheckConstraint:
    """Return the CHECK that a column holds exactly 32 bytes (or is null where it may be)."""
    return models.CheckConstraint(
        condition=RawSQL(  # noqa: S611 - a constant text of this module's callers, no input
            f"{field} IS NULL OR octet_length({field}) = 32",
            (),
            output_field=models.BooleanField(),
        ),
        name=f"{table}_{field}_32_bytes",
    )


def id_derives_from_code(identifier: str, code: str, *, table: str) -> models.CheckConstraint:
    """Return the CHECK that an id is the first 16 bytes of SHA-256 over the code.

    `convert_to`, never `code::bytea`: the cast reads backslash escapes, so two codes could alias.
    """
    return models.CheckConstraint(
        condition=RawSQL(  # noqa: S611 - a constant text of this module's callers, no input
            f"{identifier} = encode(substr(sha256(convert_to({code}, 'UTF8')), 1, 16), 'hex')::uuid"
            f" AND {code} ~ '{CODE_PATTERN}'",
            (),
            output_field=models.BooleanField(),
        ),
        name=f"{table}_id_is_code_hash",
    )
