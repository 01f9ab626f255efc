"""Files of certificates that a start or `headgate config check` refuses, or warns about."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization

from headgate_gateway.__main__ import cli
from headgate_gateway.errors import StartError
from headgate_gateway.settings import Settings, TlsFiles
from headgate_gateway.settings.reading.toml_file import spell
from headgate_gateway.settings.reading.values import Mistaken
from headgate_gateway.telemetry.health import by_name
from headgate_gateway.tls.certificate import Certificate, read_certificate
from headgate_gateway.tls.certificate_files import CertificateFiles
from tests.admin.consoles import Clock
from tests.support.certificates import Authority, TlsPaths
from tests.support.given_settings import sections
from tests.support.http1 import ask
from tests.support.waiting import wait_until
from tests.tls.served import secure_headgate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def files_of(paths: TlsPaths) -> TlsFiles:
    return TlsFiles("tls", str(paths.certificate), str(paths.key), "", "1.2")


def encrypted(key: bytes) -> bytes:
    """The same key, with a password."""
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )


def test_a_key_with_a_password_is_refused_instead_of_asking_for_it(tmp_path: Path) -> None:
    pair = Authority.of(tmp_path).issue()
    paths = pair._replace(key=encrypted(pair.key)).write(tmp_path)
    with pytest.raises(StartError, match="must be a key without a password"):
        CertificateFiles(files_of(paths), Clock())


def note_of(files: CertificateFiles) -> str | None:
    """Return the sentence about a certificate and its files."""
    (sentence,) = by_name(files.notes()).values()
    return sentence


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_a_missing_file_is_named_in_the_error(tmp_path: Path, missing: str) -> None:
    paths = Authority.of(tmp_path).issue().write(tmp_path)
    path: Path = getattr(paths, missing)
    path.unlink()
    with pytest.raises(StartError, match=f"{path} cannot be read: No such file"):
        CertificateFiles(files_of(paths), Clock())


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        pytest.param({"tls_certificate": "c.pem"}, "tls.key", id="a-certificate-alone"),
        pytest.param({"tls_key": "c.key"}, "tls.key", id="a-key-alone"),
        pytest.param({"tls_client_ca": "ca.pem"}, "tls.client_ca", id="authorities-alone"),
        pytest.param(
            {"admin_tls_certificate": "c.pem"}, "admin.tls.key", id="an-admin-certificate-alone"
        ),
        pytest.param(
            {"tls_certificate": "c.pem", "tls_key": "k", "tls_minimum_version": "1.1"},
            "tls.minimum_version",
            id="an-old-version",
        ),
    ],
)
def test_settings_of_tls_that_lack_another_one_are_refused(
    given: dict[str, str], fault: str
) -> None:
    with pytest.raises(Mistaken) as refused:
        Settings.of(sections(given))
    (mistake,) = refused.value.mistakes
    assert spell(mistake.place) == fault


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("certificate", "key", "line", "why"),
    [
        ("one.pem", "other.key", 2, "other.key is not the key of the certificate in {}/one.pem"),
        ("one.key", "one.key", 1, "one.key has no usable certificate in PEM, but PRIVATE KEY"),
        ("one.pem", "one.pem", 2, "one.pem has no usable private key in PEM, but CERTIFICATE"),
        ("other.txt", "one.key", 1, "other.txt has no usable certificate in PEM, but other data"),
        ("none.pem", "one.key", 1, "none.pem cannot be read: No such file or directory"),
        ("one.pem", "none.key", 2, "none.key cannot be read: No such file or directory"),
    ],
)
def test_check_names_the_file_of_tls_that_cannot_be_used_and_what_it_has(
    tmp_path: Path, certificate: str, key: str, line: int, why: str
) -> None:
    authority = Authority.of(tmp_path)
    for name in ("one", "other"):
        authority.issue().write(tmp_path, name)
    (tmp_path / "other.txt").write_text("words")
    config = tmp_path / "h.toml"
    config.write_text(f'tls.certificate = "{tmp_path}/{certificate}"\n')
    with config.open("a") as file:
        file.write(f'tls.key = "{tmp_path}/{key}"\n')
    done = CliRunner().invoke(cli, ["config", "check", "--config", str(config)])
    assert done.exit_code == 2
    assert f"{config}:{line}: " in done.stderr
    assert f"{tmp_path}/{why.format(tmp_path)}" in done.stderr


@pytest.mark.usefixtures("processes")
def test_a_key_that_others_can_read_is_warned_about(tmp_path: Path) -> None:
    with secure_headgate(tmp_path) as server:
        assert "tls.key_open" not in server.server.output()
        server.paths.key.chmod(0o644)
        server.server.kill()
        server.server.start()
        assert "tls.key_open" in server.server.output()


@contextlib.contextmanager
def without_descriptors() -> Iterator[None]:
    """Let no file be opened in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o640, False), (0o644, True)])
