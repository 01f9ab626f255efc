"""Values that would run as scripts, in every place where a page shows what others have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from admin.errors import ConsoleError
from admin.model.kinds import HealthState
from admin.model.overview import Attention, Mute, NextStep, Symptom
from admin.model.settings import (
    Configuration,
    PendingChange,
    PendingConfiguration,
    RoutePlan,
    SettingView,
    WatchedFileState,
)
from admin.model.streams import (
    MessagePlace,
    Messages,
    OfMessages,
    OfStream,
    RequestToExplain,
    ShownMessage,
    StreamSearch,
)
from admin.pages.rendering import link
from gateway.features.questions.streams import (
    ExplainStep,
    Explanation,
    ProducerRow,
    StreamDescription,
    StreamPage,
    StreamRow,
)
from gateway.features.questions.tokens import (
    GrantRow,
    RevocationRow,
    SignedTokenRow,
    StaticTokenRow,
    TokenKeyRow,
    TokenUse,
)
from tests.admin.browser.made_up import NOW, MadeUp, MadeUpCredentials, MadeUpReloads
from tests.admin.browser.serving import Tab, application
from tests.support.admin_server import AdminServer
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from admin.model.kinds import Span
    from admin.model.overview import Overview, RouteView
    from admin.model.tokens import OfTokens, TokensView
    from admin.model.viewer import Viewer

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAYLOADS = (
    # Elements that run something when they are parsed, loaded, shown, focused or closed.
    "<script>alert(1)</script>",
    "<ScRiPt>alert(1)</sCrIpT >",
    "<script src=//evil.example/x.js></script>",
    "<script type=module>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img/src=x/onerror=alert`1`>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<body onload=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<marquee onstart=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    "<object data=javascript:alert(1)></object>",
    "<embed src=//evil.example/x.swf>",
    "<form action=javascript:alert(1)><button>go</button></form>",
    "<a href=javascript:alert(1)>link</a>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content=0;url=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example/x.css';</style>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    # Ways out of an attribute, a script, a style, a comment, a text area, and a template.
    "\" onmouseover=\"alert(1)\" autofocus onfocus=\"alert(1)",
    "' onmouseover='alert(1)' autofocus onfocus='alert(1)",
    "` onmouseover=`alert(1)",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</pre></bdi><img src=x onerror=alert(1)>",
    "--><script>alert(1)</script><!--",
    "]]><script>alert(1)</script>",
    "{{7*7}}${alert(1)}<%= 7*7 %>{% raw %}",
    "javascript:alert(1)//",
    # As they come when something decodes them once more.
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "&lt;script&gt;alert(1)&lt;/script&gt;&#x3c;img src=x onerror=alert(1)&#x3e;",
    "\u202e\u2028<script>alert(1)</script>\x1b[31m\x08",
)  # fmt: skip
# What no page has of its own, and what may stand in no attribute.
FOREIGN = (
    "script:not([src]), script[src*=evil], img, iframe, object, embed, base, video, marquee, math, "
    "style, template, animate, meta[http-equiv], link[href*=evil], [onerror], [onload], [onfocus], "
    "[onmouseover], [ontoggle], [onstart], [onbegin], [href^=javascript], [action^=javascript]"
)


class HostileReloads(MadeUpReloads):
    """Settings of which each word is a payload."""

    async def pending(self) -> PendingConfiguration:
        return replace(
            await super().pending(),
            file=PAYLOADS[0],
            changes=tuple(PendingChange(it, it, it, it, it, it, False) for it in PAYLOADS),
            refusals=PAYLOADS,
            routes=tuple(RoutePlan(it, "is opened") for it in PAYLOADS),
            files=tuple(WatchedFileState("keys_file", it, it) for it in PAYLOADS),
        )


class HostileCredentials(MadeUpCredentials):
    """Tokens whose names, paths and revocations are payloads."""

    async def page(self, query: OfTokens, viewer: Viewer) -> TokensView:
        told = await super().page(query, viewer)
        use = TokenUse()
        return replace(
            told,
            tokens=tuple(
                StaticTokenRow(it, (GrantRow(it, (it,)),), 1, None, False, use) for it in PAYLOADS
            ),
            signed=tuple(SignedTokenRow(it, it, it, it, it, use) for it in PAYLOADS),
            keys=tuple(TokenKeyRow("jwt", it, it, it, (it,), (it,), it) for it in PAYLOADS),
            revocations=tuple(RevocationRow(it, it) for it in PAYLOADS),
            problems=PAYLOADS,
            tokens_file=PAYLOADS[0],
        )


class Hostile(MadeUp):
    """A console of whose values those that clients, origins and operators write are payloads."""

    def __init__(self) -> None:
        super().__init__()
        self.reloads = HostileReloads(self.done)
        self.credentials = HostileCredentials(self.done)
        words = {"route": ALL, "prefix": ALL, "by": ALL, "trouble": ALL, "sample": PAYLOADS}
        self.deletion.current = replace(self.deletion.current, **words)

    async def overview(self, span: Span) -> Overview:
        attention = tuple(
            Attention(
                id=it,
                level="bad",
                sentence=it,
                route=it,
                since=NOW,
                next=NextStep(command=it),
                symptoms=(Symptom(it, NOW),),
                mute=Mute(it, NOW),
            )
            for it in PAYLOADS
        )
        return replace(await super().overview(span), attention=attention)

    async def routes(self, span: Span = "15m") -> tuple[RouteView, ...]:
        first, *others = await super().routes(span)
        repairs = dict.fromkeys(PAYLOADS, 1)
        state = HealthState("bad", PAYLOADS[0])
        told = replace(first, state=state, policy=PAYLOADS, repairs=repairs, origin=PAYLOADS[4])
        return (told, *others)

    async def streams(self, query: StreamSearch) -> StreamPage:
        if query.begins:
            raise ConsoleError(503, query.begins)  # as an origin's words would be told
        return StreamPage(tuple(map(_row, PAYLOADS)))

    async def stream(self, query: OfStream) -> StreamDescription:
        told = await super().stream(OfStream(query.route, "chat/0001"))
        return StreamDescription(
            _row(query.name),
            dict(zip(PAYLOADS, reversed(PAYLOADS), strict=True)),
            tuple(ProducerRow(it, 1, 1) for it in PAYLOADS),
            len(PAYLOADS),
            told.readers_by_mode,
        )

    async def messages(self, query: OfMessages) -> Messages:
        told = tuple(ShownMessage(len(it.encode()), it, None) for it in (query.name, *PAYLOADS))
        return Messages(query.name, MessagePlace("0000000001_0000000000036024"), told, None, "1_2")

    async def explanation(self, body: RequestToExplain) -> Explanation:
        return Explanation(
            tuple(ExplainStep(it, it, it) for it in (body.url, *PAYLOADS)), PAYLOADS[0]
        )

    def configuration(self) -> Configuration:
        told = (SettingView(it, it, it, it, it, True) for it in PAYLOADS)
        return Configuration(tuple(told))


def _row(name: str) -> StreamRow:
    return StreamRow(
        name=name,
        content_type=name,
        closed=False,
        tail=name,
        size=1,
        readers=1,
        rate=1.0,
        expires_at=None,
        forked_from=name,
        created_at=NOW,
    )


ALL = "".join(PAYLOADS)  # where a page has one value only: in it every way out of an attribute
PAGE, STREAM = "/streams/one", {"route": "/v1/stream", "name": ALL}
PAGES = (
    "/",
    "/routes",
    "/streams",
    link("/streams", text=ALL),
    link("/streams", by="contains", text=ALL[:256]),
    *(
        link("/streams/one", **STREAM, tab=it)
        for it in ("readers", "producers", "metadata", "change")
    ),
    link("/streams/delete", prefix=ALL),
    link(PAGE, **STREAM),
    link("/caches", target=ALL, explained="yes"),
    "/configuration",
    link("/clients", show="tokens", kind=ALL, value=ALL, text=ALL),
)


async def test_forty_script_payloads_are_shown_as_text_on_every_page(browser: Browser) -> None:
    assert len(set(PAYLOADS)) == 40
    async with AdminServer(application(Hostile())) as server:
        tab = await Tab.open(browser, str(server.make_url("/")).rstrip("/"))
        for path in PAGES if IS_WHOLE else PAGES[::3]:
            await tab.goto(path)
            await tab.page.locator("main").filter(has_text="alert(1)").wait_for(timeout=5000)
            assert await tab.page.locator(FOREIGN).count() == 0, path
        assert await tab.close() == []
