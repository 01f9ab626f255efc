// Read tokens (JWT by Ed25519), verified here: whoever has one may have the copies of all.
//
// Whatever is not as expected is no admission. Its request goes to the gateway, which says why.

const PREFIX = "token=" // in the query, for EventSource, which can set no header
const COOKIE = /(?:^|;)\s*__Secure-headgate="?([A-Za-z0-9._~+/=-]+)"?\s*(?=;|$)/g
const IN_QUERY = /^[A-Za-z0-9._~+/-]+=*$/ // as Authorization can have it, and nothing decoded
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*) *$/i
const TYPE = "hg-read+jwt"
const LONGEST_TOKEN = 8 * 1024
const BELOW = "/*"

/** The tokens in a query as they are spelled there, as the gateway takes them. */
export function tokensIn(url) {
  const pairs = url.search.slice(1).split("&")
  return pairs.filter((one) => one.startsWith(PREFIX)).map((one) => one.slice(PREFIX.length))
}

/** Whether the tokens in a query say nothing plain: what becomes of them is the gateway's to say. */
export function isOddlyAsked(url) {
  const asked = tokensIn(url)
  const isPlain = url.searchParams.getAll("token").length === asked.length // none is %74oken
  return !isPlain || asked.length > 1 || !asked.every((token) => IN_QUERY.test(token))
}

/** The token that a read presents: of Authorization, else of its query, else of its cookie. */
export function tokenOf(request, url) {
  const asked = tokensIn(url)
  const given = request.headers.get("Authorization")
  if (given !== null) return given.match(BEARER)?.[1] ?? null
  if (asked.length) return asked[0]
  const cookies = [...(request.headers.get("Cookie") ?? "").matchAll(COOKIE)]
  return cookies.length === 1 ? cookies[0][1] : null
}

/** Whether a token lets its bearer read the stream at this path now. */
export async function mayRead(token, path, { read_keys, usual_path, own_paths, token_age_s }) {
  if (token === null || token.length > LONGEST_TOKEN) return false
  // In another spelling than the gateway's own it may be of another stream, or of another route.
  if (!new RegExp(`${usual_path}$`).test(path) || !new RegExp(own_paths).test(path)) return false
  const parts = token.split(".")
  const [header, claims] = parts.map(decoded)
  if (parts.length !== 3 || !header || !claims) return false
  if (header.alg !== "EdDSA" || header.typ !== TYPE || "crit" in header) return false
  if (!permits(claims, path, token_age_s)) return false
  const key = read_keys.find(({ kid }) => kid === header.kid)
  const signature = bytesOf(parts[2])
  if (!key || signature?.length !== 64) return false
  const signed = new TextEncoder().encode(`${parts[0]}.${parts[1]}`)
  return crypto.subtle.verify("Ed25519", await imported(key), signature, signed)
}

function permits({ ver, ops = ["read"], streams, iat, exp }, path, token_age_s) {
  const now = Date.now() / 1000
  if (ver !== 1 || !Array.isArray(ops) || !ops.includes("read")) return false
  if (typeof iat !== "number" || typeof exp !== "number" || typeof streams !== "string") return false
  if (!(now < exp) || exp - iat > token_age_s) return false
  if (!streams.endsWith(BELOW)) return path === streams
  const above = streams.slice(0, -1)
  return path.startsWith(above) && path.length > above.length
}

function decoded(part) {
  try {
    const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytesOf(part)))
    return typeof value === "object" ? value : null
  } catch {
    return null
  }
}

function bytesOf(part) {
  if (!/^[A-Za-z0-9_-]+$/.test(part)) return null
  try {
    const text = atob(part.replaceAll("-", "+").replaceAll("_", "/"))
    return Uint8Array.from(text, (character) => character.charCodeAt(0))
  } catch {
    return null
  }
}

const importing = new Map() // key id to CryptoKey: as many as the file has

function imported({ kid, x }) {
  if (!importing.has(kid)) {
    const jwk = { kty: "OKP", crv: "Ed25519", x }
    importing.set(kid, crypto.subtle.importKey("jwk", jwk, "Ed25519", false, ["verify"]))
  }
  return importing.get(kid)
}
