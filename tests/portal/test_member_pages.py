"""Search, registrations and signing in, as their people meet them."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from tests import stored
from tests.portal.people import browser, member
from traceability.core.roles import Role
from traceability.models.intake import Job, StoredFile
from traceability.models.parties import User
from traceability.services import row_results
from traceability.services.row_results import RowResult

pytestmark = pytest.mark.django_db

MEMBERS_ONLY = ["/search/?q=04QP", "/registrations/", f"/batteries/{stored.code('P', 1)}/"]


@pytest.fixture
def maker():
    return stored.party("Eve", Role.BATTERY_MAKER)


@pytest.fixture
def pages(maker):
    return browser(maker)


@pytest.fixture
def job(maker):
    return _job(maker, "failed", refused=1, blocked=1, rows_total=2)


@pytest.mark.parametrize("path", MEMBERS_ONLY)
def test_nobody_is_sent_to_sign_in_and_back(path):
    response = Client().get(path)
    assert response.status_code == 302
    assert response["Location"].startswith("/sign-in/?next=/")


@pytest.mark.parametrize("path", MEMBERS_ONLY)
def test_a_person_without_an_organisation_sees_nothing(path):
    client = Client(headers={"accept-language": "en"})
    user = User.objects.create(username="alone")
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    response = client.get(path)
    assert response.status_code == 403
    assert "act for no organisation" in response.content.decode()


def test_what_members_see_is_not_to_be_cached(pages):
    assert "no-store" in pages.get("/registrations/")["Cache-Control"]


def test_signing_in_works_and_a_wrong_password_says_so(maker):
    user = member(maker)
    user.set_password("right")
    user.save()
    client = Client(headers={"accept-language": "en"})
    wrong = client.post("/sign-in/", {"username": "zhang", "password": "wrong"})
    assert "do not fit" in wrong.content.decode()
    right = client.post(
        "/sign-in/", {"username": "zhang", "password": "right", "next": "/registrations/"}
    )
    assert right["Location"] == "/registrations/"
    client.post("/sign-out/")
    plain = client.post("/sign-in/", {"username": "zhang", "password": "right"})
    assert plain["Location"] == "/"
    assert client.get("/sign-out/").status_code == 405
    assert client.post("/sign-out/").status_code == 302
    assert client.get("/registrations/").status_code == 302


def test_a_full_code_leads_straight_to_its_page(maker, pages):
    pack = stored.pack(maker)
    response = pages.get("/search/", {"q": f" {pack.code.lower()} "})
    assert response["Location"] == f"/batteries/{pack.code}/"


def test_part_of_a_code_gives_a_list_with_the_reason(maker, pages):
    pack = stored.pack(maker)
    page = pages.get("/search/", {"q": "04QP"}).content.decode()
    assert f"/batteries/{pack.code}/" in page
    assert "begins with it" in page


def test_a_pasted_list_names_what_was_not_found_and_what_is_no_code(maker, pages):
    pack = stored.pack(maker)
    unknown = stored.code("P", 999)
    page = pages.post("/search/", {"codes": f"{pack.code}\t{unknown};04QPX520"}).content.decode()
    assert f"/batteries/{pack.code}/" in page
    assert unknown in page
    assert "No code at all" in page


def test_a_search_that_means_nothing_is_refused_in_words(pages):
    response = pages.get("/search/", {"q": "a"})
    assert response.status_code == 400
    assert "cannot be searched for" in response.content.decode()


def test_home_shows_what_came_last(maker, pages):
    pack = stored.pack(maker)
    assert f"/batteries/{pack.code}/" in pages.get("/").content.decode()


def test_a_job_shows_each_row_with_its_wrong_digit_marked(pages, job):
    page = pages.get(f"/registrations/{job.id}/").content.decode()
    assert '<mark class="digit">U</mark>' in page
    assert "(character 15)" in page
    assert f"/registrations/{job.id}/failed-rows/" in page


def test_the_figures_of_a_job_filter_its_rows(pages, job):
    page = pages.get(f"/registrations/{job.id}/", {"result": "blocked"}).content.decode()
    assert stored.code("C", 2) in page
    assert '<mark class="digit">' not in page
    assert pages.get(f"/registrations/{job.id}/", {"result": "odd"}).status_code == 400
    assert pages.get(f"/registrations/{job.id}/", {"after": "-1"}).status_code == 400


def test_progress_is_asked_for_until_the_job_is_done(maker, pages):
    running = _job(maker, "running", rows_total=300, rows_done=120)
    page = pages.get(f"/registrations/{running.id}/progress/")
    assert 'hx-trigger="every 1s"' in page.content.decode()
    assert "120 of 300 rows" in page.content.decode()
    Job.objects.filter(id=running.id).update(state="succeeded")
    done = pages.get(f"/registrations/{running.id}/progress/")
    assert done["HX-Refresh"] == "true"


@pytest.mark.parametrize("part", ["", "progress/", "failed-rows/"])
def test_a_job_of_others_is_not_there(job, part):
    stranger = browser(stored.party("Other", Role.BATTERY_MAKER, number=2), "li")
    assert stranger.get(f"/registrations/{job.id}/{part}").status_code == 404


def test_sending_without_a_file_says_so(pages):
    response = pages.post("/registrations/", {"structure": "pack"})
    assert response.status_code == 400
    assert "Nothing was taken" in response.content.decode()


def test_one_person_acts_for_the_organisation_that_was_chosen(maker):
    other = stored.party("Second", Role.SWAP_OPERATOR, number=2)
    pages = browser(maker)
    member(other)
    pack = stored.pack(other)
    assert pages.get(f"/batteries/{pack.code}/").status_code == 404
    pages.post("/organisation/", {"organisation": str(other.organisation.pk)})
    assert pages.get(f"/batteries/{pack.code}/").status_code == 200
    assert pages.post("/organisation/", {"organisation": "999999"}).status_code == 404


def _job(maker, state, **fields):
    now = timezone.now()
    file, _ = StoredFile.objects.get_or_create(
        sha256=b"\1" * 32, defaults={"size_bytes": 1, "stored_at": now}
    )
    job = Job.objects.create(
        id=uuid4(), organisation=maker.organisation, credential=maker.credential,
        key=str(uuid4()), request_sha256=bytes(32), file=file, filename="班次.xlsx",
        structure="pack", basis="maker", on_error="none", is_dry_run=False, state=state,
        created_at=now, **fields,
    )  # fmt: skip
    wrong = "04QCB52091380JU120006435"
    blocked = stored.code("C", 2)
    row_results.write(
        job.id,
        [
            RowResult("Sheet1", 2, wrong, "refused", "code_malformed", {"column": "cell"}, 15),
            RowResult("Sheet1", 3, blocked, "blocked", "unit_blocked", {"unit": "X"}, 0),
        ],
    )
    return job
