"""The moments at which what needs attention began."""

from __future__ import annotations

from admin.record.attention import AttentionItem, Watch


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
