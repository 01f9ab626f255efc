// headgate cdn nginx-njs-script {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
// The script of nginx-njs. Put it beside the configuration, which imports it.
import crypto from "crypto";

const IDENTITY_HEADERS = ["Authorization", "Cookie"];

// Return the SHA-256 of a reader's credentials, in hexadecimal; "" for a request without any. Names
// and values are hashed as JSON: two different lists of headers never give the same text.
function reader(r) {
  const known = IDENTITY_HEADERS.filter((name) => valueOf(r, name));
  const tokens = r.variables.request_uri.split("?").slice(1).join("?").split("&").filter(isToken);
  if (!known.length && !tokens.length) return "";
  const named = known.map((name) => [name.toLowerCase(), valueOf(r, name)]);
  const text = JSON.stringify(named.concat(tokens.map((pair) => ["?", pair])));
  return crypto.createHash("sha256").update(text).digest("hex");
}

// Return the value of a header that identifies readers.
function valueOf(r, name) {
  if (name.toLowerCase() === "cookie") return r.variables.headgate_cookie;  // those that count
  return r.headersIn[name];
}

// Return whether a parameter of the query is a credential. No cache key has one.
function isToken(pair) {
  return pair.startsWith("token=");
}

// The gateway's own streams ignore all other parameters, which would only make further copies.
const OWN = /^(?:\/v1\/stream)\/[^?]*\?(.*&)?offset=/;
const IGNORED = /^(?!(?:offset|live|cursor|view|batch_ms|lastEventId|rk|token)=)[A-Za-z0-9_.~-]+=/;

// Return the query with its parameters sorted. A query that has a parameter twice stays as it is:
// servers do not agree on which of the two counts, so the order may matter.
function query(r) {
  const isOwn = OWN.test(r.variables.request_uri);
  const isLeftOut = (pair) => isToken(pair) || (isOwn && IGNORED.test(pair));
  const pairs = (r.variables.args || "").split("&").filter((pair) => pair && !isLeftOut(pair));
  const names = pairs.map((pair) => pair.split("=", 1)[0]).sort();
  if (names.some((name, at) => at && name === names[at - 1])) return pairs.join("&");
  return pairs.sort().join("&");
}

// Hold a request for events while the gateway does not answer, and pass it on once it does. After
// 30 s, an EventSource gets a response after which it reconnects, other clients 502.
async function wait(r) {
  const end_ms = Date.now() + 30000;
  while (Date.now() < end_ms) {
    // At random, so that a thousand waiting requests do not ask at the same moment.
    await new Promise((resolve) => setTimeout(resolve, 500 + 1000 * Math.random()));
    const probe = await r.subrequest("/headgate-probe", { method: "HEAD" });
    if (probe.status < 500) return r.internalRedirect("@headgate_waited");
  }
  r.internalRedirect(r.variables.headgate_event_source === "1" ? "@headgate_later" : "@headgate_away");
}

export default { query, reader, wait };
