"""What anybody may read: what a code itself says, and the page behind the label on a battery.

Neither looks the code up. So a known code and an unknown one cost the same work and give the same
page, and nobody learns from it what is registered.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from traceability.core import codes
from traceability.core.codes import BatteryCode, MalformedCode
from traceability.portal import code_parts
from traceability.portal.access import everybody, page
from traceability.portal.acting import actor_of, now
from traceability.wording import sentence

LONGEST_TEXT = 200


@require_safe
@everybody
def label(request: HttpRequest, code: str) -> HttpResponse:
    """Show the page behind the QR code. No cookie is set and nothing is counted.

    No recall can be recorded yet (its kind has no payload), so none is looked for.
    """
    text = codes.normalise(code[:LONGEST_TEXT])
    read = _read(text)
    context = {
        "is_public": True,
        "text": text,
        "code": read,
        "level": code_parts.LEVELS.get(read.level or "", "") if read else "",
        "chemistry": code_parts.BATTERY_TYPES.get(read.battery_type or "", "") if read else "",
    }
    return render(request, "portal/public.html", context)


@require_safe
@everybody
def decoder(request: HttpRequest) -> HttpResponse:
    """Show what a code says, or which of its characters are wrong and why."""
    text = request.GET.get("code", "")[:LONGEST_TEXT]
    context: dict[str, object] = {"section": "decoder", "text": text}
    if text.strip():
        try:
            read = codes.parse(text)
        except MalformedCode as malformed:
            context |= _faults(text, malformed)
        else:
            context |= {"code": read, "parts": code_parts.parts_of(read), "warning": _warning(read)}
    return render(request, "portal/decoder.html", page(actor_of(request), **context))


def _read(text: str) -> BatteryCode | None:
    try:
        return codes.parse(text)
    except MalformedCode:
        return None


def _faults(text: str, malformed: MalformedCode) -> dict[str, object]:
    """Return the sentence and the characters, each with whether it is at fault."""
    faults = malformed.params.get("faults")
    found = faults if isinstance(faults, list | tuple) else ()
    wrong = {getattr(fault, "position", None) for fault in found}
    return {
        "sentence": sentence(malformed.code, malformed.params),
        "characters": [
            (character, place in wrong)
            for place, character in enumerate(codes.normalise(text), start=1)
        ],
    }


def _warning(read: BatteryCode) -> str:
    today = timezone.localdate(now())
    if read.produced_on is not None and read.produced_on > today:
        return _("The production date lies in the future: such a code cannot be registered.")
    return ""
