"""Files of text that people write: byte order marks before it, and secrets in quotes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headgate import Client
from headgate_admin.readers.ban_keeper import read_bans, write_bans
from headgate_cdn.errors import Refused
from headgate_cdn.read_keys import keys_of
from headgate_gateway.access.bans import Ban
from headgate_gateway.access.key_sets import load_keys
from headgate_gateway.access.tokens_file import parse_tokens
from headgate_gateway.commands.options.contexts import load_contexts
from headgate_gateway.commands.options.server import server_of
from headgate_gateway.commands.stream.offset_file import OffsetFile
from headgate_gateway.errors import StartError
from headgate_gateway.features.issued_tokens import new_keys, written
from headgate_gateway.features.mcp.event_types import event_types
from headgate_gateway.settings import SettingsError, load
from headgate_gateway.settings.arrays.model_route import provider_key
from headgate_gateway.settings.arrays.proxy_route import signing_secret
from headgate_gateway.settings.arrays.purged_cache import read_token
from headgate_gateway.settings.sections.tls import TlsFiles
from headgate_gateway.small_files import read_file
from headgate_gateway.text_files import text_of
from headgate_gateway.tls.certificate_files import load as load_tls
from headgate_gateway.tools.copying.names import named_streams
from headgate_gateway.tools.server.target import admin_api
from headgate_gateway.tools.shell.failure import Failed
from headgate_gateway.trust import context
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable

UTF8, UTF16 = "utf-8-sig", "utf-16"
BASE = "http://127.0.0.1:1/v1/stream"
KEYS = written(new_keys()).decode()
SECRET = "correct-horse-battery-staple-and-more"
EVENTS = '[[events]]\nname = "a"\ndescription = "A message."\nstreams = "a"\n'
TOKENS = '[[revoked]]\nsub = "a"\n'


def with_variables(read: Callable[[], object], **variables: str) -> object:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return read()


def contexts_in(file: Path) -> object:
    """Return the contexts of a user whose file this is."""
    return with_variables(load_contexts, XDG_CONFIG_HOME=str(file.parents[1]))


def names_in(file: Path) -> object:
    async def read() -> list[str]:
        return [it async for it in named_streams(file, BASE, "")]

    return asyncio.run(read())


def home_with(file: Path) -> object:
    """Return the authorization of a context whose file this is."""
    folder = file.parent / "config" / "headgate"
    folder.mkdir(parents=True, exist_ok=True)
    one = {"url": BASE, "auth_file": str(file)}
    (folder / "contexts.json").write_text(json.dumps({"use": "a", "contexts": {"a": one}}))
    return with_variables(lambda: server_of(None).authorization, XDG_CONFIG_HOME=str(folder.parent))


READ: dict[str, tuple[str, Callable[[Path], object]]] = {
    "settings": ('listen = "127.0.0.1:1"\n', lambda file: load(file, {}, {}).listen),
    "tokens": (TOKENS, lambda file: parse_tokens(str(file), read_file(str(file)))),
    "keys": (KEYS, lambda file: load_keys(str(file)).verifying.kids),
    "keys of a CDN": (KEYS, lambda file: keys_of(str(file))),
    "contexts": ('{"contexts": {"a": {"url": "http://a"}}}', contexts_in),
    "types of events": (EVENTS, lambda file: event_types(str(file)).keys()),
    "key of a provider": (f"{SECRET}\n", lambda file: provider_key(str(file))),
    "token of a CDN": (f"{SECRET}\n", lambda file: read_token(str(file))),
    "secret of URLs": (f"{SECRET}\n", lambda file: signing_secret(str(file))),
    "token of an operator": (
        f"{SECRET}\n",
        lambda file: admin_api("http://a", file, {}).authorization,
    ),
    "authorization of a context": (f"Bearer {SECRET}\n", home_with),
    "place of a copy": ("redis://:password@a\n", text_of),
    "names": ("a\nb\n", names_in),
}
REFUSALS = (ValueError, StartError, SettingsError, Failed, Refused)


def in_file(tmp_path: Path, text: str, encoding: str) -> Path:
    """Write a text into a file that only its user may read."""
    file = tmp_path / "headgate" / "contexts.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text.encode(encoding))
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("kind", READ)
def test_a_byte_order_mark_is_no_part_of_a_file(kind: str, tmp_path: Path) -> None:
    text, read = READ[kind]
    plain = read(in_file(tmp_path, text, "utf-8"))
    assert plain
    assert read(in_file(tmp_path, text, UTF8)) == plain


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("kind", READ)
def test_a_file_in_another_encoding_is_refused_with_a_sentence_without_its_text(
    kind: str, encoding: str, tmp_path: Path
) -> None:
    text, read = READ[kind]
    mark = "\ufeff" if encoding == "utf-16-be" else ""  # which that codec does not write
    with pytest.raises(REFUSALS) as refusal:
        read(in_file(tmp_path, mark + text, encoding))
    said = str(refusal.value)
    assert kind == "keys of a CDN" or f"{encoding[:6].upper()} text" in said
    assert SECRET not in said


def test_offsets_and_bans_in_files_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    place = in_file(tmp_path, "0001\n", UTF8)
    assert OffsetFile(place).load() == "0001"
    bans, ban = tmp_path / "bans", Ban(kind="principal", value="a", at=1.0, until=2.0)
    write_bans(bans, [ban])
    bans.write_bytes(b"\xef\xbb\xbf" + bans.read_bytes())
    assert read_bans(bans) == [ban]


@pytest.mark.parametrize("marked", ["certificate", "key", "authorities"])
def test_a_pem_file_with_a_byte_order_mark_is_read_and_one_in_utf_16_is_refused(
    marked: str, tmp_path: Path
) -> None:
    made = Authority.of(tmp_path).issue().write(tmp_path, "a")
    pems = {"certificate": made.certificate, "key": made.key, "authorities": made.certificate}
    for encoding in (UTF8, UTF16):
        other = tmp_path / "marked.pem"
        other.write_bytes(Path(pems[marked]).read_text("ascii").encode(encoding))
        names = {name: str(path) for name, path in pems.items()} | {marked: str(other)}
        certificate, key, authorities = names.values()
        files = TlsFiles("tls", certificate, key, authorities, "1.2")
        if encoding == UTF8:
            load_tls(files)
            assert context(authorities)
        else:
            with pytest.raises(ValueError, match=r"is UTF-16 text|no certificate in it"):
                load_tls(files)


QUOTED = [f'"{SECRET}"', f"'{SECRET}'"]


@pytest.mark.parametrize("text", QUOTED)
@pytest.mark.parametrize("kind", ["key of a provider", "token of a CDN", "secret of URLs"])
def test_a_secret_file_in_quotes_is_refused_without_showing_it(
    kind: str, text: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="quotes") as refusal:
        READ[kind][1](in_file(tmp_path, text, "utf-8"))
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("text", QUOTED)
def test_a_secret_of_a_command_in_quotes_is_refused_without_showing_it(
    text: str, tmp_path: Path
) -> None:
    file = in_file(tmp_path, text, "utf-8")

    def sent() -> object:
        return server_of(None)

    reads: tuple[Callable[[], object], ...] = (
        lambda: admin_api("http://a", file, {}),
        lambda: admin_api("http://a", None, {"STREAM_ADMIN_TOKEN": text}),
        lambda: with_variables(sent, STREAM_AUTH=f"Bearer {text}", STREAM_URL=BASE),
        lambda: with_variables(sent, STREAM_AUTH=text, STREAM_URL=BASE),
        lambda: home_with(in_file(tmp_path, f"Bearer {text}", "utf-8")),
    )
    for read in reads:
        with pytest.raises(ValueError, match="quotes") as refusal:
            read()
        assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("text", QUOTED)
async def test_the_library_refuses_a_token_in_quotes_without_showing_it(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="quotes") as refusal:
        async with Client(BASE, token=text) as client:
            await client.stream("a").head()
    assert SECRET not in str(refusal.value)
    monkeypatch.setenv("STREAM_AUTH", f"Bearer {text}")
    with pytest.raises(ValueError, match="quotes") as refusal:
        async with Client(BASE) as client:
            await client.stream("a").head()
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADGATE_STORAGE", f'"redis://:{SECRET}@a"'),
        ("HEADGATE_ORIGIN", '"http://a"'),
        ("HEADGATE_LISTEN", "'127.0.0.1:1'"),
        ("HEADGATE_WORKERS", '"2"'),
    ],
)
def test_a_variable_in_quotes_is_refused_with_what_to_do(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match="leave out the quotes around it") as refusal:
        load(None, {name: value}, {})
    assert SECRET not in str(refusal.value)
