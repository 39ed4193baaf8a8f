"""What verification can find wrong with the ledger: the closed list, and one finding."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from uuid import UUID


class Damage(StrEnum):
    """A kind of damage. The first six are those of `core.chain.verify_chain`."""

    EMPTY = "empty"
    GAP = "gap"
    ORDER = "order"
    COMMITMENT = "commitment"
    JOINT = "joint"
    LEAF = "leaf"
    BATTERY_MISSING = "battery_missing"
    CHAIN_MISSING = "chain_missing"
    CODE = "code"
    HEAD = "head"
    MANIFEST_MISSING = "manifest_missing"
    MANIFEST_UNREADABLE = "manifest_unreadable"
    MANIFEST_ROOT = "manifest_root"
    MANIFEST_COUNT = "manifest_count"
    MANIFEST_UNIT = "manifest_unit"
    MANIFEST_UNCOMMITTED = "manifest_uncommitted"
    MANIFEST_PATH = "manifest_path"
    PARTICIPANTS_COUNT = "participants_count"
    PARTICIPANTS_HASH = "participants_hash"
    UNIT_COUNT = "unit_count"
    UNIT_ORDINALS = "unit_ordinals"
    UNIT_UNKNOWN = "unit_unknown"
    UNIT_ROOT = "unit_root"


@dataclass(frozen=True, slots=True)
class Found:
    """Damage and where it is: in which battery's chain, at which record, in which submission.

    `battery` is the code, or the id where no code is known, "" where no battery is concerned.
    """

    damage: Damage
    battery: str = ""
    seq: int | None = None
    unit: int | None = None
    detail: str = ""

    def line(self) -> dict[str, object]:
        """Return the finding as a JSON object."""
        return asdict(self) | {"damage": self.damage.value}


@dataclass(slots=True)
class Checked:
    """How much was verified. Nothing at all is a failure of its own."""

    chains: int = 0
    events: int = 0
    manifests: int = 0
    joint_events: int = 0
    units: int = 0


@dataclass(frozen=True, slots=True)
class Scope:
    """What to verify: everything, or (`battery_id`) one battery and what it is part of."""

    battery_id: UUID | None = None
