"""One battery's history in one file: what stands, what is refused and how it is named."""

import io
import json
import runpy
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import naive
from traceability.core import bundle, bundle_report, canonical, chain, manifest
from traceability.core.errors import ChainBroken, Malformed, ProofInvalid, TraceabilityError

ROOT_FOLDER = Path(__file__).parents[2]
FILE = naive.VECTORS / "bundle.json"
DATA = FILE.read_bytes()
PACK = "04QPE0A1234567GBK0000042"
CELL = "04QCE0C1234567GBH0000101"
COMPONENTS = [
    (*fields[:-1], manifest.parse_date(fields[-1]))
    for fields in naive.vector("manifest.json")["components"]
]
EVENT_ID = UUID("0192f1d4-7c3e-7a11-8d5b-5e0c1f2a3b4c")
START_US = 1_790_000_000_000_000


def sealed(content):
    """The bytes of a bundle with this content and a checksum that fits, however wrong it is."""
    content = {key: content[key] for key in content if key != "sha256"}
    content["sha256"] = sha256(naive.canonical(content).encode()).hexdigest()
    return naive.canonical(content).encode() + b"\n"


def altered(change, data=DATA):
    """The published bundle after a change made by somebody who also mends the checksum."""
    content = json.loads(data)
    change(content)
    return sealed(content)


def rows_of(payloads, *, code=PACK, joint=()):
    rows, prev = [], bytes(32)
    for seq, payload in enumerate(payloads):
        body, salt = canonical.canonical(payload), bytes([seq]) * 16
        pcommit = canonical.commitment(salt, body.encode())
        shared = (EVENT_ID, 2, bytes(32)) if seq in joint else (None, None, None)
        if seq in joint:
            pcommit = canonical.joint_commitment(*shared, pcommit)
        at = START_US + seq
        leaf = chain.leaf_of(1, seq, at, at, 7, 0, 1, code.encode(), prev, pcommit)
        rows.append((seq, 1, 1, at, at, 7, 0, *shared, body, salt, None, leaf))
        prev = leaf
    return rows


def birth(components=COMPONENTS):
    root = manifest.manifest_root(components).hex()
    return {"manifest_root": root, "components": len(components)}


def exported(payloads, *, code=PACK, manifests=None, **more):
    text = bundle.build_bundle(
        code=code,
        scheme="GBT34014_24",
        rows=rows_of(payloads, code=code, joint=more.pop("joint", ())),
        manifests={} if manifests is None else manifests,
        **more,
    )
    return text.encode()


def test_published_bundle():
    summary = bundle.verify(DATA)
    assert (summary.code, summary.scheme, summary.events) == (PACK, "GBT34014_24", 3)
    assert summary.head == chain.ChainHead(2, bytes.fromhex(json.loads(DATA)["events"][2]["leaf"]))
    assert summary.hidden == (1,)
    assert summary.joint == (2,)
    assert summary.manifests == (
        bundle.CheckedManifest(0, manifest.manifest_root(COMPONENTS), 5, 1, 3),
    )
    assert summary.first_recorded.isoformat() == "2026-09-21T14:13:21+00:00"
    assert summary.last_recorded.isoformat() == "2026-09-21T14:13:25+00:00"
    assert summary.proven == ("chain", "payloads", "manifest")
    assert summary.not_proven == (
        "completeness", "same_for_everyone", "time", "authorship", "hidden", "joint",
    )  # fmt: skip


def test_published_bundle_is_what_the_builder_writes():
    content = json.loads(DATA)
    rows = [bundle._row(event, "") for event in content["events"]]
    text = bundle.build_bundle(
        code=PACK, scheme="GBT34014_24", rows=rows, manifests={0: COMPONENTS}
    )
    assert text.encode() == DATA


@given(
    st.lists(st.dictionaries(st.text("abc", max_size=2), st.integers(0, 9)), min_size=1),
    st.sets(st.integers(0, 20)),
    st.sets(st.integers(0, 20)),
)
def test_what_is_exported_verifies_whatever_is_hidden(payloads, hidden, joint):
    summary = bundle.verify(exported(payloads, hidden=hidden, joint=joint))
    places = set(range(len(payloads)))
    assert summary.events == len(payloads)
    assert set(summary.hidden) == hidden & places
    assert set(summary.joint) == joint & places
    assert ("payloads" in summary.proven) == (hidden & places != places)


def test_a_hidden_payload_does_not_leave_the_house():
    data = exported([{"vin": "SECRET"}, {}], hidden={0})
    assert b"SECRET" not in data
    assert (bytes(16).hex()).encode() not in data.replace(bytes(32).hex().encode(), b"")
    assert bundle.verify(data).hidden == (0,)


