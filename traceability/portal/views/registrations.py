"""Sending files, and what became of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_safe

from traceability.core.errors import Malformed, NotPermitted, RuleViolation
from traceability.core.platform_errors import platform_error
from traceability.core.registration import Basis
from traceability.models.intake import Job, JobState, OnError
from traceability.models.parties import Scope
from traceability.portal.access import members, page
from traceability.queries import jobs
from traceability.services import registration
from traceability.services.acting import Actor
from traceability.services.row_results import Result, RowResult
from traceability.wording import sentence

ROWS_PER_PAGE = 100
JOBS_SHOWN = 25

STRUCTURES = (
    ("pack", _("packs with their parts"), _("pack, module, cell: one row for each cell")),
    ("lot", _("loose modules or cells"), _("a production lot that left the factory unbuilt")),
    ("code", _("codes alone"), _("batteries of others whose structure is not known to you")),
)
BASES = (
    (Basis.MAKER.value, _("as their maker, or authorised by it")),
    (Basis.VEHICLE_MAKER.value, _("for vehicles that we make or import")),
    (Basis.HOLDER.value, _("as their lawful holder (codes alone)")),
)
RESULTS: dict[str, tuple[str | Promise, str]] = {
    Result.ACCEPTED: (_("accepted"), "good"),
    Result.ALREADY_REGISTERED: (_("registered before"), "quiet"),
    Result.REFUSED: (_("refused"), "bad"),
    Result.BLOCKED: (_("blocked"), "warn"),
    Result.WARNING: (_("remark"), "warn"),
}


@require_http_methods(["GET", "HEAD", "POST"])
@members(Scope.READ)
def registrations(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Show what was sent, and take a file."""
    form = {
        "structure": request.POST.get("structure", "pack"),
        "basis": request.POST.get("basis", Basis.MAKER.value),
        "on_error": request.POST.get("on_error", OnError.NONE.value),
        "dry_run": request.POST.get("dry_run", ""),
    }
    refusal = ""
    if request.method == "POST":
        file = request.FILES.get("file")
        if isinstance(file, UploadedFile):
            try:
                return redirect("registration", job_id=_submit(actor, file, form).id)
            except (Malformed, RuleViolation, NotPermitted) as refused:
                refusal = sentence(refused.code, refused.params)
        else:
            refusal = sentence("malformed", {"field": "file", "reason": "missing"})
    context = {
        "section": "registrations",
        "jobs": jobs.latest(actor=actor, limit=JOBS_SHOWN),
        "may_register": Scope.REGISTER in actor.scopes,
        "structures": STRUCTURES,
        "bases": BASES,
        "form": form,
        "refusal": refusal,
    }
    status = 400 if refusal else 200
    return render(request, "portal/registrations.html", page(actor, **context), status=status)


@require_safe
@members(Scope.READ)
def job(request: HttpRequest, actor: Actor, job_id: UUID) -> HttpResponse:
    """Show one job and what became of its rows."""
    found = jobs.job_of(job_id, actor=actor)
    wanted = request.GET.get("result", "")
    if wanted not in {"", *RESULTS}:
        raise Malformed(field="result", reason="vocabulary", text=wanted)
    after = request.GET.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) < 10):
        raise Malformed(field="after", reason="number", text=after)
    context = _progress(found, wanted)
    if not context["is_running"]:
        rows, next_after = jobs.rows_page(
            found, after=int(after), limit=ROWS_PER_PAGE, result=wanted
        )
        context |= {
            "rows": [_shown(row) for row in rows],
            "next_after": next_after,
            "wanted": wanted,
            "wanted_name": RESULTS[wanted][0] if wanted else "",
            "refusal": sentence(**_refusal(found)) if found.refusal else "",
        }
    return render(request, "portal/registration.html", page(actor, **context))


@require_safe
@members(Scope.READ)
def progress(request: HttpRequest, actor: Actor, job_id: UUID) -> HttpResponse:
    """Send how far a job is; when it is done, have the whole page loaded again."""
    found = jobs.job_of(job_id, actor=actor)
    context = _progress(found, "")
    response = render(request, "portal/parts/job_progress.html", context)
    if not context["is_running"]:
        response["HX-Refresh"] = "true"
    return response


@require_safe
@members(Scope.READ)
def failed_rows(_request: HttpRequest, actor: Actor, job_id: UUID) -> HttpResponse:
    """Send the rows that failed, with their own headers and the reason of each."""
    found = jobs.job_of(job_id, actor=actor)
    response = HttpResponse(jobs.failed_rows_csv(found), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="failed-rows-{found.id}.csv"'
    return response


class ShownRow(NamedTuple):
    """A row as the page shows it: the code cut where its wrong digit stands."""

    sheet: str
    row: int
    before: str
    digit: str
    after: str
    position: int
    result_name: str | Promise
    tone: str
    sentence: str
    platform_error: str | None


def _shown(row: RowResult) -> ShownRow:
    at = row.position if 0 < row.position <= len(row.code) else 0
    name, tone = RESULTS.get(row.result, (row.result, ""))
    return ShownRow(
        sheet=row.sheet,
        row=row.row,
        before=row.code[: at - 1] if at else row.code,
        digit=row.code[at - 1] if at else "",
        after=row.code[at:] if at else "",
        position=at,
        result_name=name,
        tone=tone,
        sentence=sentence(row.refusal, row.params) if row.refusal else "",
        platform_error=platform_error(row.refusal),
    )


def _submit(actor: Actor, file: UploadedFile[bytes], form: dict[str, str]) -> Job:
    def chunks() -> Iterator[bytes]:
        yield from file.chunks()

    return registration.submit(
        actor=actor,
        chunks=chunks(),
        filename=file.name or "",
        structure=form["structure"],
        basis=form["basis"],
        on_error=form["on_error"],
        is_dry_run=bool(form["dry_run"]),
        key=None,
    )


def _progress(found: Job, wanted: str) -> dict[str, Any]:
    """Return how far a job is, and its figures, each a way to its rows."""
    counts = {
        Result.ACCEPTED: found.accepted,
        Result.ALREADY_REGISTERED: found.already_registered,
        Result.REFUSED: found.refused,
        Result.BLOCKED: found.blocked,
        Result.WARNING: found.warnings,
    }
    return {
        "section": "registrations",
        "job": found,
        "is_running": found.state in {JobState.QUEUED, JobState.RUNNING},
        "file_sha256": bytes(found.file_id).hex(),
        "figures": [
            {"result": result.value, "count": count, "name": RESULTS[result][0]}
            for result, count in counts.items()
            if count or result in {Result.ACCEPTED, Result.REFUSED}
        ],
        "wanted": wanted,
    }


def _refusal(found: Job) -> dict[str, Any]:
    refusal = found.refusal if isinstance(found.refusal, dict) else {}
    return {"code": refusal.get("code", ""), "params": refusal.get("params", {})}
