"""The file that a configuration is begun with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from gateway.settings import Route, Settings, SettingsError, load
from gateway.settings.documents.commented_file import commented_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.conftest import CommandLine

TEXT = commented_file("headgate.toml")
ARRAYS = {key for key, field in Settings.settings.items() if field.table is not None}
TOP, BELOW = TEXT.split("[[routes]]\n")
ROUTE, *_ = BELOW.split("#[[")


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
    assert settings.route_table == defaults.route_table
    assert settings.but(routes=()) == defaults


@pytest.mark.usefixtures("processes")
def test_a_file_that_exists_is_left_as_it_is(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text("workers = 1\n")
    done = cli("config", "init", str(file))
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"headgate: {file} is there already: it was left as it is.\n"
    assert file.read_text() == "workers = 1\n"


@pytest.mark.usefixtures("processes")
def test_a_file_in_a_missing_folder_is_refused_with_its_reason(
    cli: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "none" / "headgate.toml"
    done = cli("config", "init", str(file))
    assert (done.returncode, done.stderr.decode()) == (
        2,
        f"headgate: {file} cannot be written: No such file or directory.\n",
    )


def test_every_setting_is_in_the_file_once() -> None:
    keys = re.findall(r"^#?([a-z_]+) = ", TOP, re.M)
    assert sorted(keys) == sorted(Settings.settings.keys() - ARRAYS - {"origin"})
    assert sorted(re.findall(r"^#?([a-z_]+) = ", ROUTE, re.M)) == sorted(Route.settings)
    for key in ARRAYS - {"routes"}:
        assert TEXT.count(f"#[[{key}]]\n") == 1


@pytest.mark.parametrize("key", sorted({*re.findall(r"^#([a-z_]+) = ", TOP, re.M)} - {"auth"}))
def test_each_commented_setting_is_valid_when_its_comment_is_taken_out(
    key: str, tmp_path: Path
) -> None:
    text = TEXT.replace(f"\n#{key} = ", f"\n{key} = ", 1)
    if key == "tokens_file":  # without effect by itself
        text = text.replace("\n#auth = ", "\nauth = ", 1)
    assert key in loaded(text, tmp_path).explicit_keys


@pytest.mark.parametrize("key", re.findall(r"^#([a-z_]+) = ", ROUTE, re.M))
def test_a_setting_of_a_route_is_valid_there_unless_its_comment_names_other_origins(
    key: str, tmp_path: Path
) -> None:
    before, after = ROUTE.split(f"\n#{key} = ", 1)
    comment = " ".join(before.rpartition("\n\n")[2].replace("\n# ", " ").split())
    text = f"{TOP}[[routes]]\n{before}\n{key} = {after}"
    if "Only for origins:" in comment and "file:PATH" not in comment.rpartition("Only for")[2]:
        with pytest.raises(SettingsError):
            loaded(text, tmp_path)
    else:
        assert key in loaded(text, tmp_path).routes[0].explicit_keys
