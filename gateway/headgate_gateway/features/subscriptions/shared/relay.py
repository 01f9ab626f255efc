"""Requests to subscriptions that reach another gateway than the owner: it hands them on."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.subscriptions.shared import mail
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from headgate_gateway.features.subscriptions.shared.lease import SubscriptionsLease, WorkSharing

    Answer = Callable[[mail.HandedOnRequest], Awaitable[mail.HandedOnResponse]]


PATIENCE_S = 10.0  # for a response: three times as long as a take-over takes
OWNER_CHECK_S = 0.1  # between two checks whether the owner is still the same
MOST_AT_ONCE = 256  # requests that are handed on by one gateway, or carried out for others
LONGEST_RESPONSE = 32 << 20  # bytes; Redis passes on no longer ones to a gateway
TOO_LONG = "the response is too long to be handed on: ask the gateway that delivers"


class RequestRelay:
    """The requests that one gateway hands on, and those that it carries out for others."""

    def __init__(self, sharing: WorkSharing, lease: SubscriptionsLease) -> None:
        self.carry_out: Answer | None = None
        self.counts: Counter[str] = Counter()
        self._mailboxes = sharing.mailboxes
        self._lease = lease
        self._waiting: dict[str, asyncio.Future[mail.HandedOnResponse]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Finish what is being carried out for others."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def hand_on(
        self, owner: str, handed: mail.HandedOnRequest, deadline: float
    ) -> mail.HandedOnResponse:
        """Return the owner's response, or NOT_CARRIED_OUT. Raises LogUnavailable.

        `deadline` is in loop time.
        """
        if len(self._waiting) >= MOST_AT_ONCE:
            raise LogUnavailable("too many requests wait for the gateway that delivers")
        request_id = secrets.token_hex(12)
        future = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        self.counts["sent"] += 1
        try:
            back = await self._response(owner, request_id, handed, future, deadline)
        finally:
            del self._waiting[request_id]
        if back is None:
            raise LogUnavailable("the gateway that delivers does not answer")
        return back

    async def _response(
        self,
        owner: str,
        request_id: str,
        handed: mail.HandedOnRequest,
        future: asyncio.Future[mail.HandedOnResponse],
        deadline: float,
    ) -> mail.HandedOnResponse | None:
        """Return the owner's response, or None if the request is withdrawn at the deadline."""
        loop = asyncio.get_running_loop()
        message = mail.encode(mail.RelayRequest(request_id, self._lease.name))
        content = mail.encode(handed)
        is_heard = await self._mailboxes.send_parcel(owner, request_id, content, message)
        is_withdrawn = False
        while loop.time() < deadline:
            await asyncio.wait({future}, timeout=OWNER_CHECK_S)
            if future.done():
                return future.result()
            if self._lease.owner.name != owner and not is_withdrawn:
                is_withdrawn = True
                if await self._mailboxes.claim_parcel(owner, request_id) is not None:
                    return mail.NOT_CARRIED_OUT
            if not is_heard:
                is_heard = await self._mailboxes.send(owner, message)
        if await self._mailboxes.claim_parcel(owner, request_id) is not None:
            return None
        await self._take_response(request_id)  # its message may have been missed
        if future.done():
            return future.result()
        raise LogUnavailable(
            "the gateway that delivers did not answer: "
            "it is not known whether this request was carried out"
        )

    # As mail comes

    def on_mail(self, message: mail.Mail | None) -> None:
        """Carry out a request that another gateway hands on, or take the response to one."""
        match message:
            case mail.RelayResponse():
                self._begin(self._take_response(message.id))
            case mail.RelayRequest() if len(self._tasks) < MOST_AT_ONCE:
                self._begin(self._carry_out(message))
            case _:
                pass  # one request too many is withdrawn by its sender

    async def _take_response(self, request_id: str) -> None:
        content = await self._mailboxes.claim_parcel(self._lease.name, request_id)
        if content is None:
            return
        future = self._waiting.get(request_id)
        if future is not None and not future.done():
            future.set_result(mail.decode_response(content))

    async def _carry_out(self, sent: mail.RelayRequest) -> None:
        content = await self._mailboxes.claim_parcel(self._lease.name, sent.id)
        if content is None:
            return
        back = mail.NOT_CARRIED_OUT
        if self.carry_out is not None and self._lease.is_ours:
            back = await self.carry_out(mail.decode_request(content))
        encoded = mail.encode(back)
        if len(encoded) > LONGEST_RESPONSE:
            encoded = mail.encode(mail.HandedOnResponse(503, "", TOO_LONG.encode()))
        message = mail.encode(mail.RelayResponse(sent.id))
        self.counts["received"] += 1
        await self._mailboxes.send_parcel(sent.sender, sent.id, encoded, message)

    def _begin(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _quietly(work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except LogUnavailable:
        pass  # the waiting request gives up
    except Exception:  # noqa: BLE001 - no request waits for this task
        log.exception("subscription.request_not_handed_on")
