"""One battery's history as a file that anybody can verify without us."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from traceability.core import codes, manifest
from traceability.core.bundle import build_bundle
from traceability.core.errors import NotFound
from traceability.models.registry import Battery
from traceability.queries import chains, composition, visibility
from traceability.queries.chains import StoredRecord
from traceability.queries.visibility import Sight
from traceability.services.acting import Actor


def bundle_of(code: str, actor: Actor) -> str:
    """Return the bundle of a battery as far as this actor may see it.

    Payloads that are not for this reader are left out, their commitments stay: the chain
    verifies all the same.

    Raises:
        NotFound: no such battery, or not for this actor.
    """
    battery = _battery(code)
    sight = visibility.sight_of(actor, battery.battery_id)
    if sight is Sight.NOTHING:
        raise NotFound(what="battery", key=battery.code)
    records = chains.records_of(battery.battery_id)
    hidden = () if sight is Sight.WHOLE else tuple(record.seq for record in records)
    return _bundle(battery, records, hidden)


def whole_bundle_of(code: str) -> str:
    """Return the bundle of a battery with everything in it, for whoever runs the platform.

    Raises:
        NotFound: no such battery.
    """
    battery = _battery(code)
    return _bundle(battery, chains.records_of(battery.battery_id), ())


def _battery(code: str) -> Battery:
    normal = codes.normalise(code)
    battery = Battery.objects.filter(battery_id=codes.battery_id_of(normal)).first()
    if battery is None:
        raise NotFound(what="battery", key=normal)
    return battery


def _bundle(battery: Battery, records: Sequence[StoredRecord], hidden: Collection[int]) -> str:
    stored = composition.manifests_of([battery.battery_id]).get(battery.battery_id, [])
    by_root = {one.root.hex(): one for one in stored}
    manifests = {}
    for record in records:
        payload = record.payload() or {}
        root = payload.get("manifest_root")
        if record.kind in composition.COMMITTING and root in by_root:
            manifests[record.seq] = manifest.unpack_manifest(by_root[str(root)].packed)
    return build_bundle(
        code=battery.code,
        scheme=battery.scheme,
        rows=[record.chain_row() for record in records],
        manifests=manifests,
        hidden=hidden,
    )
