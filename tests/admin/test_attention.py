"""What needs attention: its alert, and the moments at which it began."""

from __future__ import annotations

from pathlib import Path

import pytest

from admin.alerting.evaluator import AlertEvaluator
from admin.record.attention import AttentionItem, Watch, findings
from gateway.features.questions.process_source import Health
from gateway.settings import Settings
from gateway.telemetry.metrics import Sample
from gateway.tls.certificate_files import EXPIRY, FILES_OK, START


def test_no_finding_begins_in_the_future_after_the_clock_was_set_back() -> None:
    watch = Watch()
    kept = AttentionItem(("check", "disk"), "warning", "the disk is full")
    alert = AttentionItem(("alert", "x"), "bad", "appends fail", since=990.0)
    moments = []
    for now in (1000.0, 1010.0, 400.0, 410.0):
        watch.update(now, (kept, alert))
        moments.append({it.sentence: it.since for it in watch.attention})
    begun = {"appends fail": 990.0, "the disk is full": 1000.0}
    assert moments[:2] == [begun, begun]
    assert moments[2:] == [
        dict.fromkeys(begun, 400.0),
        {**begun, "the disk is full": 400.0, "appends fail": 410.0},
    ]


@pytest.mark.parametrize(
    ("reason", "expires_at", "level", "alert"),
    [
        ("the certificate in new.pem expired 9 days ago", 1e7, "warning", "FilesRefused"),
        ("the certificate in use expired 9 days ago", 1.0, "bad", "Expired"),
    ],
)
def test_a_refused_certificate_is_no_expired_one(
    reason: str, expires_at: float, level: str, alert: str
) -> None:
    evaluator = AlertEvaluator(Settings(tls={"certificate": "c.pem", "key": "c.key"}))
    numbers = {START: 0.0, EXPIRY: expires_at, FILES_OK: 0.0}
    samples = [Sample(it, ("tls.certificate",), number) for it, number in numbers.items()]
    for _ in evaluator.evaluate(1000.0, samples):
        pass
    (found,) = findings(Health({}, {f"{Path.cwd()}/c.pem": reason}), samples, evaluator)
    assert (found.level, found.alert) == (level, f"HeadgateCertificate{alert}")
