// A Cloudflare Worker in workerd, as `wrangler dev` runs it, until SIGTERM.
//
//   node worker_engine.mjs FILE PORT
//
// FILE is a module, and may import others.
import { Miniflare } from "miniflare"
import { bundled } from "./bundled.mjs"

const [file, port] = process.argv.slice(2)
const variables = process.env.FUNCTION_VARIABLES ?? "{}" // as JSON, for the function
const flags = process.env.WORKER_FLAGS ?? "[]" // as JSON, beside the compatibility date
const script = await bundled(file, { format: "esm" })
const hasObjects = script.includes("extends DurableObject")
const worker = new Miniflare({
  modules: true,
  script,
  compatibilityDate: "2026-07-01", // as in wrangler.jsonc
  compatibilityFlags: JSON.parse(flags),
  bindings: JSON.parse(variables),
  durableObjects: hasObjects ? { ONE_READ: { className: "OneRead", useSQLite: true } } : {},
  // Its own socket: by the usual one, each request goes through a Worker of miniflare's first.
  unsafeDirectSockets: [{ host: "127.0.0.1", port: Number(port) }],
  cf: false, // or it asks Cloudflare where we are
})
process.on("SIGTERM", () => worker.dispose().then(() => process.exit()))
await worker.ready
