// Drives the official client, unmodified, for the tests in tests/clients.
//
//   node client.mjs read URL catch-up|long-poll|sse OUTPUT
//   node client.mjs json WRITE_URL READ_URL long-poll|sse INPUT OUTPUT
//
// One line of JSON on stdout says what happened; the data goes to the file OUTPUT.
import { readFile, writeFile } from "node:fs/promises"
import {
  createFetchWithConsumedBody,
  DurableStream,
  IdempotentProducer,
  stream,
} from "@durable-streams/client"

const LIVE = { "catch-up": false, "long-poll": "long-poll", sse: "sse" }
// Connections are cut on purpose here, so there is nobody to spare by waiting longer and longer.
const BACKOFF = { initialDelay: 10, multiplier: 1.3, maxDelay: 50 }

/** The library's whole-body fetch, so that it repeats a broken answer itself; counts by mode. */
function countingFetch(requests) {
  const fetchWhole = createFetchWithConsumedBody(fetch)
  return (input, init) => {
    const mode = new URL(input).searchParams.get("live") ?? "catch-up"
    requests[mode] = (requests[mode] ?? 0) + 1
    return mode === "sse" ? fetch(input, init) : fetchWhole(input, init)
  }
}

/**
 * Read from the beginning to the end. Where a session breaks or, like one that is not live, ends
 * after a part, a new one goes on at the last offset delivered.
 */
async function read(url, mode, output) {
  const requests = {}
  const chunks = []
  let offset = "-1"

  // `session.closed` tells that the last chunk is fetched; it may still be on its way to us.
  const deliver = (session) =>
    new Promise((resolve, reject) => {
      let isFetched = false
      let isBroken = false
      const resolveAfterLast = () => {
        if (isFetched && offset === session.offset) resolve()
      }
      session.subscribeBytes((chunk) => {
        // A chunk on its way when the session breaks comes again in the next one.
        if (isBroken) return
        chunks.push(chunk.data)
        offset = chunk.offset
        resolveAfterLast()
      })
      session.closed.then(
        () => {
          isFetched = true
          resolveAfterLast()
        },
        (error) => {
          isBroken = true
          reject(error)
        }
      )
    })

  for (;;) {
    try {
      const session = await stream({
        url,
        offset,
        live: LIVE[mode],
        fetch: countingFetch(requests),
        backoffOptions: BACKOFF,
      })
      await deliver(session)
      if (mode === "catch-up" ? session.upToDate : session.streamClosed) {
        await writeFile(output, Buffer.concat(chunks))
        return { requests, closed: session.streamClosed }
      }
    } catch (error) {
      // fetch reports a broken connection as a TypeError; anything else is a fault.
      if (!(error instanceof TypeError)) throw error
    }
  }
}

/** A fetch that repeats a request whose connection broke: the producer itself leaves that to us. */
function repeatingFetch(repeats) {
  return async (input, init) => {
    for (;;) {
      try {
        return await fetch(input, init)
      } catch (error) {
        if (!(error instanceof TypeError)) throw error
        repeats.count += 1
      }
    }
  }
}

/** Append every item of a JSON array through a producer, close, and iterate over them meanwhile. */
async function json(writeUrl, readUrl, mode, input, output) {
  const items = JSON.parse(await readFile(input, "utf8"))
  const requests = {}
  const repeats = { count: 0 }
  const errors = []
  const reading = (async () => {
    const session = await stream({
      url: readUrl,
      offset: "-1",
      live: LIVE[mode],
      fetch: countingFetch(requests),
    })
    const received = []
    for await (const item of session.jsonStream()) received.push(item)
    return { received, closed: session.streamClosed }
  })()
  const handle = new DurableStream({ url: writeUrl, contentType: "application/json" })
  const producer = new IdempotentProducer(handle, "items", {
    maxBatchBytes: 1024,
    fetch: repeatingFetch(repeats),
    onError: (error) => errors.push(String(error)),
  })
  for (const item of items) producer.append(JSON.stringify(item))
  await producer.close()
  const { received, closed } = await reading
  await writeFile(output, JSON.stringify(received))
  return { requests, closed, errors, repeats: repeats.count }
}

const [command, ...parameters] = process.argv.slice(2)
console.log(JSON.stringify(await { read, json }[command](...parameters)))
