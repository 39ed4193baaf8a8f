"""What a pack or a production lot is made of: one Merkle tree over its components.

The tree's root stands in the payload of one event of the unit's chain; the list itself is stored
once, packed. Position 0 is the unit itself, and every component names the position of what
contains it (docs/FORMATS.md, «Manifest»):

    leaf = SHA-256(0x00 || "ledger/manifest/v1" 00 || u32 position || u32 parent position
                   || u8 level || u8 len,code || u8 len,lot || u8 len,line || date)

level is `P` pack, `M` module, `C` cell or `L` lot; date is YYYYMMDD in ASCII, `00000000` when
none is known. The tree is that of RFC 6962 over the leaves in order of position.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from typing import NamedTuple, NoReturn, TypeAlias

from traceability.core import merkle
from traceability.core.errors import Malformed

MOST_COMPONENTS = 2**20
# A packed manifest that claims more than this is refused before it is unpacked.
MOST_TEXT_BYTES = 2**26
PACKING_VERSION = 1
NO_DATE = "00000000"

# Lots and packs are never inside anything; what is inside ranks below what contains it.
_RANK = {"L": 3, "P": 3, "M": 2, "C": 1}
_LEVELS = frozenset(_RANK)
_CODE_BYTES = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ:._-"
_LONGEST_CODE = 64
_SERIAL_DIGITS = 7
_HEX_DIGITS = frozenset("0123456789abcdef")
_CLAIM_TYPES = {
    "of": str, "root": str, "components": int, "position": int, "parent": int, "level": str,
    "lot": str, "line": str, "date": str, "path": list,
}  # fmt: skip
_leaf_prefix = sha256(b"\0ledger/manifest/v1\0").copy
_place = struct.Struct(">IIBB").pack
_packing_header = struct.Struct(">BI")
# One byte for the length, then the bytes themselves.
_LENGTH = tuple(bytes((length,)) for length in range(256))


class Component(NamedTuple):
    """One component. Functions here take plain tuples of the same seven fields as well."""

    position: int
    parent: int
    level: str
    code: str
    lot: str
    line: str
    produced_on: date | None


Row: TypeAlias = tuple[int, int, str, str, str, str, date | None]
_Marks: TypeAlias = tuple[str, str, date | None]


@dataclass(frozen=True, slots=True)
class Built:
    """A manifest ready to be stored: `root` (32 bytes), `packed`, the number of components."""

    root: bytes
    packed: bytes
    size: int


@dataclass(frozen=True, slots=True)
class ManifestPath:
    """The proof that a component stands in a manifest of `size` components."""

    component: Component
    size: int
    hashes: tuple[bytes, ...]


def build(components: Sequence[Row]) -> Built:
    """Return root and packed form of a manifest in one pass: the path for bulk.

    Raises:
        Malformed: field `manifest`, with `reason` and `position`, as in `check_structure`.
    """
    check_structure(components)
    return Built(merkle.root_of(_leaves(components)), _packed(components), len(components))


def manifest_root(components: Sequence[Row]) -> bytes:
    """Return the Merkle root over the components in order of position, 32 bytes."""
    check_structure(components)
    return merkle.root_of(_leaves(components))


def manifest_path(components: Sequence[Row], position: int) -> ManifestPath:
    """Return the proof that the component at `position` stands in this manifest."""
    check_structure(components)
    if not 0 <= position < len(components):
        _refuse("position", position)
    hashes = merkle.prove_inclusion(_leaves(components), position)
    return ManifestPath(Component(*components[position]), len(components), tuple(hashes))


def check_path(path: ManifestPath, root: bytes) -> None:
    """Return when the component of the path stands in the manifest with this root.

    Raises:
        ProofInvalid: it does not.
        Malformed: the component is none.
    """
    merkle.check_inclusion(
        leaf=component_leaf(path.component),
        index=path.component.position,
        size=path.size,
        path=path.hashes,
        root=root,
    )


def path_claim(path: ManifestPath, *, of: str, root: bytes) -> dict[str, object]:
    """Return the proof as a JSON value for the payload of a component's own first record.

    It stands there under `manifest_path`. `of` is the code of the pack or lot whose manifest has
    this root. The component's own code is left out: it is that of the chain.
    """
    check_path(path, root)
    component = path.component
    return {
        "of": of,
        "root": root.hex(),
        "components": path.size,
        "position": component.position,
        "parent": component.parent,
        "level": component.level,
        "lot": component.lot,
        "line": component.line,
        "date": date_text(component.produced_on),
        "path": [sibling.hex() for sibling in path.hashes],
    }


def check_path_claim(claim: object, *, code: str) -> tuple[str, bytes]:
    """Return whose manifest, and which root, a claim proves this code to stand in.

    Raises:
        Malformed: the claim is none (`reason` is `claim`, or what is wrong with the component).
        ProofInvalid: the proof does not hold for this code.
    """
    # Exact types: in Python true is an integer too, in JSON it is not.
    if not isinstance(claim, dict) or {key: type(claim[key]) for key in claim} != _CLAIM_TYPES:
        _refuse("claim")
    marks = claim["lot"], claim["line"], parse_date(claim["date"])
    component = Component(claim["position"], claim["parent"], claim["level"], code, *marks)
    siblings = tuple(_hash_from_hex(text) for text in claim["path"])
    of, root, size = claim["of"], _hash_from_hex(claim["root"]), claim["components"]
    _check_codes([of])
    check_path(ManifestPath(component, size, siblings), root)
    return of, root


def component_leaf(component: Row) -> bytes:
    """Return the leaf hash of one component, 32 bytes."""
    position, parent, level, code, lot, line, produced_on = component
    if not 0 <= position < MOST_COMPONENTS:
        _refuse("position")
    if not 0 <= parent <= position or (position and parent == position):
        _refuse("parent", position)
    if level not in _LEVELS:
        _refuse("level", position)
    _check_codes([code])
    return _leaves([(position, parent, level, code, lot, line, produced_on)])[0]


def check_structure(components: Sequence[Row]) -> None:
    """Return when the components form one unit: the rules of containment hold.

    Position 0 is the unit and its own parent; all others follow what contains them and rank
    below it (pack or lot > module > cell); no code stands twice.

    Raises:
        Malformed: field `manifest`, `position` of the first offender where one is known, and
            `reason`: `count`, `position`, `parent`, `level`, `code`, `duplicate`.
    """
    if not 1 <= len(components) <= MOST_COMPONENTS:
        _refuse("count")
    ranks: list[int] = []
    add_rank = ranks.append
    rank_of = _RANK.get
    for expected, (position, parent, level, *_) in enumerate(components):
        if position != expected:
            _refuse("position", expected)
        rank = rank_of(level)
        if rank is None:
            _refuse("level", position)
        if position:
            if not 0 <= parent < position:
                _refuse("parent", position)
            if rank >= ranks[parent]:
                _refuse("level", position)
        elif parent:
            _refuse("parent", 0)
        add_rank(rank)
    _check_codes([component[3] for component in components])


def pack_manifest(components: Sequence[Row]) -> bytes:
    """Return the storage form: version, length and the deflated text of FORMATS.md."""
    check_structure(components)
    _check_marks(components)
    return _packed(components)


def unpack_manifest(packed: bytes) -> list[Component]:
    """Return the components of a packed manifest.

    Raises:
        Malformed: field `packed_manifest`, with the reason; also for text that is not exactly
            what `pack_manifest` would have compressed.
    """
    text = _inflate(packed)
    lines = text.split("\n")
    levels = lines[0]
    n = len(levels)
    if len(lines) != 3 * n + 1 or not _LEVELS.issuperset(levels) or not 1 <= n <= MOST_COMPONENTS:
        raise Malformed(field="packed_manifest", reason="shape")
    try:
        components = list(_components(levels, lines[1 : n + 1], lines[n + 1 :]))
        check_structure(components)
        _check_marks(components)
        if _text(components) != text:
            raise Malformed(field="packed_manifest", reason="spelling")
    except ValueError:
        raise Malformed(field="packed_manifest", reason="value") from None
    return components


def fingerprint_of(code: str) -> int:
    """Return the first 8 bytes of SHA-256 over the code as a signed integer."""
    return int.from_bytes(sha256(code.encode()).digest()[:8], "big", signed=True)


def date_text(produced_on: date | None) -> str:
    """Return a day as YYYYMMDD, `00000000` for none."""
    if produced_on is None:
        return NO_DATE
    if isinstance(produced_on, datetime):
        # A moment has no day before a time zone has been chosen.
        raise Malformed(field="manifest", reason="date", text=produced_on.isoformat())
    return f"{produced_on.year:04}{produced_on.month:02}{produced_on.day:02}"


def parse_date(text: str) -> date | None:
    """Return the day that `date_text` wrote."""
    if text == NO_DATE:
        return None
    if len(text) == 8 and text.isascii() and text.isdigit():
        try:
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
        except ValueError:
            pass
    raise Malformed(field="manifest", reason="date", text=text)


def _leaves(components: Sequence[Row]) -> list[bytes]:
    """Return the leaf hashes of components whose structure has been checked."""
    leaves: list[bytes] = []
    append = leaves.append
    ord_of = {level: ord(level) for level in _RANK}
    # A line's output shares lot, line and day, so their bytes are made once.
    tails: dict[_Marks, bytes] = {}
    tail_of = tails.get
    for component in components:
        position, parent, level, code, *_ = component
        marks = component[4:]
        tail = tail_of(marks)
        if tail is None:
            tail = tails[marks] = _tail(*marks, position)
        code_bytes = code.encode()
        state = _leaf_prefix()
        state.update(_place(position, parent, ord_of[level], len(code_bytes)) + code_bytes + tail)
        append(state.digest())
    return leaves


def _tail(lot: str, line: str, produced_on: date | None, position: int) -> bytes:
    """Return the part of a leaf behind the code. Both texts: 0-255 bytes, no control character."""
    parts: list[bytes] = []
    for name, text in (("lot", lot), ("line", line)):
        if any(character < " " or character == "\x7f" for character in text):
            _refuse(name, position)
        try:
            data = text.encode()
        except UnicodeEncodeError:
            _refuse(name, position)
        if len(data) > 255:
            _refuse(name, position)
        parts += (_LENGTH[len(data)], data)
    return b"".join(parts) + date_text(produced_on).encode()


def _check_marks(components: Sequence[Row]) -> None:
    first_with = {component[4:]: component[0] for component in reversed(components)}
    for marks, position in first_with.items():
        _tail(*marks, position)


def _check_codes(codes: Sequence[str]) -> None:
    # Deleting every permitted byte at once is thirty times faster than a pattern for each code.
    joined = "\n".join(codes)
    strays = joined.encode(errors="replace").translate(None, _CODE_BYTES)
    if (
        len(strays) != len(codes) - 1
        or not 1 <= min(map(len, codes)) <= max(map(len, codes)) <= _LONGEST_CODE
    ):
        permitted = frozenset(_CODE_BYTES.decode())
        offenders = (
            position
            for position, code in enumerate(codes)
            if not 1 <= len(code) <= _LONGEST_CODE or not permitted.issuperset(code)
        )
        _refuse("code", next(offenders))
    if len(set(codes)) != len(codes):
        first_at = {code: position for position, code in reversed(list(enumerate(codes)))}
        _refuse("duplicate", next(at for at, code in enumerate(codes) if first_at[code] != at))


def _packed(components: Sequence[Row]) -> bytes:
    text = _text(components).encode()
    if len(text) > MOST_TEXT_BYTES:
        _refuse("count")
    return _packing_header.pack(PACKING_VERSION, len(text)) + zlib.compress(text)


def _text(components: Sequence[Row]) -> str:
    """Return the text that is deflated: what repeats or counts up within a level is left out."""
    codes: list[str] = []
    parents: list[str] = []
    marks_given: list[str] = []
    next_code: dict[str, str] = {}
    last_parent = dict.fromkeys(_RANK, 0)
    last_marks: dict[str, _Marks] = {}
    for component in components:
        _, parent, level, code, lot, line, produced_on = component
        codes.append("" if code == next_code.get(level) else code)
        next_code[level] = _successor(code)
        if parent == last_parent[level]:
            parents.append("")
        else:
            last_parent[level] = parent
            parents.append(str(parent))
        marks = component[4:]
        if marks == last_marks.get(level):
            marks_given.append("")
        else:
            last_marks[level] = marks
            marks_given.append(f"{lot}\t{line}\t{date_text(produced_on)}")
    levels = "".join([component[2] for component in components])
    return "\n".join([levels, *codes, *parents, *marks_given])


def _components(levels: str, codes: Sequence[str], rest: Sequence[str]) -> Iterable[Component]:
    """Yield what the lines of a packed text say. Raises ValueError where they say nothing."""
    n = len(levels)
    next_code: dict[str, str] = {}
    last_parent = dict.fromkeys(_RANK, 0)
    last_marks: dict[str, _Marks] = {}
    for position, level in enumerate(levels):
        code = codes[position] or next_code.get(level, "")
        next_code[level] = _successor(code)
        if rest[position]:
            last_parent[level] = int(rest[position])
        if rest[n + position]:
            lot, line, day = rest[n + position].split("\t")
            last_marks[level] = lot, line, parse_date(day)
        if level not in last_marks:
            raise ValueError("the first component of a level states its marks")
        yield Component(position, last_parent[level], level, code, *last_marks[level])


def _successor(code: str) -> str:
    """Return the code whose seven-digit serial is one higher; "" when there is none."""
    serial = code[-_SERIAL_DIGITS:]
    if len(serial) == _SERIAL_DIGITS and serial.isdigit() and serial != "9999999":
        return code[:-_SERIAL_DIGITS] + str(int(serial) + 10_000_001)[1:]
    return ""


def _inflate(packed: bytes) -> str:
    """Return the text of a packed manifest, never longer than it says and than is permitted."""
    if len(packed) < _packing_header.size:
        raise Malformed(field="packed_manifest", reason="length")
    version, length = _packing_header.unpack_from(packed)
    if version != PACKING_VERSION:
        raise Malformed(field="packed_manifest", reason="version", version=version)
    if length > MOST_TEXT_BYTES:
        raise Malformed(field="packed_manifest", reason="length", length=length)
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed[_packing_header.size :], length + 1)
        if len(data) != length or not inflater.eof or inflater.unused_data:
            raise Malformed(field="packed_manifest", reason="length", length=length)
        return data.decode()
    except (zlib.error, UnicodeDecodeError):
        raise Malformed(field="packed_manifest", reason="damaged") from None


def _hash_from_hex(text: object) -> bytes:
    if not isinstance(text, str) or len(text) != 64 or not _HEX_DIGITS.issuperset(text):
        _refuse("claim")
    return bytes.fromhex(text)


def _refuse(reason: str, position: int | None = None) -> NoReturn:
    raise Malformed(field="manifest", reason=reason, position=position)
