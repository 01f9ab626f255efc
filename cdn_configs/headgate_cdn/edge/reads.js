// The mode of a request to a stream, and which requests are equal reads.

// Servers do not agree on the value of a repeated parameter: nobody shares the response then.
const SINGLE = ["offset", "live", "cursor", "rk"]
const TOKEN = "token" // in the query: a credential, since an EventSource cannot set headers

/** Return the mode of a request: write, head, sse, poll, now, catch-up, or other (never shared). */
export function modeOf(request, url) {
  if (request.method === "HEAD") return "head"
  if (request.method !== "GET") return "write"
  const query = url.searchParams
  if (SINGLE.some((name) => query.getAll(name).length > 1)) return "other"
  if (request.headers.has("Range")) return "other"
  const live = query.get("live")
  if (live === "sse") return "sse"
  if (live === "long-poll") return "poll"
  return query.get("offset") === "now" ? "now" : "catch-up"
}

/**
 * Return the query with its `name=value` pairs sorted, so that their order makes no other key.
 *
 * The gateway's own streams ignore all parameters but `parameters`: the key does not have these.
 */
export function sortedQuery(url, { own_paths, parameters }) {
  const isOwn = new RegExp(own_paths).test(url.pathname) && url.searchParams.has("offset")
  const ignored = new RegExp(`^(?!(?:${parameters})=)[A-Za-z0-9_.~-]+=`)
  const isLeftOut = (pair) => pair.startsWith(`${TOKEN}=`) || (isOwn && ignored.test(pair))
  // No key has a credential.
  const pairs = url.search.slice(1).split("&").filter((pair) => pair && !isLeftOut(pair))
  return pairs.length ? `?${pairs.sort().join("&")}` : ""
}

/** Whether a request has credentials, in one of these headers or as a token in its URL. */
export function hasCredentials(request, url, config) {
  const says = (name) => identityOf(request, url, name, config) !== null
  return url.searchParams.has(TOKEN) || config.identity_headers.some(says)
}

/**
 * Return the value of a header that identifies readers, or null.
 *
 * The gateway's own streams know readers by one cookie. Other cookies, such as those of web statistics,
 * do not keep a reader from shared copies.
 */
export function identityOf(request, url, name, { own_targets, reader_cookie }) {
  const value = request.headers.get(name)
  if (value === null || name.toLowerCase() !== "cookie") return value
  if (!new RegExp(own_targets).test(url.pathname)) return value
  return value.match(new RegExp(`(?:^|[;,])\\s*(${reader_cookie}=[^;,]*)`))?.[1] ?? null
}

/** Whether If-None-Match names this ETag: a list, `*`, and weak comparison (RFC 9110, 13.1.2). */
export function isNotModified(request, etag) {
  const field = request.headers.get("If-None-Match")
  if (field === null || etag === null) return false
  const tags = field.match(/"[^"]*"/g) ?? []
  return field.trim() === "*" || tags.includes(etag.replace(/^W\//, ""))
}

/** The directives of a Cache-Control field: names in lower case, values as text, "" without one. */
export function directivesOf(field) {
  const parts = (field ?? "").toLowerCase().replaceAll('"', "").split(",")
  const pairs = parts.map((part) => part.trim().split("=")).filter(([name]) => name)
  return new Map(pairs.map(([name, value]) => [name, value ?? ""]))
}

/** Whether an answer only says that there is no more yet: the next append makes it untrue. */
export function isEmptyTail(headers, body) {
  if (headers.get("Stream-Up-To-Date") !== "true") return false
  return body.byteLength === 0 || (body.byteLength === 2 && new TextDecoder().decode(body) === "[]")
}
