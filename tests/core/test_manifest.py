"""What packs and lots are made of: the tree, its rules, its proofs and its storage form."""

import struct
import zlib
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import naive
from traceability.core import chain, manifest, merkle
from traceability.core.errors import Malformed, ProofInvalid

VECTOR = naive.vector("manifest.json")
DAY = date(2026, 11, 20)
CONTROLS = "".join(map(chr, [*range(32), 127]))


def row_of(fields):
    *rest, day = fields
    return (*rest, manifest.parse_date(day))


ROWS = [row_of(fields) for fields in VECTOR["components"]]
ROOT = bytes.fromhex(VECTOR["root"])
PACK, MODULE, CELL = ROWS[0], ROWS[1], ROWS[2]


def naive_leaf(row):
    *rest, produced_on = row
    return naive.manifest_leaf(
        *rest, produced_on.isoformat().replace("-", "") if produced_on else "0" * 8
    )


def pack_of(modules=8, cells=96, serial=1, step=1):
    """A pack as a factory makes it: modules and cells with serials that count up by `step`."""
    rows = [(0, 0, "P", f"04QPE0A1234567GBK{serial:07}", "L-1120", "总装3线", DAY)]
    for n in range(modules):
        code = f"04QME0B1234567GBJ{serial * modules + n:07}"
        rows.append((len(rows), 0, "M", code, "M-1119", "M2", DAY))
    for n in range(cells):
        code = f"04QCE0C1234567GBH{(serial * cells + n) * step % 10**7:07}"
        rows.append((len(rows), 1 + n % modules if modules else 0, "C", code, "C-1", "C1", DAY))
    return rows


@st.composite
def manifests(draw):
    """Any tree the rules allow, with texts and days of every kind."""
    codes = draw(
        st.lists(
            st.text("09AZ:._-", min_size=1, max_size=9)
            | st.integers(0, 10**7 - 1).map("04QCE0C1234567GBH{:07}".format),
            min_size=1,
            max_size=12,
            unique=True,
        )
    )
    texts = st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters=CONTROLS),
        max_size=5,
    )
    days = st.none() | st.dates(date(1, 1, 1))
    rows = [(0, 0, draw(st.sampled_from("PLM")), codes[0], draw(texts), draw(texts), draw(days))]
    for position, code in enumerate(codes[1:], 1):
        parent = draw(st.sampled_from([r[0] for r in rows if r[2] != "C"]))
        level = "C" if rows[parent][2] == "M" else draw(st.sampled_from("MC"))
        rows.append((position, parent, level, code, draw(texts), draw(texts), draw(days)))
    return rows


def refusal_of(call, *arguments):
    with pytest.raises(Malformed) as refusal:
        call(*arguments)
    return refusal.value.params["reason"], refusal.value.params.get("position")


def test_published_manifest():
    leaves = [manifest.component_leaf(row) for row in ROWS]
    assert [leaf.hex() for leaf in leaves] == VECTOR["leaves"]
    assert naive.h(bytes.fromhex(VECTOR["leaf_input_of_2"])).hex() == VECTOR["leaves"][2]
    built = manifest.build(ROWS)
    assert manifest.manifest_root(ROWS) == built.root == ROOT
    assert built.size == 5
    for position in (2, 4):
        path = manifest.manifest_path(ROWS, position)
        assert [one.hex() for one in path.hashes] == VECTOR[f"path_of_{position}"]
    assert zlib.decompress(built.packed[5:]).decode() == VECTOR["packed_text"]
    assert manifest.unpack_manifest(built.packed) == ROWS


@pytest.mark.parametrize(("code", "fingerprint"), VECTOR["fingerprints"].items())
def test_published_fingerprints(code, fingerprint):
    assert manifest.fingerprint_of(code) == fingerprint
    assert -(2**63) <= fingerprint < 2**63


@given(manifests())
def test_root_and_leaves_equal_the_naive_definition(rows):
    leaves = [naive_leaf(row) for row in rows]
    assert [manifest.component_leaf(row) for row in rows] == leaves
    assert manifest.build(rows).root == manifest.manifest_root(rows) == naive.merkle_root(leaves)


