// An edge function in the runtime by which Vercel has it run locally, until SIGTERM.
//
//   node edge_engine.mjs FILE PORT
//
// FILE is a module whose default export answers requests, and may import others.
import { createServer } from "node:http"
import { createHandler, EdgeRuntime } from "edge-runtime"
import { bundled } from "./bundled.mjs"

const [file, port] = process.argv.slice(2)
const variables = process.env.FUNCTION_VARIABLES ?? "{}" // as JSON, for the function
const script = await bundled(file, { format: "iife", name: "edge", exports: "named" })
const runtime = new EdgeRuntime({
  initialCode: `globalThis.process = { env: ${variables} }
    ${script}
    addEventListener("fetch", (event) => event.respondWith(edge.default(event.request)))`,
})
const { handler } = createHandler({ runtime })
// A body that fails has ended the answer already; only its promise tells of it, to nobody.
const server = createServer((request, answer) => handler(request, answer).catch(() => {}))
server.listen(Number(port), "127.0.0.1")
