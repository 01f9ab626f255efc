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

/** Throw a TypeError unless the options of a function have the callback that it cannot do without. */
export function requireCallback(caller: string, name: string, callback: unknown): void {
  if (typeof callback === "function") return
  throw new TypeError(`${caller} needs a function as ${name}, such as ${caller}(url, { ${name}: console.log })`)
}
