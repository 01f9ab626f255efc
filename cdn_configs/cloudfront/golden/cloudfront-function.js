// headgate cdn cloudfront-function {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
// A viewer-request function for the runtime cloudfront-js-2.0. The distribution's cache policy has
// the header below in its key: two requests with different values share neither copy nor request.
const ALONE = "x-headgate-alone";
const IDENTITY = ["authorization"];
const OWN = new RegExp("^(?:/v1/stream)/");
const ONCE = ["offset", "live", "cursor"];
// The gateway's own streams ignore all other parameters: the key does not have them.
const OWN_PATH = /^(?:\/v1\/stream)\//;
const PARAMETERS = ["offset", "live", "cursor", "view", "batch_ms", "lastEventId", "rk", "token"];

function handler(event) {
  const request = event.request;
  const query = request.querystring;
  // Only this function sets it: what a client sends is dropped.
  delete request.headers[ALONE];
  // CloudFront sets X-Forwarded-For. With a Forwarded of its own, a client would get its quota twice.
  delete request.headers.forwarded;
  if (mayShare(request, query)) {
    request.querystring = sorted(query, OWN_PATH.test(request.uri) && "offset" in query);
    request.cookies = {}; // they would be in the key
  } else {
    request.headers[ALONE] = { value: event.context.requestId };
  }
  return request;
}

function mayShare(request, query) {
  // A HEAD would be answered from a stored GET, with an old tail.
  if (request.method !== "GET") return false;
  // A response to a reader with credentials is for that reader alone.
  // The streams of the gateway's own storage know readers by one cookie.
  const counts = (name) => name === "__Secure-headgate" || !OWN.test(request.uri);
  if (Object.keys(request.cookies).some(counts)) return false;
  if ("token" in query || IDENTITY.some((name) => name in request.headers)) return false;
  // An escaped name may stand for one of the names above.
  if (Object.keys(query).some((name) => /[%+]/.test(name))) return false;
  // CloudFront and the gateway may use different values of a repeated parameter.
  if (ONCE.some((name) => name in query && query[name].multiValue)) return false;
  // offset=now means another place in the stream with each request, also for a long-poll.
  if ("offset" in query && query.offset.value === "now") return false;
  // Each SSE reader gets a request of its own: CloudFront may delay those that wait for an equal one.
  return !("live" in query) || query.live.value === "long-poll";
}

// Sort the parameters, so that their order makes no other key; values of one parameter stay in order.
function sorted(query, isOwn) {
  const pairs = [];
  const names = Object.keys(query).filter((name) => !isOwn || PARAMETERS.includes(name));
  names.sort().forEach((name) => {
    const values = query[name].multiValue || [query[name]];
    values.forEach((each) => pairs.push(name + "=" + each.value));
  });
  return pairs.join("&");
}
