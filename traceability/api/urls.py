"""The API under /api/v1/, one line for each address."""

from __future__ import annotations

from django.urls import path

from traceability.api import batteries, findings, search

urlpatterns = [
    path("batteries/", batteries.BatteryList.as_view(), name="api-batteries"),
    path("batteries/<str:code>/", batteries.BatteryStory.as_view(), name="api-battery"),
    path(
        "batteries/<str:code>/events/",
        batteries.BatteryEvents.as_view(),
        name="api-battery-events",
    ),
    path(
        "batteries/<str:code>/trace/", batteries.BatteryTrace.as_view(), name="api-battery-trace"
    ),
    path(
        "batteries/<str:code>/proof/", batteries.BatteryProof.as_view(), name="api-battery-proof"
    ),
    path("search/", search.Search.as_view(), name="api-search"),
    path("findings/", findings.FindingList.as_view(), name="api-findings"),
    path("quarantine/", findings.QuarantineList.as_view(), name="api-quarantine"),
]
