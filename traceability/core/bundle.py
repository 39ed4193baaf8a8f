"""One battery's whole history in one file, and the check of it without us.

    python -m traceability.core.bundle FILE

needs Python and this folder, no network, no database and no framework. A bundle is one line of
canonical JSON and a line feed (docs/FORMATS.md, «Bundle»): the records with the payloads the
reader may see and commitments in place of the rest, and the manifests that the payloads commit
to. `verify` returns what was proven and, as plainly, what was not: this version of the bundle
carries no log proof, so nothing in it shows that the file is complete or that everybody is shown
the same.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from traceability.core import canonical, chain, manifest
from traceability.core.errors import Malformed, ProofInvalid, TraceabilityError

FORMAT = "battery-ledger/bundle/v1"

_HEX_DIGITS = frozenset("0123456789abcdef")
_CODE_CHARACTERS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ:._-")
_SCHEME_CHARACTERS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_-abcdefghijklmnopqrstuvwxyz")
_BUNDLE_FIELDS = {"format", "code", "scheme", "events", "manifests", "sha256"}
_EVENT_FIELDS = {
    "seq", "kind", "schema", "occurred_at", "recorded_at", "actor", "site", "joint",
    "body", "salt", "commitment", "leaf",
}  # fmt: skip
_JOINT_FIELDS = {"event_id", "participants_n", "participants_hash"}
_MANIFEST_FIELDS = {"seq", "components"}
# The record's integers and the bound of each (docs/FORMATS.md, «Record»); an actor is bounded
# here by what JSON holds exactly.
_INTEGERS = {
    "seq": 2**31, "kind": 2**15, "schema": 2**15, "actor": canonical.INTEGER_LIMIT, "site": 2**31,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CheckedManifest:
    """A manifest that is the one its event commits to: root of 32 bytes, units by level."""

    seq: int
    root: bytes
    components: int
    modules: int
    cells: int


@dataclass(frozen=True, slots=True)
class CheckedPath:
    """A component's place in the manifest of the pack or lot it came from, `root` 32 bytes."""

    seq: int
    of: str
    root: bytes


@dataclass(frozen=True, slots=True)
class Summary:
    """What a bundle that stands says, and how far the evidence in it reaches.

    `hidden`, `joint` and `manifests_missing` are seqs: of records without payload, of records
    shared with other batteries, of records that commit to a manifest which is not in the file.
    `proven` and `not_proven` are words of FORMATS.md, «What a bundle proves».
    """

    code: str
    scheme: str
    events: int
    head: chain.ChainHead
    first_recorded: datetime
    last_recorded: datetime
    hidden: tuple[int, ...]
    joint: tuple[int, ...]
    manifests: tuple[CheckedManifest, ...]
    manifests_missing: tuple[int, ...]
    paths: tuple[CheckedPath, ...]

    @property
    def proven(self) -> tuple[str, ...]:
        """Return the words for what the file proves."""
        return (
            "chain",
            *(["payloads"] if len(self.hidden) < self.events else []),
            *(["manifest"] if self.manifests else []),
            *(["manifest_path"] if self.paths else []),
        )

    @property
    def not_proven(self) -> tuple[str, ...]:
        """Return the words for what nobody should read out of it."""
        return (
            "completeness",
            "same_for_everyone",
            "time",
            "authorship",
            *(["hidden"] if self.hidden else []),
            *(["joint"] if self.joint else []),
            *(["manifests_missing"] if self.manifests_missing else []),
            *(["origin"] if self.paths else []),
        )


