"""The page and the API of what a reload would change: shown without secrets, and put in force."""

from __future__ import annotations

import re
import resource
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from headgate_admin.configuration.pending import IDENTITIES, changes
from headgate_admin.configuration.reloads import MOST_CHANGES
from headgate_gateway.process.reloader import Reloader
from headgate_gateway.settings import Settings, describe_settings, load
from tests.admin.asking import submitted
from tests.admin.consoles import OPERATOR, VIEWER, Client, Clock, Switchboard, setup
from tests.admin.consoles import console as console_of
from tests.support.log_lines import capture_logs
from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

ADMITTED = f"""
[[admin.tokens]]
name = "shop"
role = "operator"
token = "{OPERATOR}"
[[admin.tokens]]
name = "wall"
role = "viewer"
token = "{VIEWER}"
"""


class Console:
    """An application whose settings come from a file; it counts how often that is read."""

    environment: Mapping[str, str] = MappingProxyType({})
    flags: Mapping[str, object] = MappingProxyType({})

    def __init__(self, file: Path) -> None:
        self.file = file
        self.clock = Clock()
        self.reads = 0
        self.client: Client

    def write(self, text: str, more: str = ADMITTED) -> None:
        """Write the file anew, with those who are admitted; a second passes."""
        self.file.write_text(text + more)
        self.clock.now += 1

    def read(self) -> Settings:
        self.reads += 1
        return load(self.file, self.environment, self.flags, look_at_files=True)

    async def pending(self) -> Any:
        """Return what the API tells a viewer."""
        status, found = await self.client.api("GET", "configuration/pending", token=VIEWER)
        assert status == 200, found
        return found

    async def page(self) -> str:
        """Return the page, as a viewer sees it."""
        return await self.client.page("/configuration", VIEWER)

    async def press(self) -> tuple[int, str]:
        """Send the form of the button."""
        return await self.client.send("POST", "/configuration", data={})


@asynccontextmanager
async def console(
    file: Path,
    text: str,
    environment: Mapping[str, str] = MappingProxyType({}),
    flags: Mapping[str, object] = MappingProxyType({}),
) -> AsyncIterator[Console]:
    made = Console(file)
    made.environment, made.flags = environment, flags
    made.write(text)

    async def apply(settings: Settings) -> None:
        """Have no process that serves by them."""

    reloader = Reloader(made.read(), made.read, apply)
    async with console_of(made=setup(made.clock)._replace(reloader=reloader)) as made.client:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "headgate.toml"


async def test_nothing_is_pending_while_the_file_says_what_is_in_force(file: Path) -> None:
    async with console(file, "live.long_poll_timeout = 10\n") as at:
        found = await at.pending()
        assert (found["changes"], found["problems"], found["refusals"]) == ([], [], [])
        assert found["file"] == str(file)
        assert "What is written is in force." in await at.page()


async def test_a_change_in_the_file_is_shown_with_its_line_and_the_effect_of_a_reload(
    file: Path,
) -> None:
    async with console(file, "") as at:
        at.write("\nlive.long_poll_timeout = 10\n")
        assert (await at.pending())["changes"] == [
            {
                "key": "live.long_poll_timeout",
                "table": "",
                "current": "20",
                "written": "10",
                "source": f"{file}:2",
                "reload": "yes, for polls that begin then",
                "needs_restart": False,
            }
        ]
        page = await at.page()
        assert "1 setting differs." in page
        assert f"{file}:2" in page


async def test_routes_are_found_again_by_their_prefix_and_told_what_becomes_of_them(
    file: Path,
) -> None:
    def routes(*tables: str) -> str:
        return "".join(f"\n[[routes]]\n{it}\n" for it in tables)

    kept = 'prefix = "/kept"\norigin = "http://127.0.0.1:9/k"'
    gone = 'prefix = "/gone"\norigin = "http://127.0.0.1:9/g"'
    async with console(file, routes(gone, kept)) as at:
        fresh = 'prefix = "/new"\nstorage = "memory:"'
        at.write(routes(f"{kept}\ntail_max_age = 7", fresh))
        found = await at.pending()
    assert [(it["key"], it["table"], it["current"], it["written"]) for it in found["changes"]] == [
        ("routes[0].tail_max_age", "/kept", "1", "7"),
        ("routes[1].prefix", "/new", None, "/new"),
        ("routes[1].storage", "/new", None, "memory:"),
        ("routes[0]", "/gone", "/gone", None),
    ]
    assert {it["prefix"]: it["outcome"].partition(":")[0] for it in found["routes"]} == {
        "/kept": "goes on",
        "/new": "is opened",
        "/gone": "is closed",
    }
    assert found["refusals"] == []


async def test_a_setting_that_needs_a_restart_comes_first_with_the_sentence_of_the_reload(
    file: Path,
) -> None:
    async with console(file, "") as at:
        at.write("live.long_poll_timeout = 10\nlog.format = 'json'\n")
        found = await at.pending()
        assert [(it["key"], it["needs_restart"]) for it in found["changes"]] == [
            ("log.format", True),
            ("live.long_poll_timeout", False),
        ]
        assert found["refusals"] == [
            f"{file}:2: log.format cannot be changed by a reload: it is auto until a restart"
        ]


