// Prepare a shared response for one reader: compression and Timing-Allow-Origin.

import { modeOf } from "../edge/reads.js"

/** Prepare the response to a shared read; `isPublic` says that everybody may read it. */
export function toReader(request, url, response, isPublic) {
  const { headers } = response
  const isPrivate = !isPublic || /private/i.test(headers.get("Cache-Control") ?? "")
  const site = headers.get("Access-Control-Allow-Origin")
  // Pages of other web sites see Server-Timing only for public streams that CORS lets them read.
  if (!isPrivate && site !== null) headers.set("Timing-Allow-Origin", site)
  // The length of a compressed private response can reveal its content.
  const mayBe = CONFIG.compresses_private || !isPrivate
  if (mayBe && modeOf(request, url) === "catch-up") compress(request, response)
}

// The runtime compresses the body according to Content-Encoding.
function compress({ headers: asked }, { status, headers }) {
  const isLong = Number(headers.get("Content-Length") ?? 0) >= CONFIG.least_compressed
  const isText = new RegExp(CONFIG.compressed, "i").test(headers.get("Content-Type") ?? "")
  if (status !== 200 || !isLong || !isText || headers.has("Content-Encoding")) return
  const vary = headers.get("Vary") ?? ""
  if (!/accept-encoding/i.test(vary)) headers.set("Vary", vary ? `${vary}, Accept-Encoding` : "Accept-Encoding")
  const taken = (asked.get("Accept-Encoding") ?? "").toLowerCase().split(",").map((one) => one.trim())
  const coding = ["br", "gzip"].find((name) => taken.includes(name))
  const tag = headers.get("ETag") ?? ""
  if (tag.startsWith('"')) headers.set("ETag", `W/${tag}`) // one for all codings
  if (coding === undefined) return
  headers.set("Content-Encoding", coding)
  headers.delete("Content-Length")
}
