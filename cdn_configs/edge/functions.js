// Three functions that stream, the same on every edge runtime.

import { eventsUntil, generated, transformed } from "./bodies.js"

const MOST_PARTS = 1000 // of a generated body: the client chooses the number
const LONGEST_WAIT_MS = 1000
// These fields describe the original bytes: their length, coding and version, how long caches may
// store them, and the tags for purges.
const OF_WHAT_WAS_READ = [
  ...["Content-Length", "Content-Encoding", "ETag", "Age"],
  ...["CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Vercel-CDN-Cache-Control"],
  ...["Surrogate-Control", "Surrogate-Key", "Cache-Tag", "Vercel-Cache-Tag"],
]

// These fields tell browsers which pages may read the events.
const FOR_PAGES = ["Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Vary"]

/**
 * Answer /generated, /transformed/STREAM or /events/STREAM.
 *
 * `origin` is the URL at which Headgate serves streams, such as https://streams.example.com/v1/stream.
 * `keep` gets a promise of work to finish after the reader has disconnected. `times` is for events.
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

/** Return the text of a stream in capitals: put your own change of a text here. */
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
  // Where an EventSource continues, and the web site of its page.
  for (const name of ["Last-Event-ID", "Origin"]) {
    if (request.headers.has(name)) headers.set(name, request.headers.get(name))
  }
  // The read of the stream ends when the reader disconnects.
  const read = await fetch(followed, { headers, signal: request.signal })
  if (read.status !== 200 || !read.body) return new Response(read.body, read)
  // No work is left when the reader has disconnected: without `keep`, the connection to the origin
  // ends with the request.
  const answered = new Headers({
    "Content-Type": "text/event-stream",
    // No proxy may store, compress or collect the events.
    "Cache-Control": "no-cache, no-transform",
  })
  for (const name of FOR_PAGES) {
    if (read.headers.has(name)) answered.set(name, read.headers.get(name))
  }
  return new Response(eventsUntil(read.body, times), { headers: answered })
}