def test_check_warns_of_a_key_that_others_can_read(
    tmp_path: Path, mode: int, is_open: bool
) -> None:
    paths = Authority.of(tmp_path).issue().write(tmp_path)
    paths.key.chmod(mode)
    config = tmp_path / "h.toml"
    config.write_text(f'tls.certificate = "{paths.certificate}"\ntls.key = "{paths.key}"\n')
    done = CliRunner().invoke(cli, ["config", "check", "--config", str(config)])
    assert done.exit_code == 0
    advice = f"others may use the private key: chmod 0600 {paths.key}."
    assert (f"warning: {config}:2: tls.key: {advice}" in done.stderr) == is_open


async def test_a_renewal_that_lacked_descriptors_is_read_by_the_next_look(tmp_path: Path) -> None:
    authority = Authority.of(tmp_path)
    paths = authority.issue().write(tmp_path)
    files = CertificateFiles(files_of(paths), Clock())
    former = files.context
    authority.issue().replace(paths)
    await files.look()
    with without_descriptors():
        await files.look()
    trouble, in_use = files.trouble, files.context
    assert trouble == f"{paths.certificate} or {paths.key} cannot be read: Too many open files"
    assert in_use is former
    await files.look()
    assert files.trouble is None
    assert files.context is not former


FILES_OK = 'headgate_tls_files_ok{setting="tls.certificate"}'
MINUTE = 1 / (24 * 60)  # of a day
# Certificates that clients of localhost refuse, and what is said of each.
UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"begins_in_days": -2, "days": -14.5 * MINUTE}, "ended at 20"),
    "not valid yet": ({"begins_in_days": 2.5, "days": 30}, "is valid only from 20"),
    "another host": (
        {"hosts": ("other.example",), "address": "192.0.2.1"},
        "is for 192.0.2.1 and other.example, and ",
    ),
}


unfit = pytest.mark.parametrize(("given", "why"), UNFIT.values(), ids=UNFIT)


@unfit
async def test_an_unfit_certificate_is_refused_while_the_former_is_valid(
    tmp_path: Path, given: dict[str, Any], why: str
) -> None:
    authority, clock = Authority.of(tmp_path), Clock()
    paths = authority.issue(days=1).write(tmp_path)
    clock.now = read_certificate(str(paths.certificate)).starts_s + 86_400 + 1  # about now
    files = CertificateFiles(files_of(paths), clock)
    former = files.context
    authority.issue(**given).replace(paths)
    for _ in range(3):
        await files.look()
    trouble = files.trouble
    assert trouble is not None
    clock.now += 61
    with without_descriptors():  # a look that read the files would say so
        await files.look()
    assert files.trouble == trouble  # or it would be logged again
    assert f"the certificate in {paths.certificate} {why}" in trouble
    assert files.context is former
    assert note_of(files) == f"{trouble}; the one read before stays in use"
    with pytest.raises(StartError, match=why):
        CertificateFiles(files_of(paths), clock, files.certificate)
    clock.now += 86_400 * 3  # the former one expires
    await files.look()
    assert files.context is not former
    assert bool(note_of(files)) == why.startswith("ended")  # the others may serve by now


async def test_a_certificate_without_names_is_replaced_by_its_renewal(tmp_path: Path) -> None:
    authority, clock = Authority.of(tmp_path), Clock()
    paths = authority.issue(hosts=(), address="").write(tmp_path)
    clock.now = read_certificate(str(paths.certificate)).starts_s + 1
    files = CertificateFiles(files_of(paths), clock)
    former = files.context
    authority.issue(hosts=(), address="").replace(paths)
    for _ in range(2):
        await files.look()
    assert files.trouble is None
    assert files.context is not former


