// How long a response may be served to others, and how the Cache API stores it.

import { directivesOf, isEmptyTail } from "../edge/reads.js"

export const NEVER = { fresh_s: 0, stale_s: 0, error_s: 0 }
const FORBID_STALE = ["s-maxage", "must-revalidate", "proxy-revalidate"] // RFC 9111, 4.2.4

// The fields by which a shared response may vary: its slot has them, or the runtime compresses it.
const OF_ALL_SLOTS = CONFIG.sites ? ["", "accept-encoding", "origin"] : ["", "accept-encoding"]
const OF_ITS_SLOT = [...OF_ALL_SLOTS, "authorization", "cookie"]
// Statuses that are the same for all readers; 502 means that the gateway cannot be reached.
const SAME_FOR_ALL = [200, 204, 410, 502]

/**
 * Whether other readers may get this response. With `isOwnSlot` they may get a private one, too;
 * with `isOfMany` their credentials may differ.
 */
export function mayShare(response, isOwnSlot, isOfMany) {
  const { headers, status } = response
  if (isOfMany && !SAME_FOR_ALL.includes(status)) return false
  const known = isOwnSlot ? OF_ITS_SLOT : OF_ALL_SLOTS
  const varies = (headers.get("Vary") ?? "").toLowerCase().split(",")
  const isVariant = varies.some((name) => !known.includes(name.trim()))
  if (headers.has("Set-Cookie") || status === 206 || isVariant) return false
  const directives = governing(headers)
  if (directives.has("private") && !isOwnSlot) return false
  // A 204 of a long-poll, and an error, are the same for all, whatever their Cache-Control says.
  return status !== 200 || !directives.has("no-store")
}

/**
 * How long a response is fresh, and how long after that it may be served while a new one is fetched
 * (`stale_s`), or while the gateway does not answer (`error_s`).
 */
export function lifetimeOf(mode, answer, isOwnSlot, { moment_s, poll_data_s, stale_if_error_s }) {
  const error_s = mode === "catch-up" ? stale_if_error_s : 0
  const headers = new Headers(answer.headers)
  const directives = governing(headers)
  if (mode === "poll" && answer.status === 204) return { ...NEVER, fresh_s: moment_s }
  if (answer.status !== 200 || headers.has("Set-Cookie")) return NEVER
  if (directives.has("private") && !isOwnSlot) return NEVER
  if (directives.has("no-store")) return NEVER
  // A private response that reached the tail has no s-maxage.
  if (directives.has("no-cache")) return directives.has("private") ? { fresh_s: moment_s, stale_s: 0, error_s } : NEVER
  const age_s = Number(headers.get("Age") ?? 0)
  const left_s = Number(directives.get("s-maxage") ?? directives.get("max-age") ?? 0) - age_s
  const isEmpty = isEmptyTail(headers, answer.body)
  const most_s = isEmpty ? moment_s : mode === "poll" ? poll_data_s : Infinity
  const fresh_s = Math.min(left_s, most_s)
  if (!(fresh_s > 0)) return NEVER // also if it is not a number
  const mayBeStale = most_s === Infinity && !FORBID_STALE.some((one) => directives.has(one))
  const stale_s = (mayBeStale && Number(directives.get("stale-while-revalidate"))) || 0
  return { fresh_s, stale_s, error_s }
}

function governing(headers) {
  return directivesOf(headers.get("CDN-Cache-Control") ?? headers.get("Cache-Control"))
}

// The Cache API obeys these fields, and knows no stale-while-revalidate. So the stored copy has a
// max-age for the whole time, and one field of our own with the values that the reader gets.
const REPLACED = ["Cache-Control", "CDN-Cache-Control", "Surrogate-Control", "Age"]
const KEPT = "Headgate-Kept"

/** Return an answer as the Cache API stores it. */
export function toStored(answer, { fresh_s, stale_s, error_s }) {
  const headers = new Headers(answer.headers)
  const values = REPLACED.map((name) => headers.get(name))
  for (const name of REPLACED) headers.delete(name)
  headers.set("Cache-Control", `public, max-age=${fresh_s + Math.max(stale_s, error_s)}`)
  headers.set(KEPT, JSON.stringify({ at_ms: Date.now(), fresh_s, stale_s, error_s, values }))
  return new Response(answer.body.slice(0), { status: answer.status, headers })
}

/** Return the answer in a stored copy, and how long it is still fresh, and then may be stale. */
export function fromStored(stored) {
  const response = new Response(stored.body, stored)
  const { at_ms, fresh_s, stale_s, error_s, values } = JSON.parse(response.headers.get(KEPT))
  const passed_s = Math.floor((Date.now() - at_ms) / 1000)
  for (const name of [KEPT, "CF-Cache-Status"]) response.headers.delete(name)
  REPLACED.forEach((name, at) => {
    if (values[at] === null) response.headers.delete(name)
    else response.headers.set(name, values[at])
  })
  response.headers.set("Age", String(Number(values[3] ?? 0) + passed_s))
  const left_s = fresh_s - passed_s
  const over_s = Math.min(0, left_s)
  return { response, fresh_s: left_s, stale_s: stale_s + over_s, error_s: error_s + over_s }
}
