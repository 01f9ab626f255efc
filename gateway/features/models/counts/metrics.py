"""The metrics of a model route's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from gateway.features.models.record import Outcome
from gateway.telemetry.metrics import Sample, counter, gauge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.features.models.answers import ModelAnswers
    from gateway.features.models.provider.client import ProviderClient

RUNNING = gauge(
    "headgate_model_answers_running", "Answers of models that are written now.", "route"
)
ENDED = counter(
    "headgate_model_answers_total",
    "Answers of models, by how they ended: complete, failed, or aborted by a deletion or a stop.",
    "route",
    "outcome",
)
JOINED = counter(
    "headgate_model_answers_joined_total",
    "Requests that got an answer which another request had begun.",
    "route",
)
REFUSED = counter(
    "headgate_model_answers_refused_total",
    "Requests that were refused because too many answers ran.",
    "route",
)
FOLLOWED = gauge(
    "headgate_model_answers_followed",
    "Answers that other gateways of the log write, and that this one follows.",
    "route",
)
FENCED = counter(
    "headgate_model_answers_fenced_total",
    "Answers that this process wrote and another gateway has ended, because this one stood still.",
    "route",
)
WAITING = gauge(
    "headgate_model_answers_waiting",
    "Background answers that a gateway has left, and whose rest is to be retrieved.",
    "route",
)
STOPPED = counter(
    "headgate_model_gateways_stopped_total",
    "Other gateways of the log that have stopped in the middle of answers, which were ended then.",
    "route",
)
TOKENS = counter(
    "headgate_model_tokens_total",
    "Tokens that providers counted for stored answers, once for each answer; accounts need"
    " principal_metrics.",
    "route",
    "model",
    "account",
    "kind",
)
RETRIED = counter(
    "headgate_model_retries_total",
    "Requests that were sent to a provider again, or to the next of its servers.",
    "route",
)
RESUMED = counter(
    "headgate_model_answers_resumed_total",
    "Lost connections whose background response was retrieved from the provider.",
    "route",
)


def provider_samples(route: str, upstream: ProviderClient) -> Iterator[Sample]:
    """Yield the samples of one route's provider."""
    yield Sample(RETRIED, (route,), upstream.repeated_requests)
    yield Sample(RESUMED, (route,), upstream.resumed_responses)


def samples(route: str, answers: ModelAnswers) -> Iterator[Sample]:
    """Yield the samples of one route's answers."""
    yield Sample(RUNNING, (route,), len(answers.running))
    for outcome in get_args(Outcome):
        yield Sample(ENDED, (route, outcome), answers.outcomes[outcome])
    yield Sample(JOINED, (route,), answers.joined_requests)
    yield Sample(REFUSED, (route,), answers.places.refused_requests)
    yield Sample(FOLLOWED, (route,), len(answers.followed.answers))
    yield Sample(FENCED, (route,), answers.gateways.counts.fenced)
    yield Sample(WAITING, (route,), len(answers.left.names))
    yield Sample(STOPPED, (route,), answers.gateways.counts.stopped)
    for tokens in answers.stored.tokens:
        of = route, tokens.model, tokens.account
        yield Sample(TOKENS, (*of, "input"), tokens.input)
        yield Sample(TOKENS, (*of, "output"), tokens.output)
