"""A certificate that ends is said everywhere, by the bounds of the alerts, and refused nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from headgate_admin.alerting.active_alerts import ActiveAlerts
from headgate_gateway.__main__ import cli
from headgate_gateway.background import at_once
from headgate_gateway.settings import Settings, TlsFiles
from headgate_gateway.telemetry.metrics import Sample
from headgate_gateway.tls.certificate import Certificate, read_certificate
from headgate_gateway.tls.certificate_files import EXPIRY, START, CertificateFiles
from tests.admin.consoles import Clock
from tests.support.certificates import Authority
from tests.support.http1 import ask
from tests.support.log_lines import capture_logs
from tests.support.processes import HEADGATE, run
from tests.support.waiting import wait_until
from tests.tls.served import secure_headgate

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0
DAY_S, HOUR_S = 86_400, 3600
SOON, EXPIRES = "HeadgateCertificateExpiresSoon", "HeadgateCertificateExpires"
# By the code of the note.
RULES: dict[str | None, set[str]] = {None: set(), "ends_soon": {SOON}, "ends_now": {SOON, EXPIRES}}
TLS = Settings(storage="memory:", tls={"certificate": "c.pem", "key": "c.key"})


@pytest.mark.parametrize(
    ("lifetime_s", "left_s", "code", "words"),
    [
        (90 * DAY_S, 14 * DAY_S, None, ""),
        (90 * DAY_S, 14 * DAY_S - 1, "ends_soon", "in 13 days"),
        (90 * DAY_S, 3 * DAY_S, "ends_soon", "in 3 days"),
        (90 * DAY_S, 3 * DAY_S - 1, "ends_now", "in 2 days"),
        (90 * DAY_S, 2 * DAY_S - 1, "ends_now", "in 47 hours"),
        (90 * DAY_S, 2 * HOUR_S - 1, "ends_now", "in 119 minutes"),
        (90 * DAY_S, 60, "ends_now", "in 1 minute"),
        (90 * DAY_S, 59, "ends_now", "in less than a minute"),
        (90 * DAY_S, 0, None, ""),  # it has ended
        (70 * DAY_S, 14 * DAY_S - 1, "ends_soon", "in 13 days"),
        (60 * DAY_S, 12 * DAY_S, None, ""),  # a fifth, and a twentieth is three days
        (60 * DAY_S, 3 * DAY_S - 1, "ends_now", "in 2 days"),
        (5 * DAY_S, DAY_S, None, ""),
        (5 * DAY_S, DAY_S - 1, "ends_soon", "in 23 hours"),
        (5 * DAY_S, 6 * HOUR_S, "ends_soon", "in 6 hours"),
        (5 * DAY_S, 6 * HOUR_S - 1, "ends_now", "in 5 hours"),
    ],
)
def test_a_note_and_the_rules_say_that_a_certificate_ends_by_the_same_bounds(
    lifetime_s: int, left_s: int, code: str | None, words: str
) -> None:
    certificate = Certificate(NOW + left_s - lifetime_s, NOW + left_s, frozenset())
    ending = certificate.ending(NOW)
    assert (ending and ending.code) == code
    assert words in (ending.sentence if ending else "")
    console = ActiveAlerts(TLS)
    samples = (
        Sample(START, ("tls.certificate",), certificate.starts_s),
        Sample(EXPIRY, ("tls.certificate",), certificate.expires_s),
    )
    at_once(console.look(NOW, samples))
    assert {it.rule.name for it in console.active} == RULES[code]


# What is given to the authority, the level of the card, its rule, and what is said of it.
ENDINGS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "in days": ({"begins_in_days": -80, "days": 10.01}, "warning", SOON, "in 10 days"),
    "in hours": ({"begins_in_days": -88, "days": 1.51}, "bad", EXPIRES, "in 36 hours"),
}
endings = pytest.mark.parametrize("name", ENDINGS)


async def test_each_step_towards_the_end_of_a_certificate_in_use_is_logged_once(
    tmp_path: Path,
) -> None:
    paths, clock = Authority.of(tmp_path).issue(days=89).write(tmp_path), Clock()
    certificate = read_certificate(str(paths.certificate))
    clock.now = certificate.starts_s
    codes = []
    with capture_logs() as lines:
        files = CertificateFiles(
            TlsFiles("tls", str(paths.certificate), str(paths.key), "", "1.2"), clock
        )
        for left_s in (20 * DAY_S, 10 * DAY_S, 9 * DAY_S, 2 * DAY_S, DAY_S, 0, -DAY_S):
            clock.now = certificate.expires_s - left_s
            await files.look()
            codes.append(next(iter(files.notes())).cause)
    steps = [None, "ends_soon", "ends_soon", "ends_now", "ends_now", "has_ended", "has_ended"]
    assert [cause and cause.code for cause in codes] == steps
    logged = ["tls.certificate_ends", "tls.certificate_ends", "tls.certificate_invalid"]
    assert [line["event"] for line in lines] == logged


@pytest.mark.usefixtures("processes")
def test_a_certificate_that_ends_is_a_card_a_note_and_a_line_of_the_status(tmp_path: Path) -> None:
    with secure_headgate(tmp_path) as secure:
        port = secure.server.admin_port

        def card() -> dict[str, Any] | None:
            found = ask(port, "GET", "/api/v1/overview").json()["attention"]
            assert len(found) <= 1, found
            return found[0] if found else None

        assert card() is None
        for given, level, rule, words in ENDINGS.values():
            secure.authority.issue(**given).replace(secure.paths)

            def shown(level: str = level, rule: str = rule) -> bool:
                it = card()
                return it is not None and (it["level"], it["alert"]) == (level, rule)

            wait_until(shown, "it is a card", lambda: f"{card()}")
            said = (card() or {})["sentence"]
            assert said.startswith(f"{secure.paths.certificate}: the certificate ends at 20")
            assert said.endswith(f", {words}: it should have been renewed by now")
            ready = ask(port, "GET", "/readyz?verbose")
            assert ready.status == 200
            assert f"[-] {said.replace(': ', ' ', 1)}\n" in ready.body.decode()
            status = run([HEADGATE, "status", "--admin", f"http://127.0.0.1:{port}"])
            assert status.returncode == 1
            assert f"{level}: {said}" in status.stdout.decode()
        secure.authority.issue(days=90, begins_in_days=0).replace(secure.paths)
        wait_until(lambda: card() is None, "it is renewed", lambda: f"{card()}")
        lines = [it for it in secure.server.output().splitlines() if "tls.certificate_ends" in it]
        assert len(lines) == len(ENDINGS)


@pytest.mark.usefixtures("processes")
def test_the_certificate_of_the_console_is_a_note_as_well(tmp_path: Path) -> None:
    with secure_headgate(tmp_path, has_secure_admin=True) as secure:
        own = secure.authority.issue(begins_in_days=-80, days=10.01).write(tmp_path, "admin")
        secure.authority.issue(**ENDINGS["in days"][0]).replace(secure.paths)

        def ready() -> str:
            return secure.ask_admin("GET", "/readyz?verbose").body.decode()

        wait_until(lambda: "the certificate ends at 20" in ready(), "it is noted", ready)
        assert ready().count("the certificate ends at 20") == 1  # the files are those of both
        secure.authority.issue(days=90, begins_in_days=0).replace(secure.paths)
        secure.server.kill()
        secure.server.environment |= own.settings("ADMIN__TLS")
        secure.server.spawn()
        wait_until(secure.is_ready, "it is ready", secure.server.output)
        assert f"[-] {own.certificate} the certificate ends at 20" in ready()
        assert f"[+] {secure.paths.certificate} ok" in ready()


@pytest.mark.parametrize("options", [(), ("--strict",)], ids=["plain", "strict"])
@endings
def test_check_warns_of_a_certificate_that_ends_and_passes(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    given, *_, words = ENDINGS[name]
    paths = Authority.of(tmp_path).issue(**given).write(tmp_path)
    config = tmp_path / "h.toml"
    config.write_text(f'tls.certificate = "{paths.certificate}"\ntls.key = "{paths.key}"\n')
    done = CliRunner().invoke(cli, ["config", "check", "--config", str(config), *options])
    assert done.exit_code == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"headgate: warning: {config}:1: tls.certificate: the certificate in ")
    assert f" {paths.certificate} ends at 20" in line
    assert line.endswith(f", {words}.")
