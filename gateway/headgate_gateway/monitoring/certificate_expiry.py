"""Thresholds for certificates that should have been renewed by now, and the alerts on them.

Certificates of 90 days are renewed 30 days before they expire, those of six days at half of their
time. So both bounds are days, and a share of their time for those of less than 70 days.
"""

from __future__ import annotations

from typing import NamedTuple

from headgate_gateway.monitoring.rules import Alert
from headgate_gateway.settings.reading.units import DAY_S

EXPIRY = "headgate_tls_certificate_expiry_timestamp_seconds"
START = "headgate_tls_certificate_start_timestamp_seconds"


class ExpiryBound(NamedTuple):
    """The seconds before an expiry, and the share of the certificate's time, whichever is less."""

    seconds: int
    share: float

    def is_reached(self, left_s: float, lifetime_s: float) -> bool:
        """Return whether a certificate is still valid, and has less than this bound left."""
        return 0 < left_s < min(self.seconds, self.share * lifetime_s)


EXPIRES_SOON = ExpiryBound(14 * DAY_S, 0.2)  # two weekends, to renew it by hand
EXPIRES_NOW = ExpiryBound(3 * DAY_S, 0.05)  # a weekend


_LEFT = f"{EXPIRY} - time()"


def _expires(bound: ExpiryBound) -> str:
    """Return the condition that fewer seconds are left of a certificate, which is still valid."""
    return (
        f"{_LEFT} < {bound.seconds} and {_LEFT} < {bound.share:g} * ({EXPIRY} - {START})"
        f" and {_LEFT} > 0"
    )


_EXPIRED_SOON = (
    "The certificate of {{ $labels.setting }} on {{ $labels.instance }} was about to expire."
)

CERTIFICATE_ALERTS = (
    Alert(
        "HeadgateCertificateFilesRefused",
        "headgate_tls_files_ok == 0",
        "1m",  # longer than a renewal takes to write both files
        "warning",
        "{{ $labels.instance }} cannot use the present files of {{ $labels.setting }}, or they are"
        " for other hosts.",
        "The former certificate stays in use until it expires, and a restart would fail. One that"
        " is for other hosts than those of the settings is used if there was no former one: no"
        " client connects. /readyz and the log lines tls.files_refused and tls.certificate_invalid"
        " say which.",
        "tls",
        "certificate_file",
        causes=("not_used", "other_hosts"),
        past="{{ $labels.instance }} could not use the files of {{ $labels.setting }}.",
    ),
    Alert(
        "HeadgateCertificateExpiresSoon",
        _expires(EXPIRES_SOON),
        "10m",  # longer than a renewal that is just under way
        "warning",
        "The certificate of {{ $labels.setting }} on {{ $labels.instance }} expires in"
        " {{ $value | humanizeDuration }}.",
        "It should have been renewed by now: look at what renews it, and at headgate_tls_files_ok.",
        "tls",
        "certificate_file",
        causes=("ends_soon",),
        past=_EXPIRED_SOON,
    ),
    Alert(
        "HeadgateCertificateExpires",
        _expires(EXPIRES_NOW),
        "10m",
        "critical",
        "The certificate of {{ $labels.setting }} on {{ $labels.instance }} expires in"
        " {{ $value | humanizeDuration }}.",
        "From then on no client connects. Renew it by hand: the gateway reads the files by itself.",
        "tls",
        "certificate_file",
        causes=("ends_now",),
        past=_EXPIRED_SOON,
    ),
    Alert(
        "HeadgateCertificateExpired",
        f"time() - {EXPIRY} > 0",
        "0m",
        "critical",
        "The certificate of {{ $labels.setting }} on {{ $labels.instance }} expired"
        " {{ $value | humanizeDuration }} ago.",
        "No client connects. Renew it by hand: the gateway reads the files by itself.",
        "tls",
        "certificate_file",
        causes=("has_ended",),
        past="The certificate of {{ $labels.setting }} on {{ $labels.instance }} had expired.",
    ),
    Alert(
        "HeadgateCertificateNotValidYet",
        f"{START} - time() > 0",
        "0m",
        "critical",
        "The certificate of {{ $labels.setting }} on {{ $labels.instance }} is valid only in"
        " {{ $value | humanizeDuration }}.",
        "No client connects. Compare the clock of the machine, and the files.",
        "tls",
        "certificate_file",
        causes=("not_valid_yet",),
        past="The certificate of {{ $labels.setting }} on {{ $labels.instance }} was not valid"
        " yet.",
    ),
)
