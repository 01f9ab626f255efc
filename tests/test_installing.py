"""What the documents say of installing: it brings the whole, and names nothing unpublished."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docker.image_file import instructions
from tests.support.processes import ROOT
from tests.test_docs import DOCUMENTS, document

if TYPE_CHECKING:
    from pathlib import Path

PIP = "pip --python /opt/headgate install --no-cache-dir "
# To be published, and empty once they are: then all are installed by their names, and the pages may
# say so.
UNPUBLISHED = r"headgate(-client|-doctor)?(\[\w+\])?"


def commands(text: str) -> list[str]:
    """What follows `pip install` in a text, one for each, without a comment."""
    text = re.sub(r"(?<!`)`[^`]+`(?!`)", lambda it: " ".join(it[0].split()), text)
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
def test_who_has_a_release_alone_finds_what_to_install_on_each_page(path: Path) -> None:
    text = (ROOT / path).read_text()
    if any("./client" in command for command in commands(text)):
        assert re.search(r"headgate_client-\*\.whl|#with-the-wheels-of-a-release", text)
