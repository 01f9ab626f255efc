/** Why a run or a stream cannot be followed any further; its `status` is the one that was answered. */
export class FollowError extends Error {
  override readonly name = "FollowError"

  constructor(
    message: string,
    /** The HTTP status of the answer, or undefined where none has come. */
    readonly status?: number,
  ) {
    super(message)
  }
}

/** Return whether a request may be answered in another way when it is sent again. */
export function isPassing(status: number): boolean {
  return status >= 500 || status === 408 || status === 425 || status === 429
}

/** Return the address to follow; throw a TypeError that says what a call lacks to be one. */
export function addressOf(caller: string, url: unknown, name: string, callback: unknown): string {
  const example = `${caller}("/orders", { ${name}: console.log })`
  if (typeof callback !== "function") {
    throw new TypeError(`${caller} needs a function as ${name}, such as ${example}`)
  }
  if (!(url instanceof URL || (typeof url === "string" && url !== ""))) {
    throw new TypeError(`${caller} needs a URL, such as ${example}, and not ${JSON.stringify(url)}`)
  }
  return new URL(url, globalThis.location?.href).href
}
