"""Who gets to see the dashboard's pages, and what they tell, asked of a real database."""

from __future__ import annotations

import html
import os
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from psycopg import sql
from starlette.testclient import TestClient

from dbsync import __version__, schema
from dbsync.apply.greetings import keep as greet
from dbsync.config.load import load
from dbsync.dashboard import users
from dbsync.dashboard.app import Dashboard
from dbsync.dashboard.users import Role
from dbsync.errors import ConfigError, PrivilegeError, Refusal, UsageError
from dbsync.identity.keys import Keys
from dbsync.model.greeting import Carried, Greeting
from tests.docs.manual import expect_command
from tests.integration.people import Person
from tests.integration.test_least_rights import login
from tests.support.seeded import SECRET, TABLES, Seeded
from tests.support.served import serving
from tests.support.servers import Servers
from tests.support.visiting import HERE, PASSWORD, entered, pages, peopled, post, token, words

LOOKS = (
    "/", "/nodes", "/nodes/field-07", "/tables", "/batches", "/batches?node=field-01", "/quarantine", "/quarantine?state=all",
    "/quarantine?node=field-07&table=clinic_*", "/conflicts", "/conflicts?conflict=update_origin_differs", "/lists", "/log", "/about",
)  # fmt: skip


@pytest.fixture(scope="module")
def ground(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """Give a server and a laptop, the same for all questions here."""
    with peopled(servers, tmp_path_factory.mktemp("server")) as found:
        yield found


def test_nobody_sees_anything_without_a_password(ground: Seeded, tmp_path: Path) -> None:
    with pages(ground, tmp_path) as browser:
        for path in LOOKS:
            came = browser.get(path)
            assert (came.status_code, came.headers["location"].partition("=")[0]) == (303, "/login?next"), path
        assert browser.get("/live?of=health").status_code == 403
        for name, password in (("anna", "wrong horse battery"), ("nobody", PASSWORD), ("", ""), ("anna'--", "x\x00y")):
            came = post(browser, "/login", name=name, password=password)
            assert (came.status_code, "That is not right" in came.text) == (403, True)
            assert "set-cookie" not in came.headers
        came = post(browser, "/login", name="anna", password=PASSWORD, next="//evil.example/")
        assert came.headers["location"] == "/"
        cookie = came.headers["set-cookie"]
        assert ("HttpOnly" in cookie, "samesite=strict" in cookie.lower(), "Secure" in cookie) == (True, True, False)
        assert browser.get("/").status_code == 200
    kept = ground.server.sql("SELECT encode(token, 'escape') FROM dbsync.web_session")
    assert not [row for row in kept if cookie.partition("=")[2].partition(";")[0] in row[0]]


def test_every_page_is_shown_guarded_and_holds_no_value(ground: Seeded, tmp_path: Path) -> None:
    with pages(ground, tmp_path) as browser:
        entered(browser, "ben")
        cases = re.findall(r'href="(/quarantine/\d+)"', browser.get("/quarantine").text)
        conflicts = re.findall(r'href="(/conflicts/\d+)"', browser.get("/conflicts").text)
        lists = re.findall(r'href="(/lists/[0-9a-f-]+)"', browser.get("/lists").text)
        assert (len(set(cases)), len(set(conflicts)), len(set(lists))) == (2, 3, 1)
        for path in (*LOOKS, *cases, *conflicts, *lists, f"{cases[0]}?values=1", f"{conflicts[0]}?values=1"):
            page = browser.get(path)
            assert page.status_code == 200, path
            assert SECRET not in page.text, path
            assert page.text.index('id="health"') < page.text.index("<h1"), "the sentence comes first"
        files = re.findall(r'"(/static/[^"]+)"', browser.get("/").text)
        assert len(files) == 5
        for path in (
            *LOOKS,
            "/login",
            "/no/such",
            "/quarantine/999999",
            "/quarantine/x",
            "/nodes/nobody",
            "/static/live.js",
            *files,
        ):
            told = browser.get(path).headers
            assert "default-src 'none'" in told["content-security-policy"], path
            assert "unsafe" not in told["content-security-policy"], path
            kept = "max-age=31536000, immutable" if path in files else "no-store"
            assert (told["cache-control"], told["x-content-type-options"]) == (kept, "nosniff"), path
        missing = browser.get("/quarantine/999999")
        assert (missing.status_code, "dbsync quarantine list" in missing.text) == (409, True)


def test_the_pages_tell_what_is_in_the_database(ground: Seeded, tmp_path: Path) -> None:
    with pages(ground, tmp_path) as browser:
        entered(browser)
        first = words(browser.get("/").text)
        assert "2 changes wait for a person; all 5 nodes were here within a day." in first
        assert "field-05 revoked" in first
        drawn = re.search(
            r"Came from nodes , the last 24 h: ([\d,]+) changes, the oldest .* old when it was here", first
        )
        assert drawn is not None
        assert drawn[1] != "0"
        assert "field-07 enrolled just now 3 (4)" in first
        assert "clinic_visit ship subject_id.subject_identifier, visit_code 2" in words(browser.get("/tables").text)
        assert "1 table not registered django_session" in words(browser.get("/tables").text)
        listed = words(browser.get("/quarantine").text)
        assert "2 rows, and 2 changes behind them" in listed
        assert "clinic_requisition (REQ7900) insert field-07 3 just now reference_missing 0" in listed
        assert "No row is like that." in words(browser.get("/quarantine?state=skipped").text)
        number = re.findall(r'href="/quarantine/(\d+)"', browser.get("/quarantine?conflict=check_violation").text)[0]
        case = words(browser.get(f"/quarantine/{number}").text)
        assert "violates check constraint" in case
        assert f"dbsync quarantine retry {number} --here" in case
        assert case.count("clinic_visit (092-40990141-5, 1000)") == 2
        assert "3 conflicts" in words(browser.get("/conflicts").text)
        assert "REQ7777" in browser.get(re.findall(r'href="(/lists/[0-9a-f-]+)"', browser.get("/lists").text)[0]).text
        assert "field-07 the laptop" not in first
        assert "the laptop was stolen" in words(browser.get("/nodes/field-05").text)
        assert browser.get("/batches?node=field-07").text.count('scope="row">field-07') == 3


def test_a_node_is_told_of_with_all_that_it_said_of_itself(ground: Seeded, tmp_path: Path) -> None:
    carried = (Carried(relay="driver", changes=20, since=datetime.now(UTC)),)
    said = Greeting(
        program="0.0.9", schema="0011", clock_off=None, pending=41, exact=False, oldest=None, carried=carried
    )
    with ground.server.connect() as connection:
        greet(connection, "field-05", said)
    with pages(ground, tmp_path) as browser:
        told = words(entered(browser).get("/nodes").text)
    heads = "Node State Seen Pending With Clock Version Schema Last batch Lag Today In quarantine"
    assert heads in told
    here = re.escape(f"{__version__.partition('+')[0]} {schema.head()}")
    seen = r"(?:just now|\d+ min ago)"
    for row in (
        rf"field-02 enrolled {seen} 0 - right 0\.0\.9 0011 59 \(",
        rf"field-04 enrolled {seen} 0 - 94 s behind {here} ",
        rf"field-05 revoked {seen} ~ ?41 {seen} driver \? 0\.0\.9 0011 59 \(",
        rf"field-07 enrolled {seen} 33 {seen} - right {here} 3 \(4\)",
    ):
        assert re.search(row, told), f"{row}\n{told}"


def test_every_command_that_a_page_shows_is_one_with_the_options_it_has(ground: Seeded, tmp_path: Path) -> None:
    with pages(ground, tmp_path, "allow_actions = true") as browser:
        entered(browser)
        looks = [*LOOKS, "/quarantine/999999", "/no/such"]
        for path in ("/quarantine", "/conflicts", "/lists"):
            looks += re.findall(rf'href="({path}/[^"?]+)"', browser.get(path).text)
        shown = {one for path in looks for one in re.findall(r"<code>(dbsync [^<]+)</code>", browser.get(path).text)}
    acts = ("retry --all", "skip", "undo", "revoke", "conflicts show", "lists", "status", "web log")
    assert [act for act in acts if not any(act in one for one in shown)] == []
    for one in shown:
        _, *typed = shlex.split(html.unescape(one))
        expect_command(typed)


def test_values_are_shown_to_those_who_may_see_them_and_that_is_written_down(ground: Seeded, tmp_path: Path) -> None:
    with pages(ground, tmp_path, "show_values = true") as browser:
        entered(browser)
        case = re.findall(r'href="(/quarantine/\d+)"', browser.get("/quarantine?conflict=check_violation").text)[0]
        conflict = re.findall(r'href="(/conflicts/\d+)"', browser.get("/conflicts").text)[0]
        assert SECRET not in browser.get(case).text
        assert SECRET in browser.get(f"{case}?values=1").text
        both = words(browser.get(f"{conflict}?values=1").text)
        assert f"initials differs {SECRET} XX" in both
        log = words(browser.get("/log").text)
        assert f"dbsync quarantine show {case.rpartition('/')[2]} --show-values --here" in log
        assert f"dbsync conflicts show {conflict.rpartition('/')[2]} --show-values --here" in log
        ben = entered(TestClient(browser.app, base_url=HERE, follow_redirects=False), "ben")
        assert SECRET not in ben.get(f"{case}?values=1").text
    with pages(ground, tmp_path) as browser:
        assert SECRET not in entered(browser).get(f"{case}?values=1").text, "dbsync.toml does not allow it"


def test_a_browser_is_out_after_a_while_and_at_once_when_somebody_says_so(ground: Seeded, tmp_path: Path) -> None:
    config_file = tmp_path / "dbsync.toml"
    with pages(ground, tmp_path) as browser:
        config = load(config_file, os.environ)
        for end in (
            "UPDATE dbsync.web_session SET used_at = now() - interval '31 minutes'",
            "UPDATE dbsync.web_session SET begun_at = now() - interval '13 hours'",
            lambda: users.change_password(config, "anna", PASSWORD),
            lambda: post(browser, "/logout", token=token(browser)),
        ):
            entered(browser)
            assert browser.get("/about").status_code == 200
            ground.server.sql(end) if isinstance(end, str) else end()
            assert browser.get("/about").status_code == 303
        entered(browser)
        users.change(config, "anna", role=Role.VIEWER, sees_values=False)
        assert "anna, viewer" in browser.get("/about").text, "it counts at once"
        users.remove(config, "anna")
        assert browser.get("/about").status_code == 303
        users.add(config, "anna", PASSWORD, role=Role.OPERATOR, sees_values=True)
        with pytest.raises(Refusal, match="already"):
            users.add(config, "anna", PASSWORD, role=Role.VIEWER, sees_values=False)


def test_a_page_elsewhere_cannot_send_forms_in_a_browsers_name(ground: Seeded, tmp_path: Path) -> None:
    with pages(ground, tmp_path) as browser:
        entered(browser)
        good = token(browser)
        for origin in (None, "null", "http://evil.example", "http://127.0.0.1:9999"):
            assert post(browser, "/logout", origin, token=good).status_code == 403
            assert post(browser, "/login", origin, name="anna", password=PASSWORD).status_code == 403
        assert post(browser, "/logout", token="0" * 64).status_code == 403
        assert browser.get("/about").status_code == 200
        for host in ("evil.example:8480", "evil.example", "127.0.0.1.evil.example:8480"):
            assert browser.get("/login", headers={"host": host}).status_code == 403, "a name that was pointed here"
        assert post(browser, "/login", content="x" * (1 << 17)).status_code == 413
        assert post(browser, "/logout", token=good).status_code == 303


def test_behind_tls_the_cookie_goes_over_no_other_line(ground: Seeded, tmp_path: Path) -> None:
    with pages(ground, tmp_path, "behind_proxy = true") as browser:
        said = browser.post(
            "/login",
            data={"name": "anna", "password": PASSWORD},
            headers={
                "origin": "https://clinic.example",
                "host": "clinic.example",
                "x-forwarded-for": "6.6.6.6, 192.0.2.7",
            },
        )
        assert (said.status_code, "Secure" in said.headers["set-cookie"]) == (303, True)
    assert ground.server.value("SELECT address FROM dbsync.audit ORDER BY id DESC LIMIT 1") == "192.0.2.7"


def test_the_pages_are_served_in_the_clear_to_nobody_else(ground: Seeded, tmp_path: Path) -> None:
    for listen in ("0.0.0.0:0", "[::]:0", "192.0.2.7:8480"):
        ground.write(tmp_path, f'listen = "{listen}"')
        with pytest.raises(ConfigError, match="without TLS"):
            Person(config=tmp_path / "dbsync.toml").type("web")


def test_wrong_passwords_make_the_next_try_wait_also_for_the_right_one(ground: Seeded, tmp_path: Path) -> None:
    with pages(ground, tmp_path) as browser:
        for _ in range(5):
            post(browser, "/login", name="ben", password="wrong horse battery")
        assert standing(ground) == (5, 5)
        ground.server.sql("UPDATE dbsync.web_user SET failures = 12, failed_at = now() WHERE name = 'ben'")
        assert post(browser, "/login", name="ben", password=PASSWORD).status_code == 403
        assert standing(ground) == (12, 5), "what has to wait is neither tried nor written down"
        assert entered(browser, "anna").get("/about").status_code == 200, "nobody else waits"
        ground.server.sql("UPDATE dbsync.web_user SET failed_at = now() - interval '129 seconds' WHERE name = 'ben'")
        entered(browser, "ben")
        assert standing(ground) == (0, 5)
        assert ground.server.value("SELECT count(*) FROM dbsync.audit WHERE who NOT IN ('anna', 'ben')") == 0


def standing(ground: Seeded) -> tuple[int, int]:
    """Give the wrong passwords of one person since the last right one, and those that were ever written down."""
    (found,) = ground.server.sql("""
        SELECT u.failures, (SELECT count(*) FROM dbsync.audit a WHERE a.who = u.name AND a.result = 'refused')
        FROM dbsync.web_user u WHERE u.name = 'ben'
    """)
    return found[0], found[1]


def test_the_pages_need_no_more_than_the_role_made_for_them(ground: Seeded, tmp_path: Path) -> None:
    with (
        login(ground.server, "pages", "dbsync_web") as role,
        login(ground.server, "watcher", "dbsync_reader") as watcher,
        pages(ground, tmp_path, "show_values = true", role=role) as browser,
    ):
        entered(browser)
        case = re.findall(r'href="(/quarantine/\d+)"', browser.get("/quarantine").text)[0]
        for path in (*LOOKS, case, browser.get("/conflicts").text.partition('href="/conflicts/')[0] and "/conflicts"):
            assert browser.get(path).status_code == 200, path
        refused = browser.get(f"{case}?values=1")
        assert (refused.status_code, "permission denied" in refused.text, SECRET in refused.text) == (500, True, False)
        about = words(browser.get("/about").text)
        assert f'no: GRANT dbsync_replicator TO "{role}";' in about.replace("&#34;", '"')
        post(browser, "/logout", token=token(browser))
        for attack in (
            "INSERT INTO dbsync.web_user (name, role, password) VALUES ('eve', 'operator', 'x')",
            "UPDATE dbsync.web_user SET role = 'operator'",
            "UPDATE dbsync.web_user SET password = 'x'",
            "DELETE FROM dbsync.audit",
            "UPDATE dbsync.audit SET who = 'ben'",
            "UPDATE dbsync.audit SET command = ''",
            "SELECT image FROM dbsync.quarantine",
            "SELECT source_image FROM dbsync.conflict",
            "SELECT image FROM dbsync.change",
            "UPDATE dbsync.node SET paused_since = now()",
            "SELECT * FROM clinic_subject",
        ):
            with ground.server.connect(user=role) as session, pytest.raises(Exception, match="permission denied"):
                session.execute(sql.SQL(attack))
        with pytest.raises(PrivilegeError) as caught, pages(ground, tmp_path, role=watcher):
            pass
        assert caught.value.hint == f'GRANT dbsync_web TO "{watcher}";'


def test_a_laptop_shows_its_link(ground: Seeded, tmp_path: Path) -> None:
    ground.write_laptop(tmp_path)
    config = load(tmp_path / "dbsync.toml", os.environ)
    users.add(config, "anna", PASSWORD, role=Role.VIEWER, sees_values=False)
    with Dashboard(config=config, listening=config.web).opened() as app:
        browser = entered(TestClient(app, base_url=HERE, follow_redirects=False))
        first = words(browser.get("/").text)
        assert re.search(
            r"community is out of reach since .*, 33 changes wait safely here, 20 of them are with driver since", first
        )
        assert "connection timeout expired" in first
        assert "Pending 33 changes" in first
        assert "clinic_visit ship subject_id.subject_identifier, visit_code installed 20" in words(
            browser.get("/tables").text
        )
        assert "Sent to community" in words(browser.get("/batches").text)
        for path in LOOKS:
            assert browser.get(path).status_code == (409 if path == "/nodes/field-07" else 200), path


def test_the_server_for_nodes_gives_the_pages_too_where_they_are_asked_for(ground: Seeded, tmp_path: Path) -> None:
    keys = Keys.generate()
    with serving(tmp_path / "with", ground.server, keys=keys, more=f'[web]\npath = "/dashboard"\n{TABLES}') as (
        process,
        url,
    ):
        health = httpx2.get(f"{url}/v1/health")
        with httpx2.Client(base_url=url, headers={"origin": url}, timeout=60) as browser:
            asked = browser.get("/dashboard/quarantine")
            assert asked.headers["location"] == "/dashboard/login?next=/quarantine"
            form = {"name": "anna", "password": PASSWORD, "next": "/quarantine"}
            came = browser.post("/dashboard/login", data=form)
            assert came.headers["location"] == "/dashboard/quarantine"
            assert "Path=/dashboard/" in came.headers["set-cookie"]
            page = browser.get("/dashboard/quarantine").text
            assert 'href="/dashboard/quarantine/' in page
            (script,) = re.findall(r'src="(/dashboard/static/[0-9a-f]{16}/htmx.min.js)"', page)
            assert browser.get(script).status_code == 200
            with browser.stream("GET", "/dashboard/live?of=health,nodes") as live:
                said = live.iter_lines()
                assert "2 changes wait for a person" in next(
                    line for line in said if "health" in line and "data" in line
                )
                assert process.terminate() == 0, "it does not wait for who is listening"
    with serving(tmp_path / "without", ground.server, keys=keys, more=TABLES) as (_, url):
        assert httpx2.get(f"{url}/dashboard/login").status_code == 404
        assert httpx2.get(f"{url}/v1/health").json() == health.json()


class TestUsers:
    """Whom the terminal lets in."""

    def test_a_password_comes_from_a_file_or_the_terminal_and_from_no_command_line(
        self, ground: Seeded, tmp_path: Path
    ) -> None:
        ground.write(tmp_path)
        dba = Person(config=tmp_path / "dbsync.toml")
        (tmp_path / "secret").write_text("another good secret\n")
        given = ("--password-file", str(tmp_path / "secret"))
        assert dba.must("web", "users", "add", "cleo", "--role", "viewer", *given).out == "cleo may log in, as viewer\n"
        assert "cleo" in dba.must("web", "users", "list").out
        (found,) = [user for user in dba.must("web", "users", "list", "--json").json["users"] if user["name"] == "cleo"]
        assert (found["role"], found["sees_values"], found["browsers"], found["failures"]) == ("viewer", False, 0, 0)
        assert "password" not in found
        dba.must("web", "users", "change", "cleo", "--values", "--role", "operator")
        dba.must("web", "users", "password", "cleo", "--password-file", "-", stdin="yet another secret\n")
        dba.must("web", "users", "password", "cleo", stdin="typed in secret\ntyped in secret\n")
        with pages(ground, tmp_path) as browser:
            assert post(browser, "/login", name="cleo", password="typed in secret").status_code == 303
        assert dba.must("web", "log", "--json").json["deeds"][-1]["who"] == "cleo"
        dba.must("web", "users", "remove", "cleo")
        with pytest.raises(Refusal, match="there is no user cleo"):
            dba.type("web", "users", "password", "cleo", *given)
        assert "--password " not in dba.must("web", "users", "add", "--help").out

    def test_a_password_that_is_too_short_is_refused(self, ground: Seeded, tmp_path: Path) -> None:
        ground.write(tmp_path)
        config = load(tmp_path / "dbsync.toml", os.environ)
        with pytest.raises(UsageError, match="12 characters"):
            users.add(config, "dora", "short", role=Role.VIEWER, sees_values=False)
        assert [user.name for user in users.users(config)] == ["anna", "ben"]