@given(manifests())
def test_unpacking_is_the_inverse_of_packing(rows):
    packed = manifest.pack_manifest(rows)
    assert manifest.unpack_manifest(packed) == rows
    assert manifest.build(rows) == manifest.Built(manifest.manifest_root(rows), packed, len(rows))


@given(manifests(), st.data())
def test_every_component_has_a_path(rows, data):
    position = data.draw(st.integers(0, len(rows) - 1))
    path = manifest.manifest_path(rows, position)
    assert path.component == rows[position]
    manifest.check_path(path, manifest.manifest_root(rows))


def test_a_pack_with_serials_in_sequence_takes_a_few_bytes_a_cell():
    rows = pack_of()
    assert len(manifest.pack_manifest(rows)) < 3 * len(rows)
    scattered = pack_of(step=7_654_321)
    assert len(manifest.pack_manifest(scattered)) < 10 * len(scattered)
    assert manifest.unpack_manifest(manifest.pack_manifest(scattered)) == scattered


@pytest.mark.parametrize(
    "rows",
    [
        [PACK],
        [(0, 0, "P", "PACK", "", "", None), (1, 0, "C", "CELL", "", "", None)],
        [(0, 0, "L", "LOT:91350100TEST:7", "7", "", DAY), (1, 0, "C", "A9999999", "", "", DAY)],
        [(0, 0, "L", "LOT:91350100TEST:7", "7", "", DAY), MODULE, CELL],
        [(0, 0, "M", "M1", "", "", None), (1, 0, "C", "C1", "", "", None)],
        pack_of(modules=0, cells=4),
    ],
)
def test_packs_lots_and_loose_modules_are_manifests(rows):
    assert manifest.unpack_manifest(manifest.pack_manifest(rows)) == rows


def with_row(index, /, **fields):
    rows = list(ROWS)
    rows[index] = manifest.Component(*rows[index])._replace(**fields)
    return rows


@pytest.mark.parametrize("call", [manifest.build, manifest.manifest_root, manifest.pack_manifest])
@pytest.mark.parametrize(
    ("rows", "reason", "position"),
    [
        ([], "count", None),
        (with_row(1, position=2), "position", 1),
        (ROWS[1:], "position", 0),
        ([*ROWS[:2], *ROWS[3:]], "position", 2),
        (with_row(0, parent=1), "parent", 0),
        (with_row(2, parent=2), "parent", 2),
        (with_row(2, parent=3), "parent", 2),
        (with_row(2, parent=-1), "parent", 2),
        (with_row(2, level="M"), "level", 2),
        (with_row(1, level="P"), "level", 1),
        (with_row(1, level="L"), "level", 1),
        (with_row(1, level="C"), "level", 2),
        (with_row(0, level="C"), "level", 1),
        (with_row(0, level="m"), "level", 0),
        (with_row(0, level=""), "level", 0),
        (with_row(3, parent=2), "level", 3),
        (with_row(2, code=""), "code", 2),
        (with_row(2, code="A" * 65), "code", 2),
        (with_row(2, code="lower"), "code", 2),
        (with_row(2, code="A\nB"), "code", 2),
        (with_row(2, code="A B"), "code", 2),
        (with_row(2, code="电"), "code", 2),
        (with_row(2, code="\ud800"), "code", 2),
        (with_row(2, code=ROWS[4][3]), "duplicate", 4),
        (with_row(4, code=PACK[3]), "duplicate", 4),
        (with_row(2, lot="x" * 256), "lot", 2),
        (with_row(2, lot="电" * 86), "lot", 2),
        (with_row(2, lot="a\tb"), "lot", 2),
        (with_row(2, lot="a\0"), "lot", 2),
        (with_row(2, line="\x7f"), "line", 2),
        (with_row(2, line="\ud800"), "line", 2),
    ],
)
def test_what_is_no_unit_is_refused(call, rows, reason, position):
    assert refusal_of(call, rows) == (reason, position)


def test_texts_up_to_255_bytes_are_hashed():
    row = (0, 0, "P", "A" * 64, "x" * 255, "电" * 85, date(1, 2, 3))
    assert manifest.component_leaf(row) == naive.manifest_leaf(*row[:6], "00010203")
    assert manifest.unpack_manifest(manifest.pack_manifest([row])) == [row]


