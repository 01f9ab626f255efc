"""The certificate that a listener presents: when it is valid, and for which hosts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from headgate_gateway.monitoring.certificate_expiry import EXPIRES_NOW, EXPIRES_SOON
from headgate_gateway.monitoring.quantities import nearly
from headgate_gateway.small_files import read_file
from headgate_gateway.telemetry.health import Cause

SHOWN_NAMES = 3


class Certificate(NamedTuple):
    """A certificate as clients check it: when it is valid (epoch s), and for which hosts."""

    starts_s: float
    expires_s: float
    names: frozenset[str]  # DNS names in lower case and IP addresses

    def refusal(self, now: float, hosts: tuple[str, ...]) -> Cause | None:
        """Return why no client of these hosts accepts it at a moment (epoch s), or None."""
        if now >= self.expires_s:
            return Cause.of("has_ended", f"ended at {_date(self.expires_s)}")
        if now < self.starts_s:
            return Cause.of("not_valid_yet", f"is valid only from {_date(self.starts_s)}")
        if self.is_for_others(hosts):
            return Cause.of("other_hosts", f"is for {self.hosts}, and not for {' or '.join(hosts)}")
        return None

    def ending(self, now: float) -> Cause | None:
        """Return when the certificate ends if that is soon by the bounds of the alerts; or None."""
        left_s = self.expires_s - now
        for code, bound in (("ends_now", EXPIRES_NOW), ("ends_soon", EXPIRES_SOON)):
            if bound.is_reached(left_s, self.expires_s - self.starts_s):
                return Cause.of(code, f"ends at {_date(self.expires_s)}, in {nearly(left_s)}")
        return None

    def is_for_others(self, hosts: tuple[str, ...]) -> bool:
        """Return whether it is for none of these hosts, of which none are any.

        A certificate without names, as for a service mesh, has clients that check none.
        """
        return bool(hosts and self.names) and not any(map(self.is_for, hosts))

    def is_for(self, host: str) -> bool:
        """Return whether it is for a host; a wildcard is for one label (RFC 6125 section 6.4.3)."""
        _, dot, parent = host.partition(".")
        return host in self.names or bool(dot and f"*.{parent}" in self.names)

    def shares_host(self, other: Certificate) -> bool:
        """Return whether a client of one of the two could be a client of the other."""
        return any(map(self.is_for, other.names)) or any(map(other.is_for, self.names))

    @property
    def hosts(self) -> str:
        """The first hosts that it is for, in words."""
        shown = sorted(self.names)[:SHOWN_NAMES]
        return " and ".join(shown) + (" and others" if len(self.names) > SHOWN_NAMES else "")


def read_certificate(path: str) -> Certificate:
    """Return the first certificate of a file. Raises OSError and ValueError."""
    from cryptography import x509  # 10 MB, for those who have TLS

    certificate = x509.load_pem_x509_certificate(read_file(path))
    names: list[str] = []
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += (it.lower() for it in found.get_values_for_type(x509.DNSName))
        names += map(str, found.get_values_for_type(x509.IPAddress))
    except x509.ExtensionNotFound:
        pass  # which clients refuse since 2017 (RFC 2818 section 3.1, as of Chrome 58)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return Certificate(start.timestamp(), end.timestamp(), frozenset(names))


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
