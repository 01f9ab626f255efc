"""The certificates in Caddy's folder, and the hosts for which it could not get one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.telemetry.health import Cause, HealthNote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

# Caddy renews a certificate in the last third of its lifetime. For that the authority may have to
# reach the public sockets.
RENEWED_IN = 3


class CertificateLifetime(NamedTuple):
    """The first and last moment at which a certificate is valid, in epoch seconds."""

    not_before: float
    not_after: float

    def is_current(self, now: float) -> bool:
        """Return whether the certificate is valid and not due for renewal."""
        return self.not_after - now > (self.not_after - self.not_before) / RENEWED_IN


class CertificateFailures:
    """The hosts whose certificate Caddy could not get or renew, with the reason.

    Only the hosts of the settings are noted, which bounds them.
    """

    def __init__(self, folder: Path, hosts: Sequence[str], clock: Callable[[], float]) -> None:
        """`folder` is Caddy's; `clock` returns epoch seconds."""
        self._folder = folder
        self._hosts = frozenset(hosts)
        self._clock = clock
        self._reasons: dict[str, str] = {}

    def note_failure(self, host: str, reason: str) -> None:
        """Note why Caddy could not get a certificate for a host."""
        if host in self._hosts:
            self._reasons[host] = reason

    def notes(self) -> Iterator[HealthNote]:
        """Yield the reason for each host that still lacks a certificate or its renewal."""
        now = self._clock()
        for host, reason in list(self._reasons.items()):
            lifetimes = list(_lifetimes(self._folder, host))
            if any(lifetime.is_current(now) for lifetime in lifetimes):
                del self._reasons[host]  # Caddy has tried again by itself
            elif any(lifetime.not_after > now for lifetime in lifetimes):
                yield HealthNote("renewal", host, Cause.of("failed", reason))
            else:
                yield HealthNote("certificate", host, Cause.of("missing", reason))


def find_hosts_with_certificates(folder: Path, hosts: Sequence[str], now: float) -> list[str]:
    """Return the hosts whose certificate is in Caddy's folder and is not due for renewal.

    `now` is in epoch seconds.
    """
    return [host for host in hosts if any(it.is_current(now) for it in _lifetimes(folder, host))]


def _lifetimes(folder: Path, host: str) -> Iterator[CertificateLifetime]:
    from cryptography import x509  # 10 MB, for those who have a front

    for file in folder.glob(f"data/certificates/*/{host}/{host}.crt"):
        try:
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
        except (OSError, ValueError):  # Caddy cannot read it either, and gets another
            continue
        yield CertificateLifetime(
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
        )
