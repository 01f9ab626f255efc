// What the functions of docs/examples/edge do with bodies, asked for by a path, in any runtime.
//
// What a test compares is the answer, as JSON.
import worker from "../../docs/examples/edge/worker.mjs"
import { LINKED, REDACTED, events, generated, rewritten } from "../../docs/examples/edge/functions.mjs"

const TEXT = "some text of a large body, [1] as models write it ".repeat(1310)
const MOST_READ = 400 // chunks of 64 KiB
const encoder = new TextEncoder()
const soon = () => new Promise((resolve) => setTimeout(resolve, 1))

function bodyOf(chunks) {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) if (chunk.length) controller.enqueue(chunk)
      controller.close()
    },
  })
}

/** Return the different texts that a body is rewritten to when it comes in parts with these borders. */
async function rewrites({ text, cuts }) {
  const bytes = encoder.encode(text)
  const found = new Set()
  for (const borders of cuts) {
    const ends = [...borders, bytes.length]
    const parts = ends.map((end, at) => bytes.subarray(at ? ends[at - 1] : 0, end))
    const upstream = new Response(bodyOf(parts), { headers: { "Content-Type": "text/plain" } })
    found.add(await (await rewritten(upstream, [REDACTED, LINKED])).text())
  }
  return [...found]
}

async function status({ code, type, hasBody }) {
  const headers = type ? { "Content-Type": type } : {}
  const body = hasBody ? bodyOf([encoder.encode("a secret")]) : null
  const response = await rewritten(new Response(body, { status: code, headers }), [REDACTED])
  return [response.status, response.headers.get("Content-Type"), await response.text()]
}

/** Return by how many chunks a body's source was ever ahead of a reader that is slower than it. */
async function lead({ body }) {
  let taken = 0
  async function* source() {
    for (;;) yield (taken++, TEXT)
  }
  const pull = (controller) => controller.enqueue((taken++, encoder.encode(TEXT)))
  const upstream = new Response(new ReadableStream({ pull }, { highWaterMark: 0 }))
  const response =
    body === "rewritten"
      ? await rewritten(upstream, [REDACTED, LINKED])
      : generated(new Request("https://edge.test"), source, { waitUntil() {} })
  const reader = response.body.getReader()
  let most = 0
  for (let read = 0; read < MOST_READ; read++) {
    await soon()
    most = Math.max(most, taken - read)
    await reader.read()
  }
  await reader.cancel()
  return most
}

/** Return a body of the entry for Workers, and how many promises it gave to waitUntil. */
async function kept() {
  const promises = []
  const ctx = { waitUntil: (promise) => promises.push(promise) }
  const response = await worker.fetch(new Request("https://edge.test/generated?count=1"), {}, ctx)
  const text = await response.text()
  await Promise.all(promises)
  return [text, promises.length]
}

/** Return "ended" once the work of events has ended, of which nobody reads anything. */
async function stalled({ end_ms }) {
  async function* source() {
    for (let id = 0; ; id++) yield { id, event: "tick", data: {} }
  }
  let work
  const options = { waitUntil: (promise) => (work = promise), end_ms, keepAlive_ms: 10_000 }
  const response = events(new Request("https://edge.test/events"), source, options)
  await work
  return response.status === 200 ? "ended" : ""
}

/** Return what happened, in order, to a generated body whose reader leaves after its first part. */
async function leaving() {
  const happened = []
  let open
  const gate = new Promise((resolve) => (open = resolve))
  async function* source(signal) {
    signal.addEventListener("abort", () => happened.push("signal"))
    try {
      await gate
      for (let part = 0; ; part++) yield `part ${part}\n`
    } finally {
      happened.push("source ended")
    }
  }
  let work
  const response = generated(new Request("https://edge.test"), source, { waitUntil: (promise) => (work = promise) })
  happened.push("response")
  open()
  const reader = response.body.getReader()
  happened.push(new TextDecoder().decode((await reader.read()).value))
  await reader.cancel()
  await work
  return [...new Set(happened)].sort()
}

/** Return how a generated body ends whose source fails. */
async function failing() {
  let work
  async function* source() {
    yield "begun"
    throw new Error("the model is overloaded")
  }
  const response = generated(new Request("https://edge.test"), source, { waitUntil: (promise) => (work = promise) })
  const read = await response.text().catch(() => "cut")
  await work
  return read
}

/** Return the events of a source with so many, which is silent after `silentAfter` of them. */
async function eventsOf({ after, count, silentAfter, end_ms, keepAlive_ms }) {
  let returned = false
  async function* source(last, signal) {
    try {
      for (let id = Number(last ?? -1) + 1; id < count; id++) {
        if (id === silentAfter) await new Promise((resolve) => signal.addEventListener("abort", resolve))
        yield { id, event: "tick", data: { id } }
      }
    } finally {
      returned = true
    }
  }
  const headers = after === null ? {} : { "Last-Event-ID": after }
  let work
  const response = events(new Request("https://edge.test/events", { headers }), source, {
    waitUntil: (promise) => (work = promise),
    end_ms,
    keepAlive_ms,
  })
  const text = await response.text()
  await work
  await soon()
  return { text, returned, headers: Object.fromEntries(response.headers) }
}

let endless = 0 // sources that run

/** Return an endless body. */
function written(request, ctx) {
  async function* source() {
    endless += 1
    try {
      for (let part = 0; ; part++) yield `part ${part}\n`.repeat(100)
    } finally {
      endless -= 1
    }
  }
  return generated(request, source, { waitUntil: (promise) => ctx?.waitUntil(promise) })
}

const ASKED = { rewrites, status, lead, kept, stalled, leaving, failing, events: eventsOf, running: () => endless }

export default {
  async fetch(request, _env, ctx) {
    if (request.method === "GET") return written(request, ctx)
    const asked = ASKED[new URL(request.url).pathname.slice(1)]
    return Response.json(await asked(JSON.parse(await request.text())))
  },
}
