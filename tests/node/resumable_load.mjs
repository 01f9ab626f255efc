// The load of tests/client/resumable/load.py on npm's resumable-stream: `node --expose-gc
// resumable_load.mjs URL STREAMS SECONDS [INTERVAL]`. It prints `ready`, plays the load after a first
// line, and collects garbage after a second one.
import readline from "node:readline"
import { createClient } from "redis"
import { createResumableStreamContext } from "resumable-stream/redis"

const LINE = 64
const CHUNK = 10 * 1024
const CHUNKS = 100
const MOST_BEFORE = 80
const PATIENCE_MS = 60_000 // for a stream whose reader does not end

const url = process.argv[2]
const [streams, seconds, interval = 0.05] = process.argv.slice(3).map(Number)
const INTERVAL_MS = 1000 * interval
const MOST_PAUSE_MS = 10 * INTERVAL_MS
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const below = (limit) => Math.floor(Math.random() * limit)

function chunk(streamId, number) {
  const first = (number * CHUNK) / LINE
  const words = Array.from({ length: CHUNK / LINE }, (_, line) => `${streamId} ${first + line}`)
  return words.map((word) => word.padEnd(LINE)).join("")
}

function text(streamId, begin, end) {
  let joined = ""
  for (let number = Math.floor(begin / CHUNK); number * CHUNK < end; number++)
    joined += chunk(streamId, number)
  return joined.slice(begin % CHUNK, (begin % CHUNK) + end - begin)
}

function source(streamId) {
  let number = 0
  return new ReadableStream({
    async pull(controller) {
      if (number === CHUNKS) return controller.close()
      await sleep(INTERVAL_MS)
      controller.enqueue(chunk(streamId, number++))
    },
  })
}

async function context() {
  const [publisher, subscriber] = [createClient({ url }), createClient({ url })]
  await Promise.all([publisher.connect(), subscriber.connect()])
  return createResumableStreamContext({ waitUntil: () => {}, publisher, subscriber })
}

const seen = { streams: 0, "bytes read": 0, resumed: 0, "read to the end": 0 }
const count = (what, by = 1) => (seen[what] = (seen[what] ?? 0) + by)

// A resume that nobody answers in time is thrown where nobody can catch it.
process.on("uncaughtException", () => count("errors"))
process.on("unhandledRejection", () => count("errors"))

const [producer, other] = [await context(), await context()]

async function read(streamId, stream, at, leaves) {
  const reader = stream.getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    if (value !== text(streamId, at, at + value.length)) throw new Error(`other text at ${at}`)
    at += value.length
    count("bytes read", value.length)
    if (at >= leaves) {
      await reader.cancel()
      return at
    }
  }
  if (at !== CHUNK * CHUNKS) throw new Error(`ended at ${at}`)
  count("read to the end")
}

async function play(streamId) {
  const creator = await producer.createNewResumableStream(streamId, () => source(streamId))
  const at = await read(streamId, creator, 0, (1 + below(MOST_BEFORE)) * CHUNK)
  await sleep(Math.random() * MOST_PAUSE_MS)
  const stream = await other.resumeExistingStream(streamId, at)
  if (!stream) return count("too late")
  count("resumed")
  await read(streamId, stream, at, Infinity)
}

async function slot(until) {
  await sleep(Math.random() * CHUNKS * INTERVAL_MS)
  let isFirst = true
  while (isFirst || Date.now() < until) {
    isFirst = false
    count("streams")
    const played = play(`npm ${seen.streams}`).catch(() => count("errors"))
    let timer
    const late = new Promise((resolve) => (timer = setTimeout(resolve, PATIENCE_MS, "late")))
    if ((await Promise.race([played, late])) === "late") count("never ended")
    clearTimeout(timer)
  }
}

console.log("ready")
await lines.next()
const until = Date.now() + seconds * 1000
await Promise.all(Array.from({ length: streams }, () => slot(until)))
console.log(JSON.stringify(seen))
await lines.next()
for (let time = 0; time < 2; time++) {
  globalThis.gc()
  await sleep(1000) // it gives pages back a little later
}
console.log("collected")
await lines.next()
process.exit(0)
