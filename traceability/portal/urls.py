"""The pages. Each view states who may open it (`portal.access`)."""

from __future__ import annotations

from django.urls import path

from traceability.portal.views import (
    batteries,
    health,
    public,
    registrations,
    searching,
    signing_in,
)

urlpatterns = [
    path("", searching.home, name="home"),
    path("search/", searching.find, name="search"),
    path("batteries/<str:code>/", batteries.battery, name="battery"),
    path("batteries/<str:code>/records/<int:seq>/", batteries.record, name="record"),
    path("batteries/<str:code>/evidence/", batteries.bundle, name="battery_bundle"),
    path("registrations/", registrations.registrations, name="registrations"),
    path("registrations/<uuid:job_id>/", registrations.job, name="registration"),
    path(
        "registrations/<uuid:job_id>/progress/",
        registrations.progress,
        name="registration_progress",
    ),
    path(
        "registrations/<uuid:job_id>/failed-rows/",
        registrations.failed_rows,
        name="registration_failed_rows",
    ),
    path("codes/", public.decoder, name="decoder"),
    path("b/<str:code>", public.label, name="label"),
    path("sign-in/", signing_in.sign_in, name="sign_in"),
    path("sign-out/", signing_in.sign_out, name="sign_out"),
    path("organisation/", signing_in.organisation, name="organisation"),
    path("language/<str:chosen>/", signing_in.language, name="language"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
]
