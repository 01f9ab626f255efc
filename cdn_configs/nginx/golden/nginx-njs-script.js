// headgate cdn nginx-njs-script {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
// For njs of nginx; it lies where nginx looks for what the configuration imports, beside it.
import crypto from "crypto";

const IDENTITY_HEADERS = ["Authorization", "Cookie"];

// Who a reader is, as 64 hexadecimal digits; "" for anybody. Names and values are hashed as JSON,
// so that no two lists of headers give the same text.
function reader(r) {
  const known = IDENTITY_HEADERS.filter((name) => valueOf(r, name));
  const tokens = r.variables.request_uri.split("?").slice(1).join("?").split("&").filter(isToken);
  if (!known.length && !tokens.length) return "";
  const named = known.map((name) => [name.toLowerCase(), valueOf(r, name)]);
  const told = JSON.stringify(named.concat(tokens.map((pair) => ["?", pair])));
  return crypto.createHash("sha256").update(told).digest("hex");
}

// The value of a header by which readers are told apart.
function valueOf(r, name) {
  if (name.toLowerCase() === "cookie") return r.variables.headgate_cookie;  // those that count
  return r.headersIn[name];
}

// Whether a parameter of the query is a credential, which is in no key.
function isToken(pair) {
  return pair.startsWith("token=");
}

// Streams of own logs ignore all other parameters. In the key, each value would be another copy.
const OWN = /^(?:\/v1\/stream)\/[^?]*\?(.*&)?offset=/;
const IGNORED = /^(?!(?:offset|live|cursor|view|batch_ms|lastEventId|rk|token)=)[A-Za-z0-9_.~-]+=/;

// The query with its parameters in order. One that has a parameter twice stays as it is: servers
// do not agree which of the two counts, so its order may mean something.
function query(r) {
  const isOwn = OWN.test(r.variables.request_uri);
  const isLeftOut = (pair) => isToken(pair) || (isOwn && IGNORED.test(pair));
  const pairs = (r.variables.args || "").split("&").filter((pair) => pair && !isLeftOut(pair));
  const names = pairs.map((pair) => pair.split("=", 1)[0]).sort();
  if (names.some((name, at) => at && name === names[at - 1])) return pairs.join("&");
  return pairs.sort().join("&");
}

// Hold a request for events while the gateway is away, and pass it on when the gateway answers. Then
// an EventSource is told to ask again, and others are told that nobody answers.
async function wait(r) {
  const end_ms = Date.now() + 30000;
  while (Date.now() < end_ms) {
    // Not all at the same moment: a thousand may wait.
    await new Promise((resolve) => setTimeout(resolve, 500 + 1000 * Math.random()));
    const there = await r.subrequest("/headgate-there", { method: "HEAD" });
    if (there.status < 500) return r.internalRedirect("@headgate_waited");
  }
  r.internalRedirect(r.variables.headgate_event_source === "1" ? "@headgate_later" : "@headgate_away");
}

export default { query, reader, wait };
