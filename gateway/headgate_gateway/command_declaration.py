"""The declaration of a command, usable before the module of the command is loaded."""

from __future__ import annotations

from typing import NamedTuple


class CommandDeclaration(NamedTuple):
    """A command in the tree of `headgate`, and the name of its click command.

    The `group` is the name of the group that has the command, "" for the first level. The `target`
    is written as `module:name`, and imported when the command is called; "" makes a group of the
    commands that are declared for it. `help` is the line in the list of commands.
    """

    group: str
    name: str
    target: str
    help: str