def test_a_redacted_payload_is_exported_as_its_commitment():
    rows = rows_of([{}, {"by": "x"}])
    inner = canonical.commitment(rows[1][11], rows[1][10].encode())
    rows[1] = (*rows[1][:10], None, None, inner, rows[1][13])
    text = bundle.build_bundle(code=PACK, scheme="X", rows=rows, manifests={}, hidden={1})
    assert bundle.verify(text.encode()).hidden == (1,)


def test_a_manifest_whose_record_is_hidden_is_left_out():
    data = exported([birth(), {}], manifests={0: COMPONENTS}, hidden={0})
    assert CELL.encode() not in data
    assert bundle.verify(data).manifests == ()


def test_a_manifest_that_is_not_in_the_file_is_said_to_be_missing():
    summary = bundle.verify(exported([birth(), {}]))
    assert summary.manifests_missing == (0,)
    assert "manifests_missing" in summary.not_proven


def test_a_corrected_manifest_is_checked_beside_the_first():
    second = COMPONENTS[:4]
    data = exported([birth(), {}, birth(second)], manifests={2: second, 0: COMPONENTS})
    assert [one.seq for one in bundle.verify(data).manifests] == [0, 2]


def component_bundle(**changes):
    path = manifest.manifest_path(COMPONENTS, 2)
    claim = manifest.path_claim(path, of=PACK, root=manifest.manifest_root(COMPONENTS))
    return exported([{"manifest_path": claim | changes}, {}], code=CELL)


def test_a_component_with_its_own_chain_proves_where_it_came_from():
    summary = bundle.verify(component_bundle())
    assert summary.paths == (bundle.CheckedPath(0, PACK, manifest.manifest_root(COMPONENTS)),)
    assert "manifest_path" in summary.proven
    assert "origin" in summary.not_proven


def test_a_path_that_leads_elsewhere_is_named():
    with pytest.raises(ProofInvalid) as failure:
        bundle.verify(component_bundle(lot="other"))
    assert failure.value.params == {
        "what": "manifest_path", "reason": "root", "battery": CELL, "seq": 0,
    }  # fmt: skip


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_any_changed_byte_is_refused(mask):
    for place in range(len(DATA)):
        flipped = bytearray(DATA)
        flipped[place] ^= mask
        with pytest.raises(TraceabilityError):
            bundle.verify(bytes(flipped))


def test_any_bit_of_the_content_is_refused_without_the_checksum_too():
    """Whoever changes the file can mend the checksum: the hashes must stand alone."""
    unnamed = set()
    for place in range(DATA.index(b',"sha256"')):
        flipped = bytearray(DATA)
        flipped[place] ^= 0x01
        try:
            data = sealed(json.loads(flipped))
        except (ValueError, UnicodeDecodeError):
            continue
        try:
            bundle.verify(data)
        except TraceabilityError:
            continue
        unnamed.add(place)
    # Only the name of the code scheme is a label that no hash covers.
    start = DATA.index(b"GBT34014_24")
    assert unnamed <= set(range(start, start + len(b"GBT34014_24")))


@pytest.mark.parametrize("cut", [1, 2, 100, len(DATA)])
def test_a_cut_file_is_refused(cut):
    with pytest.raises(Malformed):
        bundle.verify(DATA[:-cut])


@pytest.mark.parametrize(
    "data",
    [
        DATA + b"\n",
        b"\n" + DATA,
        b"\xef\xbb\xbf" + DATA,
        DATA.replace(b"\n", b"\r\n"),
        DATA.replace(b",", b", ", 1),
        DATA.decode().encode("utf-16"),
        DATA.decode().encode("gb18030"),
        json.dumps(json.loads(DATA)).encode() + b"\n",
        b"[" * 100_000 + b"\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        DATA.replace(b'{"code"', b'{"code":"X","code"', 1),
    ],
)
def test_a_second_spelling_of_the_file_is_refused(data):
    with pytest.raises(Malformed):
        bundle.verify(data)


def setter(*path_and_value):
    *path, last, value = path_and_value

    def change(content):
        for step in path:
            content = content[step]
        content[last] = value

    return change