def build_bundle(
    *,
    code: str,
    scheme: str,
    rows: Iterable[chain.ChainRow],
    manifests: Mapping[int, Sequence[manifest.Row]],
    hidden: Collection[int] = (),
) -> str:
    """Return the text of a battery's bundle.

    `rows` are the whole chain in order; `manifests` the component lists by the seq of the event
    that commits to each; `hidden` the seqs whose payload this reader may not see. A manifest
    whose event shows no payload is left out with it. Nothing is verified here: a broken chain
    exports as it is, and the check names the damage.
    """
    events = [_event(row, code=code, is_hidden=row[0] in hidden) for row in rows]
    shown = {event["seq"] for event in events if event["body"] is not None}
    content = {
        "format": FORMAT,
        "code": code,
        "scheme": scheme,
        "events": events,
        "manifests": [
            {"seq": seq, "components": [_component(row) for row in components]}
            for seq, components in sorted(manifests.items())
            if seq in shown
        ],
    }
    return canonical.canonical(content | {"sha256": _checksum(content)}) + "\n"


def verify(data: bytes) -> Summary:
    """Return what a bundle proves, after every hash in it has been made again.

    Raises:
        Malformed: it is not a bundle, or has a second spelling of anything (`reason`, `at`: the
            JSON pointer), or its bytes are not those that were exported (`checksum`).
        ChainBroken: as `chain.verify_chain`.
        ProofInvalid: a manifest or a path is not the one the record commits to (`what`,
            `reason`, `battery`, `seq`).
    """
    content = _parse(data)
    code, events = content["code"], content["events"]
    rows = [_row(event, f"/events/{index}") for index, event in enumerate(events)]
    head = chain.verify_chain(code, rows)
    payloads = {
        seq: _payload(row[10], f"/events/{seq}/body")
        for seq, row in enumerate(rows)
        if row[10] is not None
    }
    checked = _check_manifests(code, content["manifests"], payloads)
    paths = _check_paths(code, payloads)
    listed = {one.seq for one in checked}
    # Last, so that damage which a hash can name is named; this catches it in labels.
    stated = content.pop("sha256")
    if _checksum(content) != stated:
        _refuse("checksum", "/sha256")
    return Summary(
        code=code,
        scheme=content["scheme"],
        events=len(rows),
        head=head,
        first_recorded=chain.moment_of(rows[0][4]),
        last_recorded=chain.moment_of(rows[-1][4]),
        hidden=tuple(row[0] for row in rows if row[10] is None),
        joint=tuple(row[0] for row in rows if row[7] is not None),
        manifests=checked,
        manifests_missing=tuple(
            seq
            for seq, payload in payloads.items()
            # A confirmation names a root, too, but brings no manifest; "" names none.
            if payload.get("manifest_root") and "components" in payload and seq not in listed
        ),
        paths=paths,
    )


