"""Secrets on the command line, where others can see them: what to do instead."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from typing_extensions import override

from headgate_gateway.settings.reading.url_secrets import TYPED, secret_in
from headgate_gateway.text_files import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ADMIN, _STORAGE = (
    "STREAM_ADMIN_TOKEN or --admin-token FILE",
    "HEADGATE_STORAGE or a file of settings",
)
_STREAM = "STREAM_AUTH"
# What takes the secret instead, by the words of the command and whether the URL is a server's.
_INSTEAD = {
    ("data copy", False): "a file with the whole URL, written @FILE",
    ("config context", True): "--auth-file FILE",
}


def warnings(arguments: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each argument that is a URL with a secret; without a full stop.

    A server says so in its log, as of other dangerous settings.
    """
    command, before = " ".join(arguments[:2]), ""
    for argument in arguments if arguments[:1] != ["serve"] else ():
        option, _, url = argument.partition("=") if argument[:2] == "--" else (before, "", argument)
        before = argument
        secret = secret_in(url)
        if not secret or option == "--webhook":  # a receiver takes its URL as it is
            continue
        is_server = url.lower().startswith("http")
        instead = _INSTEAD.get((command, is_server), _STREAM if is_server else _STORAGE)
        if option == "--admin":
            instead = _ADMIN
        yield f"a {secret} in a URL on the command line {TYPED}: give it by {instead}"


def secret_of_stdin(most: int) -> str:
    """Return the secret in stdin, without its line end and a byte order mark. Raises UsageError.

    At most `most` characters of it are read.
    """
    if sys.stdin is None:
        raise click.UsageError("The secret is read from stdin, and stdin is closed.")
    mark = MARK.decode()  # as some shells pipe it
    text = sys.stdin.read(len(mark) + most + len("\r\n"))
    return text.removeprefix(mark).removesuffix("\n").removesuffix("\r")


def can_ask() -> bool:
    """Return whether somebody at a terminal can be asked for a secret."""
    return sys.stdin is not None and sys.stdin.isatty()


class SecretFile(click.Path[Path]):
    """The name of a file with a secret. One that does not exist may be the secret itself."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    @override
    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """Return the path. The text of one that is not there is not repeated."""
        if not os.path.exists(value):  # noqa: PTH110 - Path raises on odd names
            self.fail(f"there is no such file. A secret that is typed here {TYPED}.", param, ctx)
        return super().convert(value, param, ctx)


class AskingCommand(click.Command):
    """A command that asks for a secret, which is no argument."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse arguments without repeating them."""
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            ctx.fail(
                "The command takes no arguments: it asks for the secret, or reads it from stdin. "
                f"One that is typed here {TYPED}."
            )
        return rest