MALFORMED = [
    (setter("format", "battery-ledger/bundle/v2"), "format", "/format"),
    (setter("more", 1), "fields", ""),
    (setter("code", ""), "type", "/code"),
    (setter("code", 7), "type", "/code"),
    (setter("code", "A" * 65), "type", "/code"),
    (setter("code", "a"), "characters", "/code"),
    (setter("scheme", "A B"), "characters", "/scheme"),
    (setter("scheme", None), "type", "/scheme"),
    (setter("events", {}), "type", "/events"),
    (setter("manifests", None), "type", "/manifests"),
    (setter("events", 1, []), "type", "/events/1"),
    (setter("events", 1, "note", 1), "fields", "/events/1"),
    (setter("events", 1, "seq", True), "type", "/events/1/seq"),
    (setter("events", 1, "kind", 2**15), "range", "/events/1/kind"),
    (setter("events", 1, "schema", -1), "range", "/events/1/schema"),
    (setter("events", 1, "actor", "7"), "type", "/events/1/actor"),
    (setter("events", 1, "site", 2**31), "range", "/events/1/site"),
    (setter("events", 0, "body", {}), "type", "/events/0/body"),
    (setter("events", 0, "salt", "00" * 15), "hex", "/events/0/salt"),
    (setter("events", 0, "salt", "0A" * 16), "hex", "/events/0/salt"),
    (setter("events", 1, "commitment", 7), "hex", "/events/1/commitment"),
    (setter("events", 1, "leaf", None), "hex", "/events/1/leaf"),
    (setter("events", 0, "occurred_at", 7), "time", "/events/0/occurred_at"),
    (setter("events", 0, "occurred_at", "2026-09-21T14:13:20Z"), "time", "/events/0/occurred_at"),
    (setter("events", 0, "recorded_at", "2026-02-30T14:13:20.000000Z"), "time",
     "/events/0/recorded_at"),
    (setter("events", 0, "recorded_at", "2026-09-21 14:13:20.000000Z"), "time",
     "/events/0/recorded_at"),
    (setter("events", 0, "recorded_at", "2026-09-21T14:13:20.000+08Z"), "time",
     "/events/0/recorded_at"),
    (setter("events", 2, "joint", []), "type", "/events/2/joint"),
    (setter("events", 2, "joint", {}), "fields", "/events/2/joint"),
    (setter("events", 2, "joint", "event_id", "x"), "uuid", "/events/2/joint/event_id"),
    (setter("events", 2, "joint", "event_id", 7), "uuid", "/events/2/joint/event_id"),
    (setter("events", 2, "joint", "event_id", EVENT_ID.hex), "uuid", "/events/2/joint/event_id"),
    (setter("events", 2, "joint", "participants_n", 2.0), "float", ""),
    (setter("events", 2, "joint", "participants_n", None), "type",
     "/events/2/joint/participants_n"),
    (setter("events", 2, "joint", "participants_hash", ""), "hex",
     "/events/2/joint/participants_hash"),
    (setter("manifests", 0, []), "type", "/manifests/0"),
    (setter("manifests", 0, "note", 1), "fields", "/manifests/0"),
    (setter("manifests", 0, "seq", "0"), "type", "/manifests/0/seq"),
    (setter("manifests", 0, "seq", 1), "uncommitted", "/manifests/0"),
    (setter("manifests", 0, "seq", 2), "uncommitted", "/manifests/0"),
    (setter("manifests", 0, "seq", 9), "uncommitted", "/manifests/0"),
    (setter("manifests", 0, "components", {}), "type", "/manifests/0/components"),
    (setter("manifests", 0, "components", 1, []), "type", "/manifests/0/components/1"),
    (setter("manifests", 0, "components", 1, {}), "type", "/manifests/0/components/1"),
    (setter("manifests", 0, "components", 1, 0, True), "type", "/manifests/0/components/1"),
    (setter("manifests", 0, "components", 1, 5, "20260230"), "date", "/manifests/0"),
    (setter("manifests", 0, "components", []), "count", "/manifests/0"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "reason", "at"), MALFORMED)
def test_what_is_no_bundle_is_refused_by_place(change, reason, at):
    with pytest.raises(Malformed) as refusal:
        bundle.verify(altered(change))
    assert (refusal.value.params["reason"], refusal.value.params["at"]) == (reason, at)


def test_two_manifests_of_one_record_are_refused():
    def twice(content):
        content["manifests"] *= 2

    with pytest.raises(Malformed) as refusal:
        bundle.verify(altered(twice))
    assert refusal.value.params["reason"] == "order"


@pytest.mark.parametrize("wrong", ["", "0" * 63, "G" * 64])
def test_a_checksum_is_a_hash(wrong):
    content = json.loads(DATA)
    content["sha256"] = wrong
    with pytest.raises(Malformed) as refusal:
        bundle.verify(naive.canonical(content).encode() + b"\n")
    assert refusal.value.params["at"] == "/sha256"


def test_the_checksum_covers_the_labels():
    data = DATA.replace(b'"GBT34014_24"', b'"GBT34014_25"')
    with pytest.raises(Malformed) as refusal:
        bundle.verify(data)
    assert refusal.value.params["reason"] == "checksum"


