"""What people come for, from the first page to the last, as they see it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from tests import stored
from tests.browser.conftest import PHONE
from tests.portal.people import member
from traceability.core.roles import Role
from traceability.models.intake import Job, StoredFile

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def maker():
    actor = stored.party("长江电池", Role.BATTERY_MAKER)
    user = member(actor)
    user.set_password("right-horse")
    user.save()
    return actor


def sign_in(page) -> None:
    page.get_by_role("link", name="登录").click()
    page.get_by_label("用户名").fill("zhang")
    page.get_by_label("密码").fill("right-horse")
    page.get_by_role("button", name="登录").click()
    page.get_by_role("heading", name="查询电池").wait_for()


def test_a_maker_finds_a_pack_by_its_end_and_checks_the_evidence_offline(
    maker, open_page, tmp_path
):
    pack = stored.pack(maker)
    stored.installed(maker, pack.code)
    page = open_page()
    sign_in(page)
    page.get_by_label("编码、部分编码").fill(pack.code[-6:])
    page.get_by_role("button", name="查询").first.click()
    page.locator(f'a[href="/batteries/{pack.code}/"]').first.click()
    assert page.get_by_text("全部 2 条记录已重新计算哈希").is_visible()
    assert page.get_by_text(pack.cells[0]).first.is_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="下载证据文件").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    check = subprocess.run(
        [sys.executable, "-m", "traceability.core.bundle", str(file)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert check.returncode == 0, check.stdout + check.stderr


def test_a_tampered_record_cannot_be_overlooked(maker, open_page):
    pack = stored.pack(maker)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE event DISABLE TRIGGER guard_rows")
        cursor.execute("UPDATE event SET body = replace(body, 'LF280K', 'LF999K')")
        cursor.execute("ALTER TABLE event ENABLE ALWAYS TRIGGER guard_rows")
    page = open_page()
    sign_in(page)
    page.goto(f"/batteries/{pack.code}/")
    alarm = page.get_by_role("alert")
    assert "此记录校验不通过" in alarm.inner_text()
    assert alarm.bounding_box()["y"] < 300
    assert page.get_by_text("链已断裂").is_visible()


def test_pages_fit_a_phone_and_a_keyboard(maker, open_page):
    pack = stored.pack(maker, modules=3, cells=20)
    page = open_page(viewport=PHONE)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#content"
    sign_in(page)
    for path in ("/", "/registrations/", f"/batteries/{pack.code}/", "/codes/", f"/b/{pack.code}"):
        page.goto(path)
        wider = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wider == 0, path
    page.goto(f"/batteries/{pack.code}/")
    page.locator(".tree summary").first.focus()
    page.keyboard.press("Enter")
    assert page.get_by_text(pack.cells[0]).first.is_visible()


def test_the_language_is_changed_with_one_click_and_stays(open_page):
    page = open_page("/codes/?code=04QCB76836300JBC40000903")
    assert page.get_by_text("生产日期").first.is_visible()
    page.get_by_role("link", name="English").click()
    assert page.get_by_text("production date").first.is_visible()
    page.goto("/")
    assert page.get_by_role("heading", name="Find a battery").is_visible()


def test_a_job_in_work_shows_its_end_without_a_hand_being_lifted(maker, open_page):
    now = timezone.now()
    file = StoredFile.objects.create(sha256=b"\2" * 32, size_bytes=1, stored_at=now)
    job = Job.objects.create(
        id=uuid4(), organisation=maker.organisation, credential=maker.credential, key="k",
        request_sha256=bytes(32), file=file, filename="早班.xlsx", structure="pack",
        basis="maker", on_error="none", is_dry_run=False, state="running", created_at=now,
        rows_total=300, rows_done=120,
    )  # fmt: skip
    page = open_page()
    sign_in(page)
    page.goto(f"/registrations/{job.id}/")
    assert page.get_by_text("已处理 120 行").is_visible()
    Job.objects.filter(id=job.id).update(state="succeeded", accepted=300, finished_at=now)
    page.get_by_role("heading", name="逐行结果").wait_for(timeout=8_000)
    assert page.get_by_role("link", name="300").first.is_visible()
