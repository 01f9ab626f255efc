// The reference server, counting what it is asked by kind, for tests of what stands in front of it.
//
//   node counting_origin.mjs PORT COUNTS_PORT LONG_POLL_MS [DATA_DIRECTORY]
//
// Any request on COUNTS_PORT is answered with the counts as JSON.
import { createServer } from "node:http"
import { DurableStreamTestServer } from "@durable-streams/server"

const [port, countsPort, longPollTimeout, dataDir] = process.argv.slice(2)
const counts = {}

function kind({ method, url }) {
  if (method === "GET") return new URL(url, "http://origin").searchParams.get("live") ?? "catch-up"
  return method === "HEAD" ? "head" : "write"
}

const reference = new DurableStreamTestServer({
  host: "127.0.0.1",
  port: Number(port),
  longPollTimeout: Number(longPollTimeout),
  dataDir,
})
await reference.start()
reference.server.on("request", (request) => {
  const counted = kind(request)
  counts[counted] = (counts[counted] ?? 0) + 1
})
createServer((_, answer) => answer.end(JSON.stringify(counts))).listen(Number(countsPort), "127.0.0.1")