@pytest.mark.usefixtures("processes")
@unfit
def test_check_refuses_an_unfit_certificate(
    tmp_path: Path, given: dict[str, Any], why: str
) -> None:
    paths = Authority.of(tmp_path).issue(**given).write(tmp_path)
    config = tmp_path / "h.toml"
    config.write_text(
        f'http.hosts = ["localhost"]\n'
        f'tls.certificate = "{paths.certificate}"\ntls.key = "{paths.key}"\n'
    )
    done = CliRunner().invoke(cli, ["config", "check", "--config", str(config)])
    assert done.exit_code == 2
    assert f"{paths.certificate} {why}" in done.stderr


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "[::1]"])
def test_check_accepts_a_certificate_for_a_host(tmp_path: Path, host: str) -> None:
    paths = Authority.of(tmp_path).issue(address="::1").write(tmp_path)
    config = tmp_path / "h.toml"
    config.write_text(
        f'http.hosts = ["{host}"]\n'
        f'tls.certificate = "{paths.certificate}"\ntls.key = "{paths.key}"\n'
    )
    done = CliRunner().invoke(cli, ["config", "check", "--config", str(config)])
    assert done.exit_code == 0, done.stderr


async def test_a_certificate_for_the_hosts_replaces_one_for_others(tmp_path: Path) -> None:
    given, _ = UNFIT["another host"]
    authority, clock = Authority.of(tmp_path), Clock()
    paths = authority.issue(**given).write(tmp_path)
    clock.now = read_certificate(str(paths.certificate)).starts_s + 86_400 + 1
    files = CertificateFiles(files_of(paths)._replace(hosts=("localhost",)), clock)
    said = note_of(files)
    assert said is not None
    is_for = "is for 192.0.2.1 and other.example, and not for localhost"
    assert said == f"the certificate {is_for}, and is in use: clients refuse it"
    authority.issue().replace(paths)
    for _ in range(3):
        await files.look()
    assert note_of(files) is None


@pytest.mark.usefixtures("processes")
@unfit
def test_a_start_with_an_unfit_certificate_serves_and_is_critical_at_once(
    tmp_path: Path, given: dict[str, Any], why: str
) -> None:
    with secure_headgate(tmp_path) as secure:
        secure.server.environment["HEADGATE_HTTP__HOSTS"] = "localhost"
        secure.server.kill()
        secure.authority.issue(**given).replace(secure.paths)
        secure.server.start()
        (line,) = (it for it in secure.server.output().splitlines() if why in it)
        assert '"level": "error"' in line

        def attention() -> list[tuple[str, str]]:
            found = ask(secure.server.admin_port, "GET", "/api/v1/overview").json()["attention"]
            return [(it["level"], it["sentence"]) for it in found]

        def is_critical() -> bool:
            return any(level == "bad" and why in words for level, words in attention())

        wait_until(is_critical, "it needs attention", lambda: f"{attention()}")
        ((_, words),) = attention()
        assert words.endswith(", and is in use: clients refuse it")
        assert secure.metrics()[FILES_OK] == (not why.startswith("is for"))  # else other alerts


def test_files_at_relative_paths_are_named_by_whole_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority.of(tmp_path)
    authority.issue().write(tmp_path)
    monkeypatch.chdir(tmp_path)
    files = Settings(tls={"certificate": "server.pem", "key": "server.key"}).listener_tls
    assert files is not None
    monkeypatch.chdir("/")
    assert files.paths == (f"{tmp_path}/server.pem", f"{tmp_path}/server.key")


def test_a_wildcard_and_a_host_below_it_share_a_host() -> None:
    wide, one, deep = (
        Certificate(0, 1, frozenset({name}))
        for name in ("*.example.com", "a.example.com", "b.a.example.com")
    )
    assert (wide.shares_host(one), one.shares_host(wide)) == (True, True)
    assert (wide.shares_host(deep), one.shares_host(deep)) == (False, False)
