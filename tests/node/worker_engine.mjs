// A Cloudflare Worker in workerd, as `wrangler dev` runs it, until SIGTERM.
//
//   node worker_engine.mjs FILE PORT [VARIABLES_JSON]
//
// FILE is a module, and may import others.
import { Miniflare } from "miniflare"
import { bundled } from "./bundled.mjs"

const [file, port, variables = "{}"] = process.argv.slice(2)
const script = await bundled(file, { format: "esm" })
const hasObjects = script.includes("class OneRead extends DurableObject")
const worker = new Miniflare({
  modules: true,
  script,
  compatibilityDate: "2026-07-01", // as in wrangler.jsonc
  bindings: JSON.parse(variables),
  durableObjects: hasObjects ? { ONE_READ: { className: "OneRead", useSQLite: true } } : {},
  host: "127.0.0.1",
  port: Number(port),
  cf: false, // or it asks Cloudflare where we are
})
process.on("SIGTERM", () => worker.dispose().then(() => process.exit()))
await worker.ready