TABLE = '[[routes]]\nprefix = "{}"\nLOG'


@pytest.mark.parametrize(
    ("text", "written", "reason"),
    [
        (
            '[[routes]]\nprefix = "/a"\nLOG',
            '[[routes]]\nprefix = "/b"\nLOG',
            "/b cannot have the log",
        ),
        ("", 'auth = ["tokens"]\n', "auth has tokens, which needs credentials.tokens_file"),
    ],
    ids=["a-log-that-another-route-has-open", "a-file-that-cannot-be-used"],
)
async def test_what_a_reload_would_refuse_is_told_before_it(
    file: Path, text: str, written: str, reason: str
) -> None:
    log = f'storage = "file:{file.parent}/log"\n'
    async with console(file, text.replace("LOG", log)) as at:
        at.write(written.replace("LOG", log))
        (refusal,) = (await at.pending())["refusals"]
    assert reason in refusal


async def test_an_invalid_file_is_shown_with_the_lines_of_its_problems(file: Path) -> None:
    async with console(file, "") as at:
        at.write('long_pol_timeout = 1\nlimits.max_append = "<b>"\n')
        found = await at.pending()
        assert [it.partition(" ")[0] for it in found["problems"]] == [f"{file}:1:", f"{file}:2:"]
        assert found["changes"] == []
        page = await at.page()
        assert "The file is not valid." in page
        assert "<b>" not in page
        assert "&lt;b&gt;" in page
        at.write("x =\n")
        (problem,) = (await at.pending())["problems"]
        assert problem.startswith(f"{file}:1")


async def test_a_changed_secret_is_shown_as_another_one_and_never_itself(file: Path) -> None:
    origin = '[[routes]]\nprefix = "/a"\nstorage = "redis://app:{}@h"\n'
    async with console(file, origin.format("first-password")) as at:
        at.write(origin.format("second-password"), ADMITTED.replace(OPERATOR, "p" * 32))
        found = await at.pending()
        told = {it["key"]: it["written"] for it in found["changes"]}
        assert told == {
            "routes[0].storage": "redis://app:***@h:6379 (another one)",
            "admin.tokens[0].token": "*** (another one)",
        }
        everything = f"{found} {await at.page()}"
        for secret in ("first-password", "second-password", OPERATOR, "p" * 32):
            assert secret not in everything


async def test_an_operator_reloads_from_the_page_and_the_audit_log_says_so(file: Path) -> None:
    async with console(file, "") as at:
        at.write("live.long_poll_timeout = 10\n")
        with capture_logs() as lines:
            assert (await at.press())[0] == 303
        (line,) = [line for line in lines if line["event"] == "admin.changed"]
        assert (line["operation"], line["by"]) == ("reload", "shop")
        assert (await at.pending())["changes"] == []


async def test_a_refused_reload_shows_each_reason_on_the_page(file: Path) -> None:
    async with console(file, "") as at:
        at.write("long_pol_timeout = 10\nnothing = 1\n")
        with capture_logs() as lines:
            status, page = await at.press()
        assert status == 409
        assert "The reload was refused." in page
        assert page.count("is not a setting") == 4  # in the refusal, and in the state of the file
        assert "admin.change_failed" in [line["event"] for line in lines]


async def test_the_file_is_read_at_most_once_a_second_and_anew_after_a_reload(file: Path) -> None:
    async with console(file, "") as at:
        reads = at.reads
        for _ in range(5):
            await at.pending()
        assert at.reads == reads + 1
        at.clock.now += 0.9
        await at.pending()
        assert at.reads == reads + 1
        at.clock.now += 0.1
        await at.pending()
        assert at.reads == reads + 2
        at.clock.now -= 3600  # set back
        await at.pending()
        assert at.reads == reads + 3


TIMEOUT, LIFETIME = "live.long_poll_timeout", "live.sse_max_age"


@pytest.mark.usefixtures("processes")
def test_no_value_is_shown_in_force_that_a_refused_reload_would_have_brought(file: Path) -> None:
    file.write_text(f"{TIMEOUT} = 10\n")
    variable = "HEADGATE_LIVE__SSE_MAX_AGE"
    arguments = ["--config", str(file), "--log-level", "warning"]
    with headgate(environment={variable: "50"}, arguments=arguments) as server:
        for written, reason in (
            ("nothing = 1\n", "is not a setting"),
            ("http.trusted_proxies = ['10.0.0.1']\n", "cannot be changed by a reload"),
            ("auth = ['tokens']\n", "needs credentials.tokens_file"),
            (f"{TIMEOUT} = ", "is not TOML"),
        ):
            file.write_text(f"{written}{TIMEOUT} = 12\n{LIFETIME} = 13\nlog.level = 'debug'\n")
            status, shown = submitted(server, "/configuration")
            assert (status, reason in shown) == (409, True), shown
            assert in_force(shown, TIMEOUT) == ("10", f"{file}:1")
            assert in_force(shown, LIFETIME) == ("50", variable)
            assert in_force(shown, "log.level") == ("warning", "--log-level")
            assert in_force(shown, "http.trusted_proxies") == ("[]", "default")
            assert in_force(shown, "auth")[0] != "tokens"
            assert "What is written is in force" not in shown


