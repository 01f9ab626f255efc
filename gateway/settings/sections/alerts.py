"""The settings of the webhook that is notified of alerts, for those who have no Prometheus."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from gateway.protocol.standard_webhooks import SECRET_WORDS, key_in
from gateway.settings.hosts import is_loopback
from gateway.settings.reading import files
from gateway.settings.reading.kinds import FilePath, ValueKind
from gateway.settings.reading.tables import Section, ValueContext, checks, setting
from gateway.settings.reading.values import Secret, Validator

NEXT_NOTIFICATION = "yes, from the next notification on"
URL_KIND = "an https URL, or an http URL of this machine, of at most 2,048 characters"


def _check_url(secret: Secret) -> Secret:
    url = secret.reveal()
    if not url:
        return secret
    # Printable ASCII without blanks; many receivers have a token in the path or the query.
    if re.fullmatch(r"https?://[!-~]{1,2040}", url) is None:
        raise ValueError(f"must be {URL_KIND}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as cause:
        raise ValueError(f"must be {URL_KIND}") from cause
    if not host or parts.username is not None or parts.fragment:
        raise ValueError(f"must be {URL_KIND}, without a user and a fragment")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must be https: alerts say what is wrong with the gateway")
    return secret


class AlertSettings(Section):
    """The settings of the webhook. Without a `webhook` nobody is notified."""

    webhook: Annotated[Secret, Validator(_check_url), ValueKind(URL_KIND)] = setting(
        Secret(""),
        reload=NEXT_NOTIFICATION,
        description="URL to which the gateway sends a POST when an alert begins to fire or is "
        "over, in the format of Alertmanager's webhooks. Empty sends nothing.",
    )
    webhook_secret_file: FilePath = setting(
        "",
        reload=NEXT_NOTIFICATION,
        description="File with the secret that signs these requests, as whsec_ and base64; "
        "required with webhook. Other users must not be able to read it.",
    )

    @checks("webhook_secret_file")
    @classmethod
    def _check_alert_secret(cls, path: str, context: ValueContext) -> str:
        url = context.values.get("webhook")
        if url is None:
            return path
        if bool(url) != bool(path):
            raise ValueError(
                "must be the file that signs the requests to webhook"
                if url
                else "must be left out without webhook"
            )
        if path and isinstance(context.look, files.Look):
            webhook_key(path)
        return path


def webhook_key(path: str) -> bytes:
    """Return the key in a secret file. Raises ValueError, which does not show the file's text."""
    text = files.secret_text(path, 257)
    try:
        return key_in(text)
    except ValueError:
        raise ValueError(
            f"must be a file with a secret of Standard Webhooks: {SECRET_WORDS}"
        ) from None