BROKEN = [
    (setter("code", PACK[:-1] + "3"), 0, "leaf"),
    (setter("events", []), 0, "empty"),
    (setter("events", 0, "seq", 1), 0, "gap"),
    (setter("events", 1, "kind", 1), 1, "leaf"),
    (setter("events", 1, "actor", 8), 1, "leaf"),
    (setter("events", 1, "occurred_at", "2026-09-21T14:13:22.000001Z"), 1, "leaf"),
    (setter("events", 1, "recorded_at", "2026-09-21T14:13:20.999999Z"), 1, "order"),
    (setter("events", 1, "commitment", "00" * 32), 1, "leaf"),
    (setter("events", 1, "commitment", None), 1, "commitment"),
    (setter("events", 1, "body", "{}"), 1, "commitment"),
    (setter("events", 0, "body", "{}"), 0, "leaf"),
    (setter("events", 0, "salt", None), 0, "commitment"),
    (setter("events", 2, "joint", None), 2, "leaf"),
    (setter("events", 2, "joint", "participants_n", 3), 2, "leaf"),
    (setter("events", 2, "joint", "participants_n", 1), 2, "joint"),
    (setter("events", 2, "joint", "participants_hash", "00" * 32), 2, "leaf"),
    (setter("events", 2, "leaf", "00" * 32), 2, "leaf"),
]


@pytest.mark.parametrize(("change", "seq", "damage"), BROKEN)
def test_a_broken_chain_is_named_by_battery_record_and_damage(change, seq, damage):
    data = altered(change)
    with pytest.raises(ChainBroken) as broken:
        bundle.verify(data)
    code = json.loads(data)["code"]
    assert broken.value.params == {"battery": code, "seq": seq, "damage": damage}


def drop(seq):
    def change(content):
        del content["events"][seq]

    return change


@pytest.mark.parametrize("seq", [0, 1])
def test_a_dropped_record_is_named(seq):
    with pytest.raises(ChainBroken) as broken:
        bundle.verify(altered(drop(seq)))
    assert broken.value.params == {"battery": PACK, "seq": seq, "damage": "gap"}


def test_records_dropped_at_the_end_are_beyond_this_file():
    summary = bundle.verify(altered(drop(2)))
    assert summary.events == 2
    assert "completeness" in summary.not_proven


def replace_component(content):
    content["manifests"][0]["components"][2][2] = CELL[:-1] + "9"


def test_an_exchanged_cell_is_found():
    with pytest.raises(ProofInvalid) as failure:
        bundle.verify(altered(replace_component))
    assert failure.value.params == {
        "what": "manifest", "reason": "root", "battery": PACK, "seq": 0,
    }  # fmt: skip


def test_a_cell_listed_twice_is_malformed_by_place():
    change = setter("manifests", 0, "components", 3, 2, CELL)
    with pytest.raises(Malformed) as refusal:
        bundle.verify(altered(change))
    assert refusal.value.params == {
        "field": "manifest", "reason": "duplicate", "position": 3, "at": "/manifests/0",
        "battery": PACK, "seq": 0,
    }  # fmt: skip


@pytest.mark.parametrize("count", [4, 6, True, "5", None])
def test_a_payload_with_another_count_does_not_fit_its_manifest(count):
    payload = birth() | {"components": count}
    with pytest.raises(ProofInvalid) as failure:
        bundle.verify(exported([payload], manifests={0: COMPONENTS}))
    assert failure.value.params["reason"] == "count"


def test_a_payload_without_a_count_does_not_fit_its_manifest():
    payload = {"manifest_root": birth()["manifest_root"]}
    with pytest.raises(ProofInvalid):
        bundle.verify(exported([payload], manifests={0: COMPONENTS}))


def test_a_manifest_of_another_pack_is_refused():
    data = exported([birth()], manifests={0: COMPONENTS}, code="OTHER")
    with pytest.raises(ProofInvalid) as failure:
        bundle.verify(data)
    assert failure.value.params["reason"] == "unit"


@pytest.mark.parametrize("body", ["[]", "1", '{"a": 1}', "{", '{"a":1.5}', '{"a":1,"a":1}'])
def test_a_payload_that_is_no_canonical_object_is_refused(body):
    salt = bytes(16)
    pcommit = canonical.commitment(salt, body.encode())
    leaf = chain.leaf_of(1, 0, 0, 0, 7, 0, 1, PACK.encode(), bytes(32), pcommit)
    row = (0, 1, 1, 0, 0, 7, 0, None, None, None, body, salt, None, leaf)
    text = bundle.build_bundle(code=PACK, scheme="X", rows=[row], manifests={})
    with pytest.raises(Malformed):
        bundle.verify(text.encode())


