"""An origin that becomes slow is named soon, whatever came before, and not once it is prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_admin.alerting.active_alerts import ActiveAlerts
from headgate_admin.alerting.findings import findings
from headgate_admin.alerting.subjects import subjects_of
from headgate_gateway.background import at_once
from headgate_gateway.edge.metrics import DURATION, OLDEST, WAITING
from headgate_gateway.features.questions.process_source import Health
from headgate_gateway.origin.requests import SLOW_S
from headgate_gateway.origin.servers import LONG_WAIT_S, RECENT_S
from headgate_gateway.settings import Route, Settings
from headgate_gateway.telemetry.metrics import Histogram, Sample
from tests.admin.consoles import Switchboard

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_S = 5
SETTINGS = Settings(routes=(Route(prefix="/r", origin="http://127.0.0.1:1/v1"),))
ENDS_S = 60  # the origin becomes slow after so long, and is prompt again after twice as long


class Load(NamedTuple):
    """What an origin gets: prompt requests a second, and clients that each wait for a slow one."""

    prompt: float
    clients: int
    slow_s: float
    prompt_meanwhile: float = 0.0


def sample(times: Histogram, oldest_s: float) -> list[Sample]:
    return [
        Sample(DURATION, ("/r",), distribution=times.distribution()),
        Sample(OLDEST, ("/r", "127.0.0.1:1"), oldest_s),
        Sample(WAITING, ("/r",), 4.0),
    ]


def looks(load: Load) -> Iterator[tuple[int, list[Sample]]]:
    """Yield the second and the metrics of each look, the first and the last of a prompt origin."""
    times, ended = Histogram(DURATION.bounds), 0
    for now in range(0, 4 * ENDS_S + 1, LOOK_S):
        slow_since = now - ENDS_S
        is_slow = load.clients > 0 and 0 <= slow_since <= ENDS_S
        oldest_s = 0.0
        if is_slow:
            due = int(slow_since // load.slow_s)
            times.observe(load.slow_s, load.clients * (due - ended))
            ended, oldest_s = due, slow_since - due * load.slow_s
        if load.slow_s > LONG_WAIT_S and ended and slow_since <= ended * load.slow_s + RECENT_S:
            oldest_s = max(oldest_s, load.slow_s)
        rate = load.prompt_meanwhile if is_slow else load.prompt
        times.observe(0.01, round(rate * LOOK_S))
        yield now, sample(times, oldest_s)


def named(load: Load) -> list[int]:
    """Return the seconds of the looks at which the origin is named."""
    alerts, found = ActiveAlerts(SETTINGS), []
    for now, samples in looks(load):
        at_once(alerts.look(float(now), samples))
        found += [now for it in findings(Health(), samples, alerts, SETTINGS, {})]
    return found


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Load(0, 1, 3.0), id="nothing-before"),
        pytest.param(Load(1, 1, 6.0), id="one-reader"),
        pytest.param(Load(60, 4, 3.0), id="four-readers"),
        pytest.param(Load(1000, 4, 3.0), id="thousands-of-prompt-answers-before"),
        pytest.param(Load(1000, 1, 6.0), id="thousands-before-a-slow-one"),
        pytest.param(Load(5, 1, 5.0), id="not-longer-than-a-long-wait"),
        pytest.param(Load(1, 1, 2.1), id="slightly-slow"),
        pytest.param(Load(1, 1, 1000.0), id="one-request-that-hangs"),
        pytest.param(Load(100, 200, 4.0, prompt_meanwhile=100), id="a-third-of-many"),
    ],
)
def test_an_origin_that_becomes_slow_is_named_within_30_s_and_no_more_a_minute_after_its_end(
    load: Load,
) -> None:
    moments = named(load)
    assert ENDS_S < moments[0] <= ENDS_S + 30
    assert 2 * ENDS_S <= moments[-1] <= 3 * ENDS_S + LOOK_S
    assert moments == list(range(moments[0], moments[-1] + 1, LOOK_S)), "without a break"


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Load(10, 0, 1.0), id="prompt"),
        pytest.param(Load(10, 100, SLOW_S), id="not-yet-slow"),
        pytest.param(Load(10, 8, 4.0, prompt_meanwhile=10), id="fewer-than-a-fifth"),
        pytest.param(Load(0, 0, 9.0), id="no-requests"),
    ],
)
def test_an_origin_that_is_prompt_is_not_named(load: Load) -> None:
    assert named(load) == []


def observed(*times_s: float) -> Histogram:
    times = Histogram(DURATION.bounds)
    for time_s in times_s:
        times.observe(time_s)
    return times


@pytest.mark.parametrize(
    ("before", "times", "oldest_s", "words"),
    [
        pytest.param(
            observed(),
            observed(*[0.01] * 3, 4.0, 4.0, 6.0),
            2.5,
            "The origin of /r is slow: 50% of its latest responses took over 2 s, p99 9.7 s;"
            " a request has waited for 2.5 s at 127.0.0.1:1; 4 readers wait now.",
            id="share",
        ),
        pytest.param(
            observed(*[0.01] * 97),
            observed(*[0.01] * 97, *[3.0] * 3),
            0.9,
            "The origin of /r is slow: 100% of its latest responses took over 2 s, p99 5.0 s;"
            " 4 readers wait now.",
            id="share-of-20-s",
        ),
        pytest.param(
            observed(),
            observed(),
            7.0,
            "The origin of /r is slow: a request has waited for 7.0 s at 127.0.0.1:1; 4 readers"
            " wait now.",
            id="no-response-yet",
        ),
    ],
)
async def test_a_slow_origin_is_named_with_its_times_its_server_and_its_readers(
    before: Histogram, times: Histogram, oldest_s: float, words: str
) -> None:
    alerts = ActiveAlerts(SETTINGS)
    counted = ((0.0, observed(), 0.0), (5.0, before, 0.0), (30.0, times, oldest_s))
    for now, observations, oldest in counted:
        at_once(alerts.look(now, sample(observations, oldest)))
    subjects = await subjects_of(Switchboard(), alerts, SETTINGS)
    (found,) = findings(Health(), [], alerts, SETTINGS, subjects)
    assert found.sentence == words
