// The load of tests/client/resumable/load.py on npm's resumable-stream: `node --expose-gc
// resumable_load.mjs URL STREAMS SECONDS` prints the same line of JSON.
import { createClient } from "redis"
import { createResumableStreamContext } from "resumable-stream/redis"

const CHUNK = 1 << 20
const CHUNKS = 5
const INTERVAL_MS = 3000
const VISITORS = 2
const WARM_UP = 0.1
const WARM_UP_S = 5
const SETTLE_MS = 5000

const [url, streams, seconds] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const below = (limit) => Math.floor(Math.random() * limit)
const residentMb = () => process.memoryUsage.rss() / 1e6

function chunk(streamId, number) {
  const words = `${streamId} ${number} `
  return words.repeat(Math.ceil(CHUNK / words.length)).slice(0, CHUNK)
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
  const clients = [createClient({ url }), createClient({ url })]
  await Promise.all(clients.map((client) => client.connect()))
  const ended = []
  const made = createResumableStreamContext({
    waitUntil: (promise) => ended.push(promise),
    publisher: clients[0],
    subscriber: clients[1],
  })
  return { ...made, ended, close: () => clients.forEach((client) => client.destroy()) }
}

let seen = {}
let mostMb = 0
const count = (what, by = 1) => (seen[what] = (seen[what] ?? 0) + by)

// A resume that nobody answers in time is thrown where nobody can catch it.
process.on("uncaughtException", () => count("errors"))
process.on("unhandledRejection", () => count("errors"))

const producer = await context()
const other = await context()

async function read(stream, leaves) {
  const reader = stream.getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return count("to the end")
    count("read_mb", Math.floor(value.length / 1e6))
    if (--leaves === 0) {
      count("left")
      return reader.cancel()
    }
  }
}

async function visit(streamId) {
  await sleep(Math.random() * CHUNKS * INTERVAL_MS)
  const at = below(2) ? 0 : below(CHUNK * CHUNKS)
  let stream = null
  try {
    stream = await other.resumeExistingStream(streamId, at)
  } catch {
    return count("errors")
  }
  if (!stream) return count("too late")
  count("resumed")
  await read(stream, 1 + below(CHUNKS + 1))
}

async function stream(streamId) {
  const creator = await producer.createNewResumableStream(streamId, () => source(streamId))
  // It gives a promise for each stream, which may never be fulfilled: not waited for here.
  producer.ended.length = 0
  const readers = [read(creator, 1 + below(CHUNKS + 1))]
  for (let visitor = 0; visitor < VISITORS; visitor++) readers.push(visit(streamId))
  await Promise.all(readers)
}

async function slot(name, until) {
  await sleep(Math.random() * CHUNKS * INTERVAL_MS)
  while (Date.now() < until) {
    count("streams")
    const streamId = `${name} ${seen.streams}`
    const patience = sleep((CHUNKS + 4) * INTERVAL_MS).then(() => "late")
    if ((await Promise.race([stream(streamId), patience])) === "late") count("readers hung")
    mostMb = Math.max(mostMb, residentMb())
  }
}

async function run(name, forSeconds) {
  const until = Date.now() + forSeconds * 1000
  await Promise.all(Array.from({ length: streams }, (_, number) => slot(`${name} ${number}`, until)))
}

async function settledMb() {
  await sleep(SETTLE_MS)
  globalThis.gc()
  globalThis.gc()
  await sleep(500)
  return residentMb()
}

console.error("warming up")
await run("npm warm-up", Math.max(WARM_UP_S, WARM_UP * seconds))
const before = await settledMb()
console.error("warm", JSON.stringify(seen))
seen = {}
await run("npm run", seconds)
const after = await settledMb()
console.log(JSON.stringify({ before_mb: before, most_mb: mostMb, after_mb: after, ...seen }))
producer.close()
other.close()
process.exit(0)