def test_a_broken_chain_exports_as_it_is_and_the_check_names_it():
    rows = rows_of([{}, {}, {}])
    rows[1] = (*rows[1][:10], '{"forged":true}', *rows[1][11:])
    text = bundle.build_bundle(code=PACK, scheme="X", rows=rows, manifests={})
    with pytest.raises(ChainBroken) as broken:
        bundle.verify(text.encode())
    assert broken.value.params["seq"] == 1


def run(capsys, *arguments):
    status = bundle.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def test_the_command_says_what_is_proven_and_what_is_not(capsys):
    status, out, err = run(capsys, FILE)
    assert (status, err) == (0, "")
    assert out.startswith("通过")
    for part in (
        "VERIFIED",
        PACK,
        "未证明",
        "NOT proven",
        "without a checkpoint",
        "单体 / cells 3",
    ):
        assert part in out


def test_the_command_names_what_failed_and_where(capsys, tmp_path):
    file = tmp_path / "bundle.json"
    file.write_bytes(altered(setter("events", 1, "actor", 8)))
    status, out, _ = run(capsys, file)
    assert status == 1
    for part in ("未通过", "NOT VERIFIED", PACK, "record   1", "damage=leaf"):
        assert part in out


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (replace_component, "does not give the root that the chain commits to"),
        (setter("format", "x"), "not a well-formed bundle"),
        (setter("manifests", 0, "components", 3, 2, CELL), "not a well-formed bundle"),
        (drop(1), "missing, inserted or exchanged"),
    ],
)
def test_every_failure_has_its_sentence(capsys, tmp_path, change, sentence):
    file = tmp_path / "bundle.json"
    file.write_bytes(altered(change))
    status, out, _ = run(capsys, file)
    assert status == 1
    assert sentence in out


def test_a_damaged_label_is_called_damage_of_the_file(capsys, tmp_path):
    file = tmp_path / "bundle.json"
    file.write_bytes(DATA.replace(b'"GBT34014_24"', b'"GBT34014_25"'))
    status, out, _ = run(capsys, file)
    assert status == 1
    assert "the bytes are not those that were exported" in out


def test_the_command_shows_where_a_component_came_from(capsys, tmp_path):
    file = tmp_path / "bundle.json"
    file.write_bytes(component_bundle())
    status, out, _ = run(capsys, file)
    assert status == 0
    assert f"{PACK}, {manifest.manifest_root(COMPONENTS).hex()}" in out
    assert "hidden" not in out


def test_a_file_that_cannot_be_read_is_not_verified(capsys, tmp_path):
    for name in (tmp_path / "none.json", tmp_path):
        status, out, _ = run(capsys, name)
        assert status == 1
        assert "NOT VERIFIED" in out


@pytest.mark.parametrize(
    "arguments", [[], [FILE, FILE], ["--key", "vkey", FILE], ["--checkpoint", FILE], ["-h"]]
)
def test_options_and_arguments_it_does_not_have_are_refused(capsys, arguments):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert "usage: python -m traceability.core.bundle FILE" in err
    for option in arguments:
        if str(option).startswith("-"):
            assert f"unknown option: {option}" in err


def test_output_that_lacks_chinese_does_not_stop_the_check(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert bundle.main([str(FILE)]) == 0
    sys.stdout.flush()
    assert b"VERIFIED" in raw.getvalue()
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    bundle_report.show("通过")
    assert sys.stdout.getvalue() == "通过"


CHECK_IMPORTS = """
import sys, traceability.core.bundle as bundle, traceability.core.bundle_report
foreign = {name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names
print(sorted(name for name in foreign if not name.startswith('_')))
"""


def test_the_check_needs_nothing_but_the_core():
    """In a fresh interpreter without site packages, as on a stranger's machine."""
    whole = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT_FOLDER)!r})\n{CHECK_IMPORTS}",
    ]
    found = subprocess.run(whole, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['traceability']"


def test_the_module_runs_as_a_command(monkeypatch, capsys):
    command = [sys.executable, "-m", "traceability.core.bundle", str(FILE)]
    found = subprocess.run(command, capture_output=True, check=False, cwd=ROOT_FOLDER)
    assert found.returncode == 0, found.stderr.decode()
    assert found.stderr == b""
    monkeypatch.setattr(sys, "argv", ["bundle", str(FILE)])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(bundle.__file__, run_name="__main__")
    assert left.value.code == 0
    assert "VERIFIED" in capsys.readouterr().out
