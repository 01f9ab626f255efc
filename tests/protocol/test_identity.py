"""Which headers say who somebody is."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from headgate_gateway.protocol.http.forwarding import IdentityHeaders

IDENTIFYING = """
Authorization Cookie X-Authorization X-Amz-Security-Token X-Access-Token X-Auth-Token X-Token
Private-Token X-Vault-Token X-Shopify-Access-Token X-CSRF-Token X-XSRF-TOKEN X-Csrftoken DPoP
X-Api-Key Api-Key ApiKey X-Apikey X-Goog-Api-Key Ocp-Apim-Subscription-Key X-Functions-Key
X-RapidAPI-Key X-Access-Key X-Signature Signature X-Client-Secret X-Session-Id X-SessionId
X-Session X-Session-Token X-Parse-Session-Token X-User X-User-Id X-UserId X-Username
X-User-Email Remote-User X-Remote-User X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups
X-Forwarded-Preferred-Username X-Forwarded-Access-Token X-Auth-Request-User X-Auth-Request-Email
X-WebAuth-User X-Authenticated-UserId X-Login X-Consumer-Id X-Consumer-Username
X-Credential-Identifier X-Amzn-Oidc-Identity X-Amzn-Oidc-Data X-Ms-Client-Principal
X-Ms-Client-Principal-Id X-Ms-Token-Aad-Access-Token Cf-Access-Jwt-Assertion
Cf-Access-Authenticated-User-Email Cf-Access-Client-Id Cf-Access-Client-Secret
X-Goog-Iap-Jwt-Assertion X-Goog-Authenticated-User-Email X-Pomerium-Claim-Email
X-Pomerium-Jwt-Assertion Tailscale-User-Login X-Endpoint-Api-UserInfo X-Hasura-Role
X-Forwarded-Client-Cert Client-Cert X-SSL-Client-Cert X-Device-Id X-Roles X-Scopes X-Tenant-Id
X-Tenant X-TenantId X-Org-Id X-Scope-OrgId X-Organization-Id X-Account-Id X-Workspace-Id
X-Customer-Id X-Team-Id X-Project-Id X-Realm X-SSL-Client-S-DN X-Ssl-Client-Dn
Ssl-Client-Subject-Dn X-Uid X-Subscriber-Id X-Profile-Id X-Guest-Id X-Player-Id X-Student-Id
X-Employee X-Sub X-Subject X-Actor X-Act-As X-Impersonate X-Owner X-Merchant-Id X-Shop-Id
Passport Bearer
"""
OF_NOBODY = """
Host Connection Keep-Alive User-Agent X-User-Agent X-Amz-User-Agent Accept Accept-Language
Accept-Encoding Accept-Charset Referer Origin DNT Sec-GPC Sec-Fetch-User Sec-Fetch-Site
Sec-Fetch-Mode Sec-CH-UA Sec-CH-UA-Platform Save-Data Upgrade-Insecure-Requests Priority Pragma
Cache-Control If-None-Match If-Modified-Since If-Match If-Range Range Last-Event-ID Via
Forwarded X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host X-Forwarded-Port X-Real-IP
CF-Connecting-IP CF-Ray CF-IPCountry True-Client-IP X-Request-Id X-Correlation-Id
X-Requested-With Traceparent Tracestate Baggage Sentry-Trace X-B3-TraceId X-Amzn-Trace-Id
X-Cloud-Trace-Context X-Datadog-Origin X-Client-Version X-Original-URL X-HTTP-Method-Override TE
Content-Type Proxy-Authorization Idempotency-Key Stream-Cursor Date Expect
"""
BUILT_IN = IdentityHeaders()


@pytest.mark.parametrize("name", IDENTIFYING.split())
def test_identity_headers_are_recognised_in_any_case(name: str) -> None:
    for spelt in (name, name.lower(), name.upper()):
        assert BUILT_IN.identifies(CIMultiDict({"Host": "a", spelt: "x"}))


@pytest.mark.parametrize("name", OF_NOBODY.split())
def test_headers_that_every_client_sends_are_no_identity(name: str) -> None:
    assert not BUILT_IN.identifies(CIMultiDict({"Host": "a", name: "x"}))


def test_identity_headers_can_be_added_and_dropped() -> None:
    some = IdentityHeaders(added=["X-Colour"], dropped=["cookie", "X-Token"])
    headers = CIMultiDict(
        (name, "x") for name in ("x-colour", "COOKIE", "X-Token", "Authorization")
    )
    assert some.identifying_names(headers) == ["authorization", "x-colour"]
    assert not some.identifies(CIMultiDict({"Cookie": "a", "X-Token": "b"}))
    assert [some.has(name) for name in ("X-COLOUR", "cookie", "x-api-key")] == [True, False, True]


def test_identity_does_not_depend_on_the_order_or_case_of_headers() -> None:
    one = CIMultiDict([("Cookie", "a"), ("X-User", "b"), ("cookie", "c")])
    other = CIMultiDict([("x-user", "b"), ("COOKIE", "a"), ("Cookie", "c")])
    assert (
        BUILT_IN.identifying_names(one) == BUILT_IN.identifying_names(other) == ["cookie", "x-user"]
    )