def time_text(moment: datetime) -> str:
    """Return an aware datetime in UTC with six places: `2026-09-21T14:13:20.000000Z`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def main(arguments: Sequence[str]) -> int:
    """Verify the file named; print the result in Chinese and English; return the exit code.

    0: everything in the file holds. 1: it does not, or cannot be read. 2: called wrongly.
    """
    from traceability.core import bundle_report

    options = [argument for argument in arguments if argument.startswith("-")]
    if options or len(arguments) != 1:
        sys.stderr.write(bundle_report.usage(options))
        return 2
    name = arguments[0]
    try:
        summary = verify(Path(name).read_bytes())
    except OSError as error:
        bundle_report.show(bundle_report.unreadable(name, error))
        return 1
    except TraceabilityError as error:
        bundle_report.show(bundle_report.failure(name, error))
        return 1
    bundle_report.show(bundle_report.success(name, summary))
    return 0


def _event(row: chain.ChainRow, *, code: str, is_hidden: bool) -> dict[str, Any]:
    (
        seq, kind, schema, occurred_us, recorded_us, actor, site,
        event_id, participants_n, participants_hash, body, salt, pcommit, leaf,
    ) = row  # fmt: skip
    if is_hidden and body is not None and salt is not None:
        pcommit = canonical.commitment(salt, body.encode())
        body = salt = None
    id_bytes = event_id.bytes if isinstance(event_id, UUID) else event_id
    return {
        "seq": seq,
        "kind": kind,
        "schema": schema,
        "occurred_at": time_text(chain.moment_of(occurred_us)),
        "recorded_at": time_text(chain.moment_of(recorded_us)),
        "actor": actor,
        "site": site,
        "joint": None
        if id_bytes is None
        else {
            "event_id": str(UUID(bytes=id_bytes)),
            "participants_n": participants_n,
            "participants_hash": participants_hash and participants_hash.hex(),
        },
        "body": body,
        "salt": salt and salt.hex(),
        "commitment": pcommit and pcommit.hex(),
        "leaf": leaf.hex(),
    }


def _component(row: manifest.Row) -> list[object]:
    _, parent, level, code, lot, line, produced_on = row
    return [parent, level, code, lot, line, manifest.date_text(produced_on)]


def _checksum(content: Mapping[str, Any]) -> str:
    return sha256(canonical.canonical(dict(content)).encode()).hexdigest()


def _parse(data: bytes) -> dict[str, Any]:
    """Return the outer object, its own fields checked, its members not yet."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        _refuse("encoding", "")
    if not text.endswith("\n"):
        # Every byte counts, the last one too: a file cut by one byte is a damaged file.
        _refuse("end", "")
    content = canonical.parse_canonical(text[:-1])
    content = _object(content, _BUNDLE_FIELDS, "")
    if content["format"] != FORMAT:
        _refuse("format", "/format")
    _text(content["code"], _CODE_CHARACTERS, 64, "/code")
    _text(content["scheme"], _SCHEME_CHARACTERS, 32, "/scheme")
    _hash(content["sha256"], "/sha256")
    for name in ("events", "manifests"):
        if not isinstance(content[name], list):
            _refuse("type", f"/{name}")
    return content


def _row(event: object, at: str) -> chain.ChainRow:
    """Return an event of the file as the row that `chain.verify_chain` reads."""
    fields = _object(event, _EVENT_FIELDS, at)
    for name, limit in _INTEGERS.items():
        _integer(fields[name], limit, f"{at}/{name}")
    body, salt, commitment = fields["body"], fields["salt"], fields["commitment"]
    if body is not None and not isinstance(body, str):
        _refuse("type", f"{at}/body")
    event_id, participants_n, participants_hash = _joint(fields["joint"], f"{at}/joint")
    return (
        fields["seq"],
        fields["kind"],
        fields["schema"],
        _microseconds(fields["occurred_at"], f"{at}/occurred_at"),
        _microseconds(fields["recorded_at"], f"{at}/recorded_at"),
        fields["actor"],
        fields["site"],
        event_id,
        participants_n,
        participants_hash,
        body,
        None if salt is None else _hex(salt, canonical.SALT_BYTES, f"{at}/salt"),
        None if commitment is None else _hash(commitment, f"{at}/commitment"),
        _hash(fields["leaf"], f"{at}/leaf"),
    )


def _joint(value: object, at: str) -> tuple[bytes | None, int | None, bytes | None]:
    if value is None:
        return None, None, None
    fields = _object(value, _JOINT_FIELDS, at)
    text = fields["event_id"]
    try:
        event_id = UUID(text) if isinstance(text, str) else None
    except ValueError:
        event_id = None
    if event_id is None or str(event_id) != text:
        _refuse("uuid", f"{at}/event_id")
    _integer(fields["participants_n"], 2**31, f"{at}/participants_n")
    participants_hash = _hash(fields["participants_hash"], f"{at}/participants_hash")
    return event_id.bytes, fields["participants_n"], participants_hash


def _payload(body: str, at: str) -> dict[str, Any]:
    try:
        payload = canonical.parse_canonical(body)
    except Malformed as error:
        raise Malformed(**error.params | {"field": "payload", "in": at}) from None
    if not isinstance(payload, dict):
        _refuse("type", at)
    return payload


