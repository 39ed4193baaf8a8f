"""What `python -m traceability.core.bundle` says, in Chinese and English.

The check must run where there is no framework and no catalogue of translations, so its sentences
stand here.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from traceability.core.errors import ChainBroken, ProofInvalid, TraceabilityError

if TYPE_CHECKING:
    from traceability.core.bundle import Summary

_DAMAGE = {
    "empty": ("没有任何记录", "there is no record at all"),
    "gap": ("序号不连续: 记录缺失、插入或调换", "a record is missing, inserted or exchanged"),
    "order": ("登记时间早于前一条", "it is recorded before its predecessor"),
    "commitment": ("内容与承诺值不成对", "payload and commitment are not one whole"),
    "joint": ("多方事件的说明不完整", "the statement of the participants is incomplete"),
    "leaf": ("记录内容与其哈希不符", "its content does not give its hash"),
}
_PROOF = {
    "root": ("与链上承诺的根不符", "does not give the root that the chain commits to"),
    "count": ("组成数量不符", "has another number of components"),
    "unit": ("不属于本电池", "is that of another battery"),
    "length": ("证明路径长度不符", "has a path of the wrong length"),
    "index": ("位置超出范围", "names a place outside the tree"),
}
_PROVEN = {
    "chain": (
        "记录环环相扣: 不重算其后全部记录, 就无法修改、插入、删除或调换任何一条",
        "its records follow from each other: none can be changed, inserted, dropped or moved"
        " unless all later ones are computed anew",
    ),
    "payloads": ("所附内容就是记录所承诺的内容", "the payloads are those the records commit to"),
    "manifest": ("组成清单就是记录所承诺的清单", "the manifest is the one the record commits to"),
    "manifest_path": (
        "本电池在其来源清单中的位置",
        "the battery's place in the manifest it came from",
    ),
}
_NOT_PROVEN = {
    "completeness": (
        "文件是否完整: 没有检查点, 末尾之后的记录可能被略去",
        "that the file is complete: without a checkpoint, later records may have been left out",
    ),
    "same_for_everyone": (
        "运营方向所有人出示同一份历史: 整条链可以被重新计算",
        "that the operator shows everyone the same: a whole chain can be computed anew",
    ),
    "time": (
        "所载时间的真实性: 时间由登记方自述",
        "that the times are true: they are the operator's own statement",
    ),
    "authorship": (
        "登记主体的身份: 文件中没有签名",
        "who sent the events: the file carries no signature",
    ),
    "hidden": (
        "未出示或已删除的内容, 只有承诺值",
        "payloads that are withheld or erased: only their commitments are here",
    ),
    "joint": (
        "多方事件中其他电池的记录",
        "the other batteries' records of joint events",
    ),
    "manifests_missing": (
        "未附在文件中的组成清单",
        "manifests that the chain commits to and the file does not contain",
    ),
    "origin": (
        "来源清单的根确在来源电池的链上: 请核验其文件",
        "that the root stands in the chain it names: verify that battery's own file",
    ),
}


def show(text: str) -> None:
    """Write to standard output; a terminal that lacks a character gets its number instead."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout.write(text)


def usage(options: Sequence[str]) -> str:
    """Return how the command is called, and which options it was given that it does not have."""
    unknown = "".join(f"未知选项 / unknown option: {option}\n" for option in options)
    return f"{unknown}用法 / usage: python -m traceability.core.bundle FILE\n"


def unreadable(name: str, error: OSError) -> str:
    """Return the result for a file that cannot be read."""
    return (
        f"未通过: 无法读取文件 {name}\n"
        f"NOT VERIFIED: the file cannot be read ({error.strerror or error})\n"
    )


def failure(name: str, error: TraceabilityError) -> str:
    """Return the result for a bundle that does not stand: what failed and where."""
    chinese, english = _reason(error)
    battery, seq = error.params.get("battery"), error.params.get("seq")
    where = "" if battery is None else f"  电池 / battery  {battery}\n  记录 / record   {seq}\n"
    facts = ", ".join(f"{key}={value}" for key, value in error.params.items() if value != "")
    return (
        f"未通过: {name}\n"
        f"NOT VERIFIED: {name}\n"
        f"{where}"
        f"  原因            {chinese}\n"
        f"  reason          {english}\n"
        f"  {error.code}: {facts}\n"
    )


def success(name: str, summary: Summary) -> str:
    """Return the result for a bundle that stands, with what it proves and what it does not."""
    lines = [
        f"通过: {name}",
        f"VERIFIED: {name}",
        f"  电池 / battery  {summary.code} ({summary.scheme})",
        f"  记录 / records  {summary.events}",
        f"  首条 / first    {summary.first_recorded.isoformat()}",
        f"  末条 / last     {summary.last_recorded.isoformat()}",
        f"  链头 / head     {summary.head.leaf.hex()}",
    ]
    for one in summary.manifests:
        lines += [
            f"  清单 / manifest {one.root.hex()}",
            f"                  记录 / record {one.seq}: 模块 / modules {one.modules},"
            f" 单体 / cells {one.cells}",
        ]
    lines += [f"  来源 / from     {path.of}, {path.root.hex()}" for path in summary.paths]
    if summary.hidden:
        seqs = ", ".join(map(str, summary.hidden))
        lines.append(f"  未出示 / hidden 记录 / records {seqs}")
    lines += ["已证明 / proven:", *_bullets(_PROVEN, summary.proven)]
    lines += ["未证明 / NOT proven:", *_bullets(_NOT_PROVEN, summary.not_proven)]
    return "\n".join(lines) + "\n"


def _bullets(table: dict[str, tuple[str, str]], words: Sequence[str]) -> list[str]:
    return [line for word in words for line in (f"  - {table[word][0]}", f"    {table[word][1]}")]


def _reason(error: TraceabilityError) -> tuple[str, str]:
    if isinstance(error, ChainBroken):
        return _DAMAGE[str(error.params["damage"])]
    if isinstance(error, ProofInvalid):
        chinese, english = _PROOF[str(error.params["reason"])]
        return f"组成证明{chinese}", f"the manifest proof {english}"
    if error.params.get("reason") == "checksum":
        return "文件字节与导出时不同", "the bytes are not those that were exported"
    return "不是规范的电池历史文件", "this is not a well-formed bundle"
