"""The file that a configuration is begun with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.settings import Settings, describe_settings, load
from headgate_gateway.settings.documents.commented_file import commented_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headgate_gateway.settings.reading.tables import Table
    from tests.commands.conftest import CommandLine

TEXT = commented_file("headgate.toml")
# A heading, or a key with its value; either may be in a comment.
LINE = re.compile(r"^(?P<mark>#?)(?:\[+(?P<heading>[a-z_.]+)\]+|(?P<key>[a-z_]+) = )", re.M)


def declared(model: type[Table] = Settings, at: str = "") -> Iterator[str]:
    """Yield the path of each setting, those in sections and arrays of tables too."""
    for key, field in model.settings.items():
        inner = field.section or field.table
        if inner is None:
            yield f"{at}{key}"
        else:
            yield from declared(inner, f"{at}{key}.")


def written(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield the path of each key in a file, commented or not, with its place in the text."""
    above = ""
    for found in LINE.finditer(text):
        if found["heading"]:
            above = f"{found['heading']}."
        else:
            yield f"{above}{found['key']}", found


COMMENTED = {
    path: found.start()
    for path, found in written(TEXT)
    if found["mark"] and path in {it.path for it, _ in describe_settings()}
}


def loaded(text: str, folder: Path) -> Settings:
    config = folder / "h.toml"
    config.write_text(text)
    return load(config, {}, {})


@pytest.mark.usefixtures("processes")
def test_the_written_file_is_valid_and_means_the_defaults(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "a b.toml"
    wrote = cli("config", "init", str(file))
    assert (wrote.returncode, wrote.stdout.decode()) == (
        0,
        f"Wrote {file}. To serve by it: headgate serve --config '{file}'\n",
    )
    assert f"headgate config check --config '{file}'" in file.read_text()

    checked = cli("config", "check", "--config", str(file))
    assert (checked.returncode, checked.stderr) == (0, b"")
    settings, defaults = load(file, {}, {}), Settings()
    assert settings == defaults


@pytest.mark.usefixtures("processes")
def test_a_file_that_exists_is_left_as_it_is(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text("workers = 1\n")
    done = cli("config", "init", str(file))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"headgate: {file} is there already: it was left as it is.\n"
    assert file.read_text() == "workers = 1\n"


@pytest.mark.usefixtures("processes")
def test_a_file_in_a_missing_folder_is_refused_with_its_reason(
    cli: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "none" / "headgate.toml"
    done = cli("config", "init", str(file))
    assert (done.returncode, done.stderr.decode()) == (
        1,
        f"headgate: {file} cannot be written: No such file or directory.\n",
    )


def test_every_setting_is_in_the_file_once() -> None:
    paths = [path for path, _ in written(TEXT)]
    assert sorted(paths) == sorted(declared())


@pytest.mark.parametrize("path", sorted(COMMENTED.keys() - {"auth", "origin"}))
def test_each_commented_setting_is_valid_when_its_comment_is_taken_out(
    path: str, tmp_path: Path
) -> None:
    at = COMMENTED[path]
    text = f"{TEXT[:at]}{TEXT[at + 1 :]}"
    if path == "credentials.tokens_file":  # without effect by itself
        text = text.replace("\n#auth = ", "\nauth = ", 1)
    assert path in loaded(text, tmp_path).sources
