"""What the documents say of installing: it brings the whole, and names nothing unpublished."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.docker.image_file import instructions
from tests.support.processes import ROOT
from tests.test_docs import DOCUMENTS, document

if TYPE_CHECKING:
    from pathlib import Path

PIP = "pip --python /opt/headgate install --no-cache-dir "
# To be published, and empty once they are: then `headgate` and `headgate-client` are installed by
# their names, and the pages may say so.
UNPUBLISHED = r"headgate(-client)?(\[\w+\])?"
# A command that installs the folder of the clone, which is the server; and the ways to do that.
SERVER = re.compile(r"install [^#`]*(?<=\s)'?\.(\[\w+\])?'?(?=\s|$|`)")
OF_ITS_OWN = ("pipx install ", "uv tool install ", "/opt/headgate/bin/pip install ")


def commands(text: str) -> list[str]:
    """What follows `pip install` in a text, one for each, without a comment."""
    found = re.findall(r"pip install ([^`\n]*)", text)
    return [command.partition("  #")[0].strip() for command in found]


def test_the_documented_install_commands_are_those_of_the_docker_image() -> None:
    built = [line for line in instructions("RUN") if line.startswith(PIP)]
    in_image = [commands(line.replace(PIP, "pip install "))[0] for line in built]
    in_image = [command.partition(" &&")[0].strip() for command in in_image]
    installing = document("installing.md").split("## With pip")[1].split("\n## ")[0]
    assert commands(installing) == in_image


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_no_documented_install_command_uses_an_unpublished_package_name(path: Path) -> None:
    for command in commands((ROOT / path).read_text()):
        words = command.replace("'", "").split()
        assert [word for word in words if re.fullmatch(UNPUBLISHED, word)] == []
        if any(re.fullmatch(r"\.(\[\w+\])?", word) for word in words):  # the server needs both
            assert "./client" in words


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_documents_install_the_server_in_an_environment_of_its_own_and_say_why(
    path: Path,
) -> None:
    text = (ROOT / path).read_text()
    of_server = [line for line in text.splitlines() if SERVER.search(line)]
    assert [line for line in of_server if not line.startswith(OF_ITS_OWN)] == []
    if of_server:
        said = " ".join(text.split())
        assert re.search("virtual environment|its own environment|environment of its own", said)


def test_the_install_page_names_every_top_level_package_of_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    top_level = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    installing = document("installing.md").split("## With pip")[1].split("\n## ")[0]
    assert [name for name in top_level if f"`{name}`" not in installing] == []
