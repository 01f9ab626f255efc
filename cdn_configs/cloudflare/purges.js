// Purges: the gateway names tags, and Workers Cache drops, or marks as stale, what it has by them.

import { sha256 } from "./gateway.js"

// Below no route: what begins with a dot is no name that people give a prefix.
export const PURGES = "/.headgate/purge"
const MOST_TAGS = 100
const LONGEST_BODY = 16 * 1024 // bytes; a hundred tags are a fifth of that
const TAG = /^[!-+\--~]{1,256}$/

/**
 * Answer `{"tags": [...]}`, sent with the secret `token`; with `"soft": true` copies are not dropped,
 * but confirmed before they are given out again.
 *
 * `cache(tags, soft)` does it, and gives what Workers Cache says of it, or null where there is none.
 */
export async function purged(request, token, cache) {
  if (request.method !== "POST") return said(405, "a purge is a POST")
  if (!(await isFromGateway(request, token))) return said(401, "the token is not PURGE_TOKEN")
  const wanted = await wantedBy(request)
  if (wanted === null) return said(400, `a purge names 1 to ${MOST_TAGS} tags`)
  const result = await cache(wanted.tags, wanted.soft === true)
  if (result === null) return said(501, "there is no Workers Cache here")
  return result.success === true ? said(200, "", true) : said(502, "Workers Cache refused it")
}

// Digests are of one length, and tell nothing of where two texts begin to differ.
async function isFromGateway(request, token) {
  const [, given] = (request.headers.get("Authorization") ?? "").match(/^Bearer ([!-~]+)$/i) ?? []
  if (!token || !given) return false
  return (await sha256(given)) === (await sha256(token))
}

async function wantedBy(request) {
  if (!(Number(request.headers.get("Content-Length") ?? NaN) <= LONGEST_BODY)) return null
  try {
    const wanted = await request.json()
    const { tags } = wanted
    const isFine = Array.isArray(tags) && tags.length > 0 && tags.length <= MOST_TAGS
    return isFine && tags.every((tag) => typeof tag === "string" && TAG.test(tag)) ? wanted : null
  } catch {
    return null
  }
}

function said(status, error, success = false) {
  const errors = error ? [{ message: error }] : []
  return Response.json({ success, errors }, { status, headers: { "Cache-Control": "no-store" } })
}
