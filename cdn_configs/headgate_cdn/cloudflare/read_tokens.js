// Verify read tokens (JWT, signed by Ed25519). A reader with a valid one may get shared copies.
//
// A request with any other token goes to the gateway, which says what is wrong with it.

const PREFIX = "token=" // in the query: an EventSource cannot set headers
const COOKIE = /(?:^|;)\s*__Secure-headgate="?([A-Za-z0-9._~+/=-]+)"?\s*(?=;|$)/g
const IN_QUERY = /^[A-Za-z0-9._~+/-]+=*$/ // the characters of Authorization, without escapes
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*) *$/i
const TYPE = "hg-read+jwt"
const LONGEST_TOKEN = 8 * 1024
const BELOW = "/*"

/** Return the tokens in a query, as they are spelled there. */
export function tokensIn(url) {
  const pairs = url.search.slice(1).split("&")
  return pairs.filter((one) => one.startsWith(PREFIX)).map((one) => one.slice(PREFIX.length))
}

/** Whether a query has several tokens, or an escaped one: the gateway has to decide then. */
export function hasUnusualToken(url) {
  const tokens = tokensIn(url)
  const isPlain = url.searchParams.getAll("token").length === tokens.length // no name is escaped, as %74oken
  return !isPlain || tokens.length > 1 || !tokens.every((token) => IN_QUERY.test(token))
}

/** Return the token of a read: from Authorization, else from its query, else from its cookie. */
export function tokenOf(request, url) {
  const tokens = tokensIn(url)
  const given = request.headers.get("Authorization")
  if (given !== null) return given.match(BEARER)?.[1] ?? null
  if (tokens.length) return tokens[0]
  const cookies = [...(request.headers.get("Cookie") ?? "").matchAll(COOKIE)]
  return cookies.length === 1 ? cookies[0][1] : null
}

/** Whether a token permits to read the stream at this path now. */
export async function mayRead(token, path, { read_keys, usual_path, own_paths, token_age_s }) {
  if (token === null || token.length > LONGEST_TOKEN) return false
  // A path in an unusual spelling may be that of another stream, or of another route.
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

const importing = new Map() // from key id to CryptoKey; as many as the file has

function imported({ kid, x }) {
  if (!importing.has(kid)) {
    const jwk = { kty: "OKP", crv: "Ed25519", x }
    importing.set(kid, crypto.subtle.importKey("jwk", jwk, "Ed25519", false, ["verify"]))
  }
  return importing.get(kid)
}