def in_force(page: str, key: str) -> tuple[str, str]:
    """Return the value and the source of a setting, as the page has them in force."""
    tables = page.partition("Filter the settings")[2]
    (row,) = re.findall(f"<code>{key}</code>.*?</tr>", tables, re.DOTALL)
    value, source = re.findall("<td[^>]*>(.*?)</td>", re.sub("</?code>", "", row))[:2]
    return re.sub("<.*?>", "", value), source


async def test_a_written_value_that_the_environment_or_the_command_replaces_is_named(
    file: Path,
) -> None:
    environment = {"HEADGATE_LIVE__LONG_POLL_TIMEOUT": "30", "HEADGATE_LIVE__SSE_MAX_AGE": "50"}
    flags = {"live__sse_max_age": 60}
    async with console(file, f"{TIMEOUT} = 10\n", environment, flags) as at:
        for more, places in (("", []), (f"{LIFETIME} = 40\n", [f"{file}:2: {LIFETIME}"])):
            at.write(f"{TIMEOUT} = 20\n{more}")
            assert (await at.pending())["outranked"] == [
                f"{file}:1: {TIMEOUT} does not count: HEADGATE_LIVE__LONG_POLL_TIMEOUT comes first",
                *(f"{it} does not count: HEADGATE_LIVE__SSE_MAX_AGE comes first" for it in places),
                "HEADGATE_LIVE__SSE_MAX_AGE does not count: --live-sse-max-age comes first",
            ]
            assert in_force(await at.page(), TIMEOUT) == ("30", "HEADGATE_LIVE__LONG_POLL_TIMEOUT")
            assert in_force(await at.page(), LIFETIME)[0] == "60"
            page = await at.page()
            assert "What is written is in force, but for this:" in page
            assert f"{file}:1: {TIMEOUT} does not count" in page


async def test_a_limit_that_the_open_files_lower_is_shown_as_it_counts(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "limits.max_connections = 5000\nlimits.max_live_readers = 100\n"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    async with console(file, text) as at:
        most = Settings().limits.connection_limit(1024)
        value, _ = in_force(await at.page(), "limits.max_connections")
        assert value == f"5000in force: {most}, for the open-file limit"
        assert in_force(await at.page(), "limits.max_live_readers") == ("100", f"{file}:2")


async def test_settings_with_their_defaults_are_folded(file: Path) -> None:
    async with console(file, f"{TIMEOUT} = 10\n") as at:
        page = (await at.page()).partition("Filter the settings")[2]
    first, second = page.split("<details")[1:3]
    assert first.startswith(" open><summary><strong>In force, other than the default")
    assert second.startswith("><summary><strong>In force, as the default")
    assert TIMEOUT in first
    assert LIFETIME in second


def test_each_array_of_tables_says_what_identifies_a_table() -> None:
    arrays = {it.path: one.table for it, one in describe_settings() if one.table is not None}
    assert IDENTITIES.keys() == arrays.keys()
    for key, table in arrays.items():
        assert {*IDENTITIES[key]} <= table.settings.keys()


@pytest.mark.parametrize(
    ("routes", "shown"), [(MOST_CHANGES // 2, MOST_CHANGES), (MOST_CHANGES // 2 + 1, MOST_CHANGES)]
)
async def test_as_many_changes_are_shown_as_the_bound_says_and_all_are_counted(
    file: Path, routes: int, shown: int
) -> None:
    async with console(file, "") as at:
        tables = (f'[[routes]]\nprefix = "/r{n}"\nstorage = "memory:"\n' for n in range(routes))
        at.write("".join(tables))
        found = await at.pending()
        assert (len(found["changes"]), found["changes_in_all"]) == (shown, 2 * routes)
        assert len(await at.page()) < 1_000_000


def test_equal_tables_are_told_apart_by_their_number() -> None:
    varnish = {"kind": "varnish", "url": "http://v:6081"}
    two = Settings.of({"purges": [varnish, varnish]})
    (gone,) = changes(two, Settings.of({"purges": [varnish]}))
    assert (gone.table, gone.written) == ("varnish http://v:6081 (2)", None)


async def test_files_that_are_read_again_by_themselves_are_listed_with_their_trouble(
    file: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text("tokens = []\n")
    tokens.chmod(0o600)
    board = Switchboard(notes={str(tokens): "line 3: no TOML"})
    async with console_of(board, tokens_file=str(tokens)) as client:
        _, found = await client.api("GET", "configuration/pending")
    assert found["files"] == [
        {"setting": "credentials.tokens_file", "path": str(tokens), "problem": "line 3: no TOML"}
    ]