def _check_manifests(
    code: str, entries: Sequence[object], payloads: Mapping[int, Mapping[str, Any]]
) -> tuple[CheckedManifest, ...]:
    """Return the manifests of the file, each proven to be the one its event commits to."""
    checked: list[CheckedManifest] = []
    for index, entry in enumerate(entries):
        at = f"/manifests/{index}"
        fields = _object(entry, _MANIFEST_FIELDS, at)
        seq = _integer(fields["seq"], 2**31, f"{at}/seq")
        if checked and seq <= checked[-1].seq:
            _refuse("order", f"{at}/seq")
        payload = payloads.get(seq, {})
        if "manifest_root" not in payload:
            # What no record commits to could say anything.
            _refuse("uncommitted", at)
        try:
            rows = _components(fields["components"], f"{at}/components")
            root = manifest.manifest_root(rows)
        except Malformed as error:
            raise Malformed(**{"at": at, "battery": code, "seq": seq} | error.params) from None
        if root.hex() != payload["manifest_root"]:
            raise ProofInvalid(what="manifest", reason="root", battery=code, seq=seq)
        # True equals 1 in Python.
        count = payload.get("components")
        if type(count) is not int or count != len(rows):
            raise ProofInvalid(what="manifest", reason="count", battery=code, seq=seq)
        if rows[0][3] != code:
            raise ProofInvalid(what="manifest", reason="unit", battery=code, seq=seq)
        levels = [row[2] for row in rows[1:]]
        checked.append(CheckedManifest(seq, root, len(rows), levels.count("M"), levels.count("C")))
    return tuple(checked)


def _components(value: object, at: str) -> list[manifest.Row]:
    if not isinstance(value, list):
        _refuse("type", at)
    rows: list[manifest.Row] = []
    for position, item in enumerate(value):
        if not isinstance(item, list) or [type(part) for part in item] != [int] + [str] * 5:
            _refuse("type", f"{at}/{position}")
        parent, level, code, lot, line, day = item
        rows.append((position, parent, level, code, lot, line, manifest.parse_date(day)))
    return rows


def _check_paths(code: str, payloads: Mapping[int, Mapping[str, Any]]) -> tuple[CheckedPath, ...]:
    """Return the places in other manifests that the payloads prove this battery to have had."""
    paths: list[CheckedPath] = []
    for seq, payload in payloads.items():
        if "manifest_path" not in payload:
            continue
        try:
            of, root = manifest.check_path_claim(payload["manifest_path"], code=code)
        except ProofInvalid as error:
            where = {"what": "manifest_path", "battery": code, "seq": seq}
            raise ProofInvalid(**error.params | where) from None
        paths.append(CheckedPath(seq, of, root))
    return tuple(paths)


def _object(value: object, names: set[str], at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse("type", at)
    if value.keys() != names:
        _refuse("fields", at)
    return value


def _integer(value: object, limit: int, at: str) -> int:
    if type(value) is not int:
        _refuse("type", at)
    if not 0 <= value < limit:
        _refuse("range", at)
    return value


def _text(value: object, characters: frozenset[str], longest: int, at: str) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        _refuse("type", at)
    if not characters.issuperset(value):
        _refuse("characters", at)


def _hash(value: object, at: str) -> bytes:
    return _hex(value, canonical.HASH_BYTES, at)


def _hex(value: object, length: int, at: str) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * length or not _HEX_DIGITS.issuperset(value):
        _refuse("hex", at)
    return bytes.fromhex(value)


def _microseconds(value: object, at: str) -> int:
    # Writing it again is what makes the reading strict: one spelling of a moment.
    if not isinstance(value, str) or len(value) != 27 or value[-1] != "Z":
        _refuse("time", at)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        _refuse("time", at)
    if time_text(moment) != value:
        _refuse("time", at)
    return chain.microseconds(moment)


def _refuse(reason: str, at: str) -> NoReturn:
    raise Malformed(field="bundle", reason=reason, at=at)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
