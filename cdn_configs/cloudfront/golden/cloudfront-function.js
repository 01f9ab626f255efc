// headgate cdn cloudfront-function {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
// A viewer-request function for the runtime cloudfront-js-2.0. The distribution's cache policy has
// the header below in its key: two requests with different values share neither copy nor request.
const ALONE = "x-headgate-alone";
const IDENTITY = ["authorization"];
const OWN = new RegExp("^(?:/v1/stream)/");
const ONCE = ["offset", "live", "cursor"];
// Streams of own logs ignore all other parameters. In the key, each value would be another copy.
const OWN_PATH = /^(?:\/v1\/stream)\//;
const PARAMETERS = ["offset", "live", "cursor", "view", "batch_ms", "lastEventId", "rk", "token"];

function handler(event) {
  const request = event.request;
  const query = request.querystring;
  // Only this function says who is alone.
  delete request.headers[ALONE];
  // CloudFront writes X-Forwarded-For. What a client says of itself would give it its quota twice.
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
  // HEAD would be answered by a stored GET, and tell an old tail.
  if (request.method !== "GET") return false;
  // What one reader may see is nobody else's.
  // The streams of the gateway's own storage know readers by one cookie.
  const counts = (name) => name === "__Secure-headgate" || !OWN.test(request.uri);
  if (Object.keys(request.cookies).some(counts)) return false;
  if ("token" in query || IDENTITY.some((name) => name in request.headers)) return false;
  // An escaped name may mean a key that is not seen here.
  if (Object.keys(query).some((name) => /[%+]/.test(name))) return false;
  // Of two values for one key, an edge and a server may take different ones.
  if (ONCE.some((name) => name in query && query[name].multiValue)) return false;
  // The tail of now has no URL of its own, also for those who wait there.
  if ("offset" in query && query.offset.value === "now") return false;
  // SSE goes through for each reader: CloudFront may hold back those who wait for an equal request.
  return !("live" in query) || query.live.value === "long-poll";
}

// The same question in another order is the same question; the values of one key stay in order.
function sorted(query, isOwn) {
  const pairs = [];
  const names = Object.keys(query).filter((name) => !isOwn || PARAMETERS.includes(name));
  names.sort().forEach((name) => {
    const values = query[name].multiValue || [query[name]];
    values.forEach((each) => pairs.push(name + "=" + each.value));
  });
  return pairs.join("&");
}
