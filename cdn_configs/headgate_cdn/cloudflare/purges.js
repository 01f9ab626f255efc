// Purges: the gateway sends tags, and Workers Cache drops all copies with one of them.

import { sha256 } from "./gateway.js"

// It collides with no route, since nobody begins the prefix of one with a dot.
export const PURGES = "/.headgate/purge"
const MOST_TAGS = 100
const LONGEST_BODY = 16 * 1024 // bytes; a hundred tags are a fifth of that
const TAG = /^[!-+\--~]{1,256}$/

/**
 * Answer a purge: a POST of `{"tags": [...]}` with the secret `token`. With `"soft": true`, copies
 * are not dropped but revalidated before they are served again.
 *
 * `cache(tags, soft)` purges, and returns the result of Workers Cache, or null if there is none.
 */
export async function purged(request, token, cache) {
  if (request.method !== "POST") return reply(405, "a purge is a POST")
  if (!(await isFromGateway(request, token))) return reply(401, "the token is not PURGE_TOKEN")
  const wanted = await wantedBy(request)
  if (wanted === null) return reply(400, `a purge names 1 to ${MOST_TAGS} tags`)
  const result = await cache(wanted.tags, wanted.soft === true)
  if (result === null) return reply(501, "there is no Workers Cache here")
  return result.success === true ? reply(200, "", true) : reply(502, "Workers Cache refused it")
}

// The time to compare digests does not depend on where the two secrets begin to differ.
async function isFromGateway(request, token) {
  const [, presented] = (request.headers.get("Authorization") ?? "").match(/^Bearer ([!-~]+)$/i) ?? []
  if (!token || !presented) return false
  return (await sha256(presented)) === (await sha256(token))
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

function reply(status, error, success = false) {
  const errors = error ? [{ message: error }] : []
  return Response.json({ success, errors }, { status, headers: { "Cache-Control": "no-store" } })
}
