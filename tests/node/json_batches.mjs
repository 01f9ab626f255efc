// Follows a JSON stream by the official client as its documentation does; batch by batch.
//
//   node json_batches.mjs URL
//
// One line of JSON on stdout has each batch, and what the first response says of caches.
import { stream } from "@durable-streams/client"

const [url] = process.argv.slice(2)
const batches = []
const response = await stream({
  url,
  offset: "-1",
  live: "long-poll",
})
response.subscribeJson(async (batch) => {
  batches.push({ items: batch.items, cursor: batch.cursor, closed: batch.streamClosed })
})
await response.closed
const [cache, age] = ["x-cache", "age"].map((name) => response.headers.get(name))
console.log(JSON.stringify({ batches, cache, age }))
