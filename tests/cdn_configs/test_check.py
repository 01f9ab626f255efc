"""Files that were rendered once, held against what the settings ask for now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from headgate_cdn import check as checking
from headgate_cdn.check import LONGEST_FILE, check
from headgate_cdn.errors import Refused, UnknownTarget
from headgate_cdn.options import Options, from_settings
from headgate_cdn.render import mark, render
from headgate_cdn.targets import TARGETS
from headgate_gateway.settings import Address, Settings, load
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NGINX = TARGETS["nginx"]
HERE = from_settings(Settings(), host="streams.example.com", purge=True)


@pytest.mark.usefixtures("processes")
def test_checking_an_unchanged_nginx_file_finds_nothing() -> None:
    report = check(render(NGINX, HERE), Settings())
    assert (report.target, report.difference, report.checker) == ("nginx", "", "nginx")
    assert report.accepted, report.said
    assert report.is_fine


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", ["nginx", "nginx-njs", "haproxy", "caddy"])
@pytest.mark.parametrize("standalone", [False, True], ids=["part", "standalone"])
def test_the_checker_of_each_proxy_accepts_its_rendered_file(name: str, standalone: bool) -> None:
    host = "" if standalone else "streams.example.com"
    text = render(TARGETS[name], Options(host=host, standalone=standalone))
    report = check(text, Settings())
    assert (report.accepted, report.difference) == (True, ""), report.said


@pytest.mark.usefixtures("processes")
def test_checking_a_file_after_a_change_of_settings_shows_a_difference() -> None:
    report = check(render(NGINX, HERE), Settings(live={"long_poll_timeout": 40}))
    assert "\n-    proxy_read_timeout 67s;" in report.difference
    assert "\n+    proxy_read_timeout 87s;" in report.difference
    assert report.accepted
    assert not report.is_fine


@pytest.mark.usefixtures("processes")
def test_checking_a_file_after_a_change_of_the_listen_port_shows_a_difference() -> None:
    report = check(render(NGINX, HERE), Settings(listen=Address("127.0.0.1", 5000)))
    assert "\n-    server 127.0.0.1:4437;" in report.difference
    assert "\n+    server 127.0.0.1:5000;" in report.difference


@pytest.mark.usefixtures("processes")
def test_checking_a_file_that_speaks_plain_http_to_a_gateway_with_tls_shows_a_difference(
    tmp_path: Path,
) -> None:
    paths = Authority.of(tmp_path).issue().write(tmp_path)
    secure = load(None, paths.settings(), {})
    given = {"host": "a.example", "upstream": "gateway.example:4437"}
    plain = render(TARGETS["caddy"], from_settings(Settings(), **given))
    assert "\n+\treverse_proxy https://gateway.example:4437 {" in check(plain, secure).difference
    text = render(TARGETS["caddy"], from_settings(secure, **given))
    assert check(text, secure).difference == ""
    assert "\n+\treverse_proxy gateway.example:4437 {" in check(text, Settings()).difference
    through = from_settings(secure, host="a.example", upstream="http://127.0.0.1:4438")
    assert check(render(TARGETS["varnish"], through), secure).difference == ""


@pytest.mark.usefixtures("processes")
def test_an_explicit_upstream_equal_to_the_default_is_kept_by_a_check() -> None:
    given = from_settings(Settings(), host="a.example", upstream="127.0.0.1:4437")
    moved = Settings(listen=Address("127.0.0.1", 5000))
    assert check(render(NGINX, given), moved).difference == ""


@pytest.mark.usefixtures("processes")
def test_a_changed_setting_unused_by_the_file_is_no_difference() -> None:
    assert check(render(NGINX, HERE), Settings(live={"sse_max_age": 300})).difference == ""


@pytest.mark.usefixtures("processes")
def test_options_of_the_command_line_are_no_difference() -> None:
    chosen = from_settings(
        Settings(),
        upstream="192.0.2.1:80",
        host="a.example",
        listen=9000,
        credentials="per-credential",
        cache_size=1 << 30,
    )
    assert check(render(TARGETS["nginx-njs"], chosen), Settings()).difference == ""


@pytest.mark.usefixtures("processes")
def test_checking_an_edited_file_shows_the_difference_and_the_checker_error() -> None:
    text = render(NGINX, HERE).replace("proxy_cache_lock on;", "proxy_cache_lock maybe;", 1)
    report = check(text, Settings())
    assert "-        proxy_cache_lock maybe;\n+        proxy_cache_lock on;\n" in report.difference
    assert report.accepted is False
    assert 'invalid value "maybe" in "proxy_cache_lock"' in report.said


ON_WINDOWS: dict[str, Callable[[str], str]] = {
    "lines of Windows": lambda text: text.replace("\n", "\r\n"),
    "some lines of Windows": lambda text: text.replace("\n", "\r\n", 3),
    "a byte order mark": lambda text: f"\ufeff{text}",
    "both": lambda text: "\ufeff" + text.replace("\n", "\r\n"),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", ["nginx", "cloudflare-worker", "bunny"])
@pytest.mark.parametrize("left", ON_WINDOWS)
def test_line_ends_and_marks_that_windows_editors_leave_are_no_difference(
    name: str, left: str
) -> None:
    report = check(ON_WINDOWS[left](made_for_any(name)), Settings())
    assert (report.target, report.difference) == (name, "")


def made_for_any(name: str) -> str:
    """Return the file of a target; a checker can look up the name of its gateway."""
    at = "gateway.example.com:4437" if TARGETS[name].is_elsewhere else "127.0.0.1:4437"
    return render(TARGETS[name], from_settings(Settings(), host="a.example", upstream=at))


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("name", "left", "accepted", "warning"),
    [
        ("nginx", "lines of Windows", True, ""),
        ("haproxy", "lines of Windows", True, ""),
        ("caddy", "lines of Windows", True, ""),
        ("varnish", "lines of Windows", True, ""),
        ("cloudflare-worker", "lines of Windows", True, ""),
        ("nginx", "a byte order mark", False, "It begins with a byte order mark"),
        ("haproxy", "both", False, "It begins with a byte order mark"),
        ("caddy", "both", True, "It begins with a byte order mark"),
    ],
)
def test_the_checker_gets_line_ends_and_byte_order_marks_as_they_are(
    name: str, left: str, accepted: bool, warning: str
) -> None:
    report = check(ON_WINDOWS[left](made_for_any(name)), Settings())
    assert (report.accepted, report.is_fine) == (accepted, accepted), report.said
    assert report.warning.startswith(warning)
    assert bool(report.warning) is bool(warning)


CLEARING = [name for name, target in TARGETS.items() if target.clears_forwarded]


def test_every_target_that_can_change_headers_removes_a_forged_forwarded() -> None:
    parts_of_another = {"nginx-njs-script", "cloudfront", "cloudflare-package"}
    parts_of_another |= {"cloudflare-worker-wrangler", "cloudflare-durable-wrangler"}
    change_no_headers = {"bunny", "cloudflare-rules"}
    assert set(TARGETS) - set(CLEARING) == change_no_headers | parts_of_another


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", CLEARING)
def test_checking_a_file_that_passes_on_a_forged_forwarded_warns(name: str) -> None:
    options = from_settings(Settings(), host="a.example", upstream="gateway.example.com:4437")
    text = render(TARGETS[name], options)
    assert check(text, Settings()).warning == ""
    clears = TARGETS[name].clears_forwarded
    report = check(text.replace(clears, ""), Settings())
    assert report.warning.startswith("It passes on the header Forwarded as clients make it up")
    assert report.warning.endswith(f" is missing: {clears}")
    assert not report.is_fine


def test_a_file_is_fine_although_its_checker_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(checking, "SYSTEM", "/nowhere")
    report = check(render(NGINX, HERE), Settings())
    assert (report.accepted, report.said, report.is_fine) == (None, "", True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "bears no mark"),
        ("server {}\n# headgate cdn nginx {}", "bears no mark"),
        ("# headgate cdn nginx\n", "bears no mark"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"Comment": "mine"}', "bears no mark"),
        ("# headgate cdn nginx {\n", "bears no mark"),
        ("# headgate cdn nginx {]}", "mark of the file cannot be read"),
        ('# headgate cdn nginx {"host": "a;b"}', "is no host name"),
        ('# headgate cdn nginx {"hots": "a"}', "unknown field `hots`"),
        ('# headgate cdn nginx {"listen": "80"}', "Expected `int`"),
        ('# headgate cdn nginx {"purge": true}', "needs the host name"),
        ("x" * (LONGEST_FILE + 1), "over 1 MiB"),
    ],
    ids=lambda text: text[:40],
)
def test_checking_a_file_without_a_valid_mark_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        check(text, Settings())


def test_checking_a_file_of_an_unknown_target_is_refused() -> None:
    with pytest.raises(UnknownTarget, match="there is no target 'apache'"):
        check("# headgate cdn apache {}\n", Settings())


@pytest.mark.usefixtures("processes")
def test_the_mark_of_a_json_file_is_found_at_any_depth() -> None:
    said = mark(NGINX, HERE)
    text = json.dumps({"rules": [{"enabled": True, "description": said}, None, 1]})
    assert check(text, Settings()).target == "nginx"
