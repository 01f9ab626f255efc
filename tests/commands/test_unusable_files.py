"""A file that cannot be used is named by its whole path, with what can be done about it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority
from tests.support.processes import HEADGATE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")


def refused(*words: str, folder: Path) -> str:
    """Return what a command says that ends with status 2, from a user who may not do anything."""
    # Root without its capabilities is held to the modes of its own files, as any user is.
    bare = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    command = [*bare, str(HEADGATE), *words]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2, done
    return done.stderr


def test_a_missing_relative_tokens_file_is_reported_with_its_whole_path(tmp_path: Path) -> None:
    settings = tmp_path / "settings" / "headgate.toml"
    settings.parent.mkdir()
    settings.write_text('credentials.tokens_file = "tokens.toml"\nauth = ["tokens"]\n')
    (settings.parent / "tokens.toml").touch()
    assert refused("config", "check", "--config", "settings/headgate.toml", folder=tmp_path) == (
        f"headgate: settings/headgate.toml:1: credentials.tokens_file: {tmp_path}/tokens.toml "
        "cannot be read: No such file or directory.\n"
    )


MODEL = """\
[[models]]
prefix = "/openai"
upstream = "http://127.0.0.1:1"
dialect = "openai"
streams = "/v1/stream/answers"
"""


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("tls.certificate = 'c.pem'", "c.pem cannot be read: No such file or directory"),
        ("tls.certificate = 'a.pem'\ntls.key = 'c.key'", "c.key cannot be read: No such file"),
        (
            "tls.certificate = 'a.pem'\ntls.key = 'a.key'\ntls.client_ca = 'ca.pem'",
            "ca.pem cannot be read: No such file",
        ),
        (f"{MODEL}key_file = 'k'", ""),
    ],
    ids=["certificate", "key", "authorities", "key-of-a-model"],
)
def test_a_missing_relative_file_is_reported_with_the_working_directory(
    settings: str, place: str, tmp_path: Path
) -> None:
    Authority.of(tmp_path).issue().write(tmp_path, "a")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/h.toml").write_text(settings)
    said = refused("config", "check", "--config", "conf/h.toml", folder=tmp_path)
    assert (f"{tmp_path}/{place}" if place else f"seen from {tmp_path}.") in said


@pytest.mark.parametrize(
    "settings",
    [
        "tls.certificate = '{}'\ntls.key = 'a.key'",
        "tls.certificate = 'a.pem'\ntls.key = '{}'",
        "tls.certificate = 'a.pem'\ntls.key = 'a.key'\ntls.client_ca = '{}'",
        "auth = ['tokens']\ncredentials.tokens_file = '{}'",
        "auth = ['read-tokens']\ncredentials.keys_file = '{}'",
    ],
    ids=["certificate", "key", "authorities", "tokens", "keys"],
)
def test_a_secret_in_the_place_of_a_file_is_not_repeated(settings: str, tmp_path: Path) -> None:
    Authority.of(tmp_path).issue().write(tmp_path, "a")
    secret = "MHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoGCCqGSM49"
    (tmp_path / "h.toml").write_text(settings.format(secret))
    said = refused("config", "check", "--config", "h.toml", folder=tmp_path)
    assert secret not in said
    assert "the file that it names (not shown here) cannot be read: No such file" in said


def test_unreadable_and_missing_configurations_are_refused_with_their_reason(
    tmp_path: Path,
) -> None:
    (tmp_path / "headgate.toml").touch(mode=0o000)
    for name, reason in (
        ("headgate.toml", "Permission denied"),
        ("none.toml", "No such file or directory"),
    ):
        assert refused("config", "check", "--config", name, folder=tmp_path) == (
            f"headgate: {name} cannot be read: {reason}; it was named by --config or "
            "HEADGATE_CONFIG.\n"
        )
    assert refused("config", "check", "--config", ".", folder=tmp_path) == (
        "headgate: . is a folder: name the file of settings in it.\n"
    )


def test_a_closed_data_folder_is_named_with_the_user_who_must_be_able_to_write(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o000)  # as one that belongs to somebody else
    assert (
        f"{data} cannot be used: Permission denied; user {os.geteuid()}, who runs Headgate, has to "
        "be able to write there"
    ) in refused("serve", "--storage", f"file:{data}", folder=tmp_path)


@pytest.mark.parametrize("mode", [0o000, 0o444], ids=["unreadable", "read-only"])
def test_an_unusable_data_file_is_named_and_not_its_folder(mode: int, tmp_path: Path) -> None:
    data = tmp_path / "data" / "headgate.db"
    data.parent.mkdir(mode=0o700)
    data.touch()
    data.chmod(mode)
    said = refused("serve", "--storage", f"file:{data.parent}", folder=tmp_path)
    assert (
        f"{data} cannot be used: Permission denied; user {os.geteuid()}, who runs Headgate, has to "
        "be able to read and write it"
    ) in said


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ("tls.certificate = 'a.pem'\ntls.key = 'pipe'\n", "tls.key"),
        ("tls.certificate = 'pipe'\ntls.key = 'a.pem'\n", "tls.certificate"),
    ],
    ids=["key", "certificate"],
)
def test_a_pipe_in_place_of_a_file_of_tls_is_refused(
    settings: str, setting: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    Authority.of(tmp_path).issue().write(tmp_path, "a")
    (tmp_path / "h.toml").write_text(settings)
    reason = "No such file or directory" if "none" in settings else "is no file"
    said = refused("config", "check", "--config", "h.toml", folder=tmp_path).replace('"', "'")
    assert setting in said
    assert reason in said
