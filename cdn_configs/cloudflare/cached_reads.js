// The answer to a read that many ask: a copy, or one answer for all who ask at the same time.

import { NEVER, fromStored, lifetimeOf, mayShare, toStored } from "./lifetimes.js"
import { isOfMany, isOwnSlot, load, marked, unchanged } from "./gateway.js"
import { Unshared } from "./shared_reads.js"
import { isNotModified, modeOf } from "../edge/reads.js"

// Who waits for longer than a poll may last asks again: the request that began it is gone.
const PATIENCE_MS = CONFIG.patience_s * 1000
const KEPT_MS = CONFIG.moment_s * 1000

/** Answer a read; `loadOnce` gets it where there is no copy, `key` is all that it depends on. */
export async function cachedRead(read, key, { reads, ctx, loadOnce }) {
  const mode = modeOf(read, new URL(read.url))
  // Once for an answer: a thousand may get it at the same moment.
  const own = isOwnSlot(read)
  const lifetime = (answer) => (answer.lifetime ??= lifetimeOf(mode, answer, own, CONFIG))
  const store = (answer) => storeFor(key, answer, lifetime(answer))
  const join = () => joinedRead(read, key, { reads, ctx, loadOnce, store })
  // Who polls waits for what is under way. It is not in the cache yet, so that is not asked. What
  // is purged is kept by Workers Cache alone: no other can be purged in all data centres.
  const isAsked = !CONFIG.purges && !(mode === "poll" && reads.has(key))
  const stored = isAsked ? await caches.default.match(key) : null
  const copy = stored && fromStored(stored)
  if (copy?.fresh_s > 0) return told(marked(copy.response, "HIT"), copy)
  if (copy?.stale_s > 0) {
    ctx.waitUntil(join()) // a new copy, while this one is given out
    return told(marked(copy.response, "STALE"), NEVER)
  }
  const { response, answer } = await join()
  if (response.status >= 500 && copy?.error_s > 0) {
    await response.body?.cancel()
    return told(marked(copy.response, "STALE"), NEVER)
  }
  const whole = told(response, answer ? lifetime(answer) : NEVER)
  // Workers Cache asks so for what was marked as stale. Who reads was answered before, by gateway.js.
  return isNotModified(read, whole.headers.get("ETag")) ? unchanged(whole) : whole
}

/** The response to one of those who ask the same, and the `answer` that they share, if they may. */
export async function joinedRead(read, key, { reads, ctx, loadOnce, store }) {
  const may = (response) => mayShare(response, isOwnSlot(read), isOfMany(read))
  const options = { ctx, patience_ms: PATIENCE_MS, mayShare: may, store }
  const [answer, how] = await reads.join(key, loadOnce, options)
  if (answer instanceof Unshared || answer === null) {
    const alone = answer !== null && how === "MISS" ? answer.response : await load(read)
    return { response: marked(new Response(alone.body, alone), "BYPASS") }
  }
  const { status, headers, body } = answer
  const response = new Response(status === 204 ? null : body.slice(0), { status, headers })
  return { response: marked(response, how), answer }
}

// What may not be kept, such as a refusal, is shared only by those who wait for it.
function storeFor(key, answer, lifetime) {
  if (!(lifetime.fresh_s > 0)) return { kept_ms: 0 }
  // Here it would outlast a purge, and be stored once more.
  if (CONFIG.purges) return { kept_ms: answer.status === 200 ? 0 : KEPT_MS }
  const isStorable = answer.status === 200 // the Cache API keeps no 204, so it is only kept here
  const stored = isStorable && caches.default.put(key, toStored(answer, lifetime))
  return { kept_ms: KEPT_MS, stored }
}

/** What an object keeps of its one read: polls that may be kept, whose readers go on to another key. */
export function keepPoll(read, answer) {
  const mode = modeOf(read, new URL(read.url))
  const isPurged = CONFIG.purges && answer.status === 200
  const mayKeep = mode === "poll" && !isPurged && lifetimeOf(mode, answer, isOwnSlot(read), CONFIG).fresh_s > 0
  return { kept_ms: mayKeep ? KEPT_MS : 0 }
}

// Workers Cache keeps what says nothing for two hours, and gives it out for good when this fails:
// so it is told each time, of what is left of the lifetime.
function told(response, { fresh_s, stale_s, error_s }) {
  const stale = `stale-while-revalidate=${stale_s}, stale-if-error=${error_s}`
  const left = `public, max-age=${fresh_s}, ${stale}`
  response.headers.set("Cloudflare-CDN-Cache-Control", fresh_s > 0 ? left : "no-store")
  return response
}
