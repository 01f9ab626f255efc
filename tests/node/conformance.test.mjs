// The official conformance suite against the server root in CONFORMANCE_URL.
import { runConformanceTests } from "@durable-streams/server-conformance-tests"

const baseUrl = process.env.CONFORMANCE_URL
if (!baseUrl) throw new Error("CONFORMANCE_URL is not set")

runConformanceTests({ baseUrl, longPollTimeoutMs: 20_000, subscriptions: false })
