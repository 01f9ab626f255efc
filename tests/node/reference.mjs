// The reference server: node reference.mjs PORT [DATA_DIRECTORY]; in memory without a directory.
import { DurableStreamTestServer } from "@durable-streams/server"

const [port, dataDir] = process.argv.slice(2)
const server = new DurableStreamTestServer({
  host: "127.0.0.1",
  port: Number(port),
  longPollTimeout: 60_000,
  dataDir,
})
await server.start()
