// For how long an answer may be given to others, and what the Cache API is told of it.

import { directivesOf, isEmptyTail } from "../edge/reads.js"

export const NEVER = { fresh_s: 0, stale_s: 0, error_s: 0 }
const FORBID_STALE = ["s-maxage", "must-revalidate", "proxy-revalidate"] // RFC 9111, 4.2.4

const OF_ALL_SLOTS = /\b(origin|accept-encoding)\b/gi
const OF_ITS_SLOT = /\b(origin|accept-encoding|authorization|cookie)\b/gi
// All else may be what one reader is told, and others not; 502 is that the gateway is not reached.
const ALIKE = [200, 204, 410, 502]

/**
 * Whether others may have this answer: `isOwnSlot` says that they may have what is private, and
 * `isOfMany` that they have other credentials.
 */
export function mayShare(response, isOwnSlot, isOfMany) {
  const { headers, status } = response
  if (isOfMany && !ALIKE.includes(status)) return false
  const known = isOwnSlot ? OF_ITS_SLOT : OF_ALL_SLOTS
  const varies = (headers.get("Vary") ?? "").replace(known, "")
  if (headers.has("Set-Cookie") || status === 206 || /[^\s,]/.test(varies)) return false
  const said = governing(headers)
  if (said.has("private") && !isOwnSlot) return false
  // A 204 of a long-poll and a failure are alike for all who wait, whatever browsers are told.
  return status !== 200 || !said.has("no-store")
}

/**
 * How long an answer is fresh, and how long it may be given out while a new one is fetched
 * (`stale_s`), or nobody answers (`error_s`).
 */
export function lifetimeOf(mode, answer, isOwnSlot, { moment_s, poll_data_s, stale_if_error_s }) {
  const error_s = mode === "catch-up" ? stale_if_error_s : 0
  const headers = new Headers(answer.headers)
  const said = governing(headers)
  if (mode === "poll" && answer.status === 204) return { ...NEVER, fresh_s: moment_s }
  if (answer.status !== 200 || headers.has("Set-Cookie")) return NEVER
  if (said.has("private") && !isOwnSlot) return NEVER
  if (said.has("no-store")) return NEVER
  // What is private says nothing to shared caches of what reached the tail.
  if (said.has("no-cache")) return said.has("private") ? { fresh_s: moment_s, stale_s: 0, error_s } : NEVER
  const age_s = Number(headers.get("Age") ?? 0)
  const left_s = Number(said.get("s-maxage") ?? said.get("max-age") ?? 0) - age_s
  const isEmpty = isEmptyTail(headers, answer.body)
  const most_s = isEmpty ? moment_s : mode === "poll" ? poll_data_s : Infinity
  const fresh_s = Math.min(left_s, most_s)
  if (!(fresh_s > 0)) return NEVER // nor when it is no number
  const mayBeStale = most_s === Infinity && !FORBID_STALE.some((one) => said.has(one))
  const stale_s = (mayBeStale && Number(said.get("stale-while-revalidate"))) || 0
  return { fresh_s, stale_s, error_s }
}

function governing(headers) {
  return directivesOf(headers.get("CDN-Cache-Control") ?? headers.get("Cache-Control"))
}

// The Cache API obeys these fields, and has no stale-while-revalidate: so what is stored says how
// long it may be kept in all, and a field of our own keeps what its reader is told.
const SPOKEN = ["Cache-Control", "CDN-Cache-Control", "Surrogate-Control", "Age"]
const KEPT = "Headgate-Kept"

/** An answer as the Cache API keeps it. */
export function toStored(answer, { fresh_s, stale_s, error_s }) {
  const headers = new Headers(answer.headers)
  const spoken = SPOKEN.map((name) => headers.get(name))
  for (const name of SPOKEN) headers.delete(name)
  headers.set("Cache-Control", `public, max-age=${fresh_s + Math.max(stale_s, error_s)}`)
  headers.set(KEPT, JSON.stringify({ at_ms: Date.now(), fresh_s, stale_s, error_s, spoken }))
  return new Response(answer.body.slice(0), { status: answer.status, headers })
}

/** The answer that a stored one keeps, how long it is fresh yet, and may be given out after that. */
export function fromStored(stored) {
  const response = new Response(stored.body, stored)
  const { at_ms, fresh_s, stale_s, error_s, spoken } = JSON.parse(response.headers.get(KEPT))
  const passed_s = Math.floor((Date.now() - at_ms) / 1000)
  for (const name of [KEPT, "CF-Cache-Status"]) response.headers.delete(name)
  SPOKEN.forEach((name, at) => {
    if (spoken[at] === null) response.headers.delete(name)
    else response.headers.set(name, spoken[at])
  })
  response.headers.set("Age", String(Number(spoken[3] ?? 0) + passed_s))
  const left_s = fresh_s - passed_s
  const over_s = Math.min(0, left_s)
  return { response, fresh_s: left_s, stale_s: stale_s + over_s, error_s: error_s + over_s }
}
