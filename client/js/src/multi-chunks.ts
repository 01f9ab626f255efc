const LENGTH_BYTES = 4 // of a chunk's length, the most significant byte first

/**
 * Return several chunks as the body of one append, a multi-append.
 *
 * Send it by POST with `X-Stream-Multi: true`, to a server that has sent this field in its response
 * to a HEAD: any other stores the lengths as data. A Headgate takes at most 4,096 chunks in a request.
 *
 * ```js
 * const body = encodeMultiChunks(["Once ", "upon ", new Uint8Array([97])])
 * ```
 *
 * @param chunks The chunks in their order; a string becomes UTF-8. Without any, the body is empty.
 * @throws TypeError A chunk is neither, is empty, or has half of a surrogate pair.
 */
export function encodeMultiChunks(chunks: Iterable<string | Uint8Array>): Uint8Array<ArrayBuffer> {
  if (typeof chunks === "string" || chunks instanceof Uint8Array) {
    throw new TypeError("encodeMultiChunks takes several chunks, such as an array, and not one")
  }
  // `Array.from` would make no chunks of such a value, and so an empty body.
  if (!(Symbol.iterator in Object(chunks))) {
    const words = chunks instanceof Promise ? "and no promise: await it" : `and not ${String(chunks)}`
    throw new TypeError(`encodeMultiChunks takes several chunks, such as an array, ${words}`)
  }
  const parts = Array.from(chunks, (chunk, index) => bytesOf(chunk, index + 1))
  const body = new Uint8Array(parts.reduce((size, part) => size + LENGTH_BYTES + part.length, 0))
  const view = new DataView(body.buffer)
  let at = 0
  for (const part of parts) {
    view.setUint32(at, part.length)
    body.set(part, at + LENGTH_BYTES)
    at += LENGTH_BYTES + part.length
  }
  return body
}

function bytesOf(chunk: unknown, number: number): Uint8Array {
  if (typeof chunk !== "string" && !(chunk instanceof Uint8Array)) {
    throw new TypeError(`chunk ${number} is neither a string nor a Uint8Array`)
  }
  if (!chunk.length) {
    throw new TypeError(`chunk ${number} is empty: each has at least a byte`)
  }
  if (typeof chunk !== "string") {
    return chunk
  }
  // TextEncoder would put a replacement character there.
  if (/\p{Surrogate}/u.test(chunk)) {
    throw new TypeError(`chunk ${number} is no text: it has half of a surrogate pair`)
  }
  return new TextEncoder().encode(chunk)
}
