"""The declaration of a kind of credential, usable before the libraries that verify it are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialKind:
    """A kind of token, as settings, guards, console and commands know it.

    `name` is its word in `auth`, `title` describes one such token in a sentence. `setting` is the
    setting without which no token of the kind can be verified.

    `make` names a function as `module:function`, which is imported when `setting` is given: the
    library for signatures takes 10 MB. It takes the
    `headgate_gateway.access.authorities.Authorities` of which it becomes one, and returns the
    Authority for the kind.
    """

    name: str
    title: str
    setting: str
    make: str
    rank: int = 0  # the order in lists, and in which kinds are tried for a token
    # Tokens of other kinds may have this format, too, so this kind is tried last.
    has_generic_format: bool = False
    is_signed: bool = False  # tokens_file revokes its tokens by their claims
    # The setting serves nothing else, so it is refused if no route accepts the kind.
    owns_setting: bool = True