def test_a_moment_is_no_day():
    rows = with_row(2, produced_on=datetime(2026, 1, 1))  # noqa: DTZ001 - refused either way
    assert refusal_of(manifest.manifest_root, rows)[0] == "date"


@pytest.mark.parametrize(
    "text", ["20260229", "2026011", "00000001", "２０２６０１０１", "+2026101", "", "2026-1-1"]
)
def test_only_days_of_the_calendar_are_dates(text):
    assert refusal_of(manifest.parse_date, text)[0] == "date"


@given(st.none() | st.dates())
def test_dates_read_as_they_are_written(day):
    assert manifest.parse_date(manifest.date_text(day)) == day


def test_too_many_components_are_refused(monkeypatch):
    monkeypatch.setattr(manifest, "MOST_COMPONENTS", 4)
    assert refusal_of(manifest.manifest_root, ROWS) == ("count", None)
    assert refusal_of(manifest.component_leaf, ROWS[4]) == ("position", None)


def test_too_long_a_text_is_not_packed(monkeypatch):
    monkeypatch.setattr(manifest, "MOST_TEXT_BYTES", 100)
    assert refusal_of(manifest.build, ROWS) == ("count", None)


@pytest.mark.parametrize("position", [-1, 5])
def test_there_is_no_path_outside_the_manifest(position):
    assert refusal_of(manifest.manifest_path, ROWS, position) == ("position", position)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"position": -1}, "position"),
        ({"parent": 3}, "parent"),
        ({"parent": 2}, "parent"),
        ({"parent": -1}, "parent"),
        ({"level": "X"}, "level"),
        ({"code": "a"}, "code"),
        ({"lot": "\n"}, "lot"),
    ],
)
def test_a_path_for_no_component_is_malformed(fields, reason):
    path = manifest.manifest_path(ROWS, 2)
    other = manifest.ManifestPath(path.component._replace(**fields), path.size, path.hashes)
    assert refusal_of(manifest.check_path, other, ROOT)[0] == reason


OTHER_VALUES = {
    "position": 3,
    "parent": 0,
    "level": "M",
    "code": CELL[3][:-1] + "9",
    "lot": "C-1119",
    "line": "",
    "produced_on": None,
}


@pytest.mark.parametrize(("field", "value"), OTHER_VALUES.items())
def test_a_component_changed_in_any_field_has_no_path(field, value):
    path = manifest.manifest_path(ROWS, 2)
    changed = path.component._replace(**{field: value})
    with pytest.raises(ProofInvalid):
        manifest.check_path(manifest.ManifestPath(changed, 5, path.hashes), ROOT)


@pytest.mark.parametrize("field", ["parent", "code", "lot", "line", "produced_on"])
def test_a_component_changed_in_any_field_changes_the_root(field):
    assert manifest.manifest_root(with_row(2, **{field: OTHER_VALUES[field]})) != ROOT


def test_neighbouring_fields_do_not_run_into_each_other():
    one = (0, 0, "P", "AB", "C", "D", None)
    for other in [(*one[:3], "A", "BC", "D", None), (*one[:3], "AB", "", "CD", None)]:
        assert manifest.component_leaf(one) != manifest.component_leaf(other)


