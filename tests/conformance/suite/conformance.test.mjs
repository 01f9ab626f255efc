// The official conformance suite against the server root in CONFORMANCE_URL. No property is tried
// with more examples than CONFORMANCE_EXAMPLES, if that is set.
import { registerHooks } from "node:module"

const baseUrl = process.env.CONFORMANCE_URL
if (!baseUrl) throw new Error("CONFORMANCE_URL is not set")

const few = new URL("few_examples.mjs", import.meta.url).href
registerHooks({
  resolve: (name, from, next) =>
    name === "fast-check" && from.parentURL !== few
      ? { url: few, shortCircuit: true }
      : next(name, from),
})
const { runConformanceTests } = await import("@durable-streams/server-conformance-tests")

const subscriptions = process.env.CONFORMANCE_SUBSCRIPTIONS === "yes"
runConformanceTests({ baseUrl, longPollTimeoutMs: 20_000, subscriptions })
