// An edge function in the runtime by which Vercel has it run locally, until SIGTERM.
//
//   node edge_engine.mjs FILE PORT [VARIABLES_JSON]
//
// FILE is a module whose default export answers requests, and may import others.
import { createServer } from "node:http"
import { createHandler, EdgeRuntime } from "edge-runtime"
import { rolldown } from "rolldown"

const [file, port, variables = "{}"] = process.argv.slice(2)
// The runtime takes a script. Vercel, too, makes one of a function and what it imports.
const bundle = await rolldown({ input: file })
const { output } = await bundle.generate({ format: "iife", name: "edge", exports: "named" })
const runtime = new EdgeRuntime({
  initialCode: `globalThis.process = { env: ${variables} }
    ${output[0].code}
    addEventListener("fetch", (event) => event.respondWith(edge.default(event.request)))`,
})
createServer(createHandler({ runtime }).handler).listen(Number(port), "127.0.0.1")
