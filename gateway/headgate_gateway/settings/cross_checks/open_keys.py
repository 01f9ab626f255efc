"""Find keys of providers that everybody on a network could use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.hosts import is_loopback
from headgate_gateway.settings.cross_checks.ineffective_settings import IneffectiveSetting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings.declared import Settings


def open_keys(settings: Settings) -> Iterator[IneffectiveSetting]:
    """Yield each key_file of a model that other machines can call without a credential."""
    listen = settings.listen
    if is_loopback(listen.host) and settings.front.hosts:
        listen = settings.front.listen
    if is_loopback(listen.host):
        return
    for index, model in enumerate(settings.models):
        if model.key_file and not settings.auth_of(model):
            must = (
                "must be left out while the model asks for no credential: everybody who reaches "
                f"{listen} could spend what the key pays for; say who may, such as "
                'auth = ["tokens"]'
            )
            yield IneffectiveSetting(("models", index, "key_file"), must)