def repacked(text, length=None):
    data = text.encode()
    return struct.pack(">BI", 1, len(data) if length is None else length) + zlib.compress(data)


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"", "length"),
        (b"\1\0\0\0", "length"),
        (b"\2" + manifest.pack_manifest(ROWS)[1:], "version"),
        (manifest.pack_manifest(ROWS)[:-1], "length"),
        (manifest.pack_manifest(ROWS) + b"\0", "length"),
        (repacked(VECTOR["packed_text"], length=10), "length"),
        (repacked(VECTOR["packed_text"], length=1000), "length"),
        (struct.pack(">BI", 1, 2**32 - 1) + zlib.compress(b"x"), "length"),
        (struct.pack(">BI", 1, 2) + zlib.compress(b"\xff\xfe"), "damaged"),
        (struct.pack(">BI", 1, 2) + b"not deflated", "damaged"),
        (repacked(""), "shape"),
        (repacked("P"), "shape"),
        (repacked("PX\nA\nB\n\n\n\t\t00000000\n"), "shape"),
        (repacked("P\nA\n\n\t\t00000000\n"), "shape"),
        (repacked("P\nA\nx\n\t\t00000000"), "value"),
        (repacked("P\nA\n\n\t00000000"), "value"),
        (repacked("P\nA\n\n"), "value"),
        (repacked("P\n\n\n\t\t00000000"), "code"),
        (repacked("P\nA\n\n\t\t20260230"), "date"),
        (repacked("P\nA\n1\n\t\t00000000"), "parent"),
        (repacked("P\nA\n\n\x01\t\t00000000"), "lot"),
        (repacked("P\nA\n0\n\t\t00000000"), "spelling"),
        (repacked("P\nA\n+0\n\t\t00000000"), "spelling"),
        (
            repacked("PCC\nA\nB0000001\nB0000002\n\n\n\n\t\t00000000\n\t\t00000000\n"),
            "spelling",
        ),
        (
            repacked("PC\nA\nB\n\n\n\t\t00000000\n\t\t00000000\n"),
            "shape",
        ),
    ],
)
def test_a_packed_manifest_has_one_reading(packed, reason):
    assert refusal_of(manifest.unpack_manifest, packed)[0] == reason


def test_unpacking_stops_at_the_length_it_was_told():
    bomb = struct.pack(">BI", 1, 20) + zlib.compress(bytes(50_000_000))
    assert refusal_of(manifest.unpack_manifest, bomb)[0] == "length"


def test_no_flipped_bit_of_a_packed_manifest_reads_as_another_manifest():
    packed = manifest.pack_manifest(ROWS)
    for bit in range(8 * len(packed)):
        flipped = bytearray(packed)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            rows = manifest.unpack_manifest(bytes(flipped))
        except Malformed:
            continue
        # Deflate has bits that mean nothing (window size, padding); they change nothing.
        assert rows == ROWS


CLAIM = manifest.path_claim(manifest.manifest_path(ROWS, 2), of=PACK[3], root=ROOT)


def test_a_claim_proves_a_component_by_its_own_code():
    assert manifest.check_path_claim(CLAIM, code=CELL[3]) == (PACK[3], ROOT)
    with pytest.raises(ProofInvalid):
        manifest.check_path_claim(CLAIM, code=ROWS[3][3])


def test_no_claim_is_made_that_does_not_hold():
    path = manifest.manifest_path(ROWS, 2)
    with pytest.raises(ProofInvalid):
        manifest.path_claim(path, of=PACK[3], root=bytes(32))


@pytest.mark.parametrize(
    "claim",
    [
        None,
        [],
        {},
        CLAIM | {"more": 1},
        {key: CLAIM[key] for key in CLAIM if key != "lot"},
        CLAIM | {"position": True},
        CLAIM | {"position": "2"},
        CLAIM | {"root": ROOT.hex().upper()},
        CLAIM | {"root": ROOT.hex()[:-2]},
        CLAIM | {"path": [None]},
        CLAIM | {"path": ["0" * 63 + "g"]},
        CLAIM | {"date": "2026-1-1"},
        CLAIM | {"of": "pack"},
    ],
)
def test_what_is_no_claim_is_refused(claim):
    with pytest.raises(Malformed):
        manifest.check_path_claim(claim, code=CELL[3])


@pytest.mark.parametrize(
    "change",
    [
        {"root": bytes(32).hex()},
        {"components": 2},
        {"position": 3},
        {"parent": 0},
        {"level": "M"},
        {"lot": ""},
        {"line": ""},
        {"date": "00000000"},
        {"path": CLAIM["path"][:-1]},
        {"path": CLAIM["path"][::-1]},
    ],
)
def test_a_claim_changed_anywhere_does_not_hold(change):
    with pytest.raises(ProofInvalid):
        manifest.check_path_claim(CLAIM | change, code=CELL[3])


def test_a_component_never_passes_for_a_record():
    entry = bytes.fromhex(VECTOR["leaf_input_of_2"])[1:]
    assert merkle.leaf_hash(entry) == manifest.component_leaf(CELL)
    # A record begins with its version, a component with its tag: no bytes are both.
    assert entry[0] != chain.RECORD_VERSION
