// Answer a read that many clients send: from a stored copy, or with one response for all equal
// requests that wait at the same time.

import { NEVER, fromStored, lifetimeOf, mayShare, toStored } from "./lifetimes.js"
import { fetchShared, isOfMany, isOwnSlot, marked, unchanged } from "./gateway.js"
import { Unshared } from "./shared_reads.js"
import { isNotModified, modeOf } from "../edge/reads.js"

// A request that has waited for longer than a long-poll lasts asks the gateway itself: the request
// whose response it waits for has probably been lost.
const PATIENCE_MS = CONFIG.patience_s * 1000
const KEPT_MS = CONFIG.moment_s * 1000

/** Answer a read from the copy under `key`; without one, `loadOnce` fetches the response. */
export async function cachedRead(read, key, { reads, ctx, loadOnce }) {
  const mode = modeOf(read, new URL(read.url))
  // Computed once for each answer: a thousand requests may get it at the same moment.
  const own = isOwnSlot(read)
  const lifetime = (answer) => (answer.lifetime ??= lifetimeOf(mode, answer, own, CONFIG))
  const store = (answer) => storeFor(key, answer, lifetime(answer))
  const join = () => joinedRead(read, key, { reads, ctx, loadOnce, store })
  // A poll joins an equal one that is under way, whose response cannot be in the cache yet. With
  // --purge, only Workers Cache stores copies: the Cache API cannot purge in all data centres.
  const isAsked = !CONFIG.purges && !(mode === "poll" && reads.has(key))
  const stored = isAsked ? await caches.default.match(key) : null
  const copy = stored && fromStored(stored)
  if (copy?.fresh_s > 0) return withLifetime(marked(copy.response, "HIT"), copy)
  if (copy?.stale_s > 0) {
    ctx.waitUntil(join()) // fetch a new copy while this one is served
    return withLifetime(marked(copy.response, "STALE"), NEVER)
  }
  const { response, answer } = await join()
  if (response.status >= 500 && copy?.error_s > 0) {
    await response.body?.cancel()
    return withLifetime(marked(copy.response, "STALE"), NEVER)
  }
  const whole = withLifetime(response, answer ? lifetime(answer) : NEVER)
  // Workers Cache sends If-None-Match for a stale copy. That of the client was handled by gateway.js.
  return isNotModified(read, whole.headers.get("ETag")) ? unchanged(whole) : whole
}

/** Return the response to one of several equal requests, and the shared `answer` if there is one. */
export async function joinedRead(read, key, { reads, ctx, loadOnce, store }) {
  const may = (response) => mayShare(response, isOwnSlot(read), isOfMany(read))
  const options = { ctx, patience_ms: PATIENCE_MS, mayShare: may, store }
  const [answer, how] = await reads.join(key, loadOnce, options)
  if (answer instanceof Unshared || answer === null) {
    const alone = answer !== null && how === "MISS" ? answer.response : await fetchShared(read)
    return { response: marked(new Response(alone.body, alone), "BYPASS") }
  }
  const { status, headers, body } = answer
  const response = new Response(status === 204 ? null : body.slice(0), { status, headers })
  return { response: marked(response, how), answer }
}

// A response that may not be stored, such as an error, is shared only by requests that wait for it.
function storeFor(key, answer, lifetime) {
  if (!(lifetime.fresh_s > 0)) return { kept_ms: 0 }
  // A copy here would outlast a purge, and would then be stored again.
  if (CONFIG.purges) return { kept_ms: answer.status === 200 ? 0 : KEPT_MS }
  const isStorable = answer.status === 200 // the Cache API stores no 204: that stays in memory
  const stored = isStorable && caches.default.put(key, toStored(answer, lifetime))
  return { kept_ms: KEPT_MS, stored }
}

/** Return how long a Durable Object keeps the response to its read: a moment, if it is a poll. */
export function keepPoll(read, answer) {
  const mode = modeOf(read, new URL(read.url))
  const isPurged = CONFIG.purges && answer.status === 200
  const mayKeep = mode === "poll" && !isPurged && lifetimeOf(mode, answer, isOwnSlot(read), CONFIG).fresh_s > 0
  return { kept_ms: mayKeep ? KEPT_MS : 0 }
}

// Without this field Workers Cache would store a response for two hours, and serve it without end
// while this Worker fails. So each response has the rest of its lifetime in it.
function withLifetime(response, { fresh_s, stale_s, error_s }) {
  const stale = `stale-while-revalidate=${stale_s}, stale-if-error=${error_s}`
  const rest = `public, max-age=${fresh_s}, ${stale}`
  response.headers.set("Cloudflare-CDN-Cache-Control", fresh_s > 0 ? rest : "no-store")
  return response
}
