// Three functions that stream, the same on every edge runtime.

import { eventsUntil, generated, transformed } from "./bodies.js"

const MOST_PARTS = 1000 // of a generated body: whoever may call it decides how many
const LONGEST_WAIT_MS = 1000
// They tell of the bytes before: their number, coding and version, for how long caches may have
// them, and by which tags these drop them.
const OF_WHAT_WAS_READ = [
  ...["Content-Length", "Content-Encoding", "ETag", "Age"],
  ...["CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Vercel-CDN-Cache-Control"],
  ...["Surrogate-Control", "Surrogate-Key", "Cache-Tag", "Vercel-Cache-Tag"],
]

// They tell browsers which pages may read the events.
const FOR_PAGES = ["Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Vary"]

/**
 * Answer /generated, /transformed/STREAM or /events/STREAM.
 *
 * `origin` is where Headgate serves streams, such as https://streams.example.com/v1/stream. `keep`
 * is told of work that is to be finished when its reader has left. `times` are those of events.
 */
export async function answer(request, { origin, keep, times }) {
  const url = new URL(request.url)
  const [, what, path] = url.pathname.match(/^\/(generated|transformed|events)(\/.*)?$/) ?? []
  if (request.method !== "GET" || !what) return new Response("not found\n", { status: 404 })
  if (what === "generated") return numbers(url.searchParams, keep)
  const target = origin + (path ?? "") + url.search
  return what === "events" ? events(request, target, times) : shouted(target)
}

function numbers(query, keep) {
  const parts = Math.min(Number(query.get("parts") ?? 5) || 0, MOST_PARTS)
  const wait_ms = Math.min(Number(query.get("wait_ms") ?? 200) || 0, LONGEST_WAIT_MS)
  const { body, done } = generated(counted(parts, wait_ms))
  keep(done)
  return new Response(body, {
    headers: { "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store" },
  })
}

async function* counted(parts, wait_ms) {
  for (let part = 0; part < parts; part++) {
    if (part) await new Promise((resolve) => setTimeout(resolve, wait_ms))
    yield `part ${part}\n`
  }
}

/** A read of a stream in capitals: put your own change of a text here. */
async function shouted(target) {
  const read = await fetch(target)
  const headers = new Headers(read.headers)
  for (const name of OF_WHAT_WAS_READ) headers.delete(name)
  headers.set("Cache-Control", "no-store")
  const body = read.ok && read.body && transformed(read.body, (text) => text.toUpperCase())
  return new Response(body || read.body, { status: read.status, headers })
}

async function events(request, target, times) {
  const followed = new URL(target)
  followed.searchParams.set("live", "sse")
  const headers = new Headers()
  // Where an EventSource wants to go on, and whose page it is of.
  for (const name of ["Last-Event-ID", "Origin"]) {
    if (request.headers.has(name)) headers.set(name, request.headers.get(name))
  }
  // The reader's signal: who leaves in silence is followed no longer.
  const read = await fetch(followed, { headers, signal: request.signal })
  if (read.status !== 200 || !read.body) return new Response(read.body, read)
  // Nothing is left to be done for a reader who has left: so `keep` is not told, and the connection
  // to the origin ends with the request.
  const answered = new Headers({
    "Content-Type": "text/event-stream",
    // Nothing on the way may keep, compress or gather the events.
    "Cache-Control": "no-cache, no-transform",
  })
  for (const name of FOR_PAGES) {
    if (read.headers.has(name)) answered.set(name, read.headers.get(name))
  }
  return new Response(eventsUntil(read.body, times), { headers: answered })
}
