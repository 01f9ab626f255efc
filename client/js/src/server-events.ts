import { nextPiece } from "./silence.js"

/** An event of an event stream. */
export interface ServerEvent {
  readonly type: string
  readonly data: string
  /** The last id that the stream has had. */
  readonly id: string
}

// Far above any item: Headgate takes none of more than a few MB. What has no line ends is no events.
const LONGEST_EVENT = 16 * 1024 * 1024 // characters

/** The server-sent events in the body of an answer. */
export class ServerEvents {
  #rest = "" // of a line
  #data: string[] = [] // of an event
  #length = 0 // of these
  #type = ""
  #id = ""
  #endedWithReturn = false
  #complete: ServerEvent[] = []
  readonly #decoder = new TextDecoder()
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined

  constructor(
    body: ReadableStream<Uint8Array> | null,
    /** Milliseconds in which something comes, if only a comment. */
    private readonly staleAfter: number,
  ) {
    this.#reader = body?.getReader()
  }

  /** Return the next event; undefined where the body ends. Throw `Lost` where it is cut, or falls silent. */
  async next(): Promise<ServerEvent | undefined> {
    while (this.#complete.length === 0) {
      const piece = this.#reader && (await nextPiece(this.#reader, this.staleAfter))
      if (piece === undefined) return undefined
      this.#take(this.#decoder.decode(piece, { stream: true }))
    }
    return this.#complete.shift()
  }

  /** Read no further. */
  cancel(): void {
    this.#reader?.cancel().catch(() => undefined) // it may have failed already
  }

  #take(text: string): void {
    if (this.#endedWithReturn && text.startsWith("\n")) text = text.slice(1)
    if (text !== "") this.#endedWithReturn = text.endsWith("\r")
    const lines = (this.#rest + text).split(/\r\n|\n|\r/)
    this.#rest = lines.pop()!
    for (const line of lines) this.#line(line)
    if (this.#rest.length + this.#length > LONGEST_EVENT) {
      throw new RangeError(`the answer has an event of more than ${LONGEST_EVENT} characters`)
    }
  }

  #line(line: string): void {
    if (line === "") return this.#dispatch()
    const [, name, value = ""] = /^([^:]*)(?::[ ]?([^]*))?$/.exec(line)!
    if (name === "data") {
      this.#data.push(value)
      this.#length += value.length
    } else if (name === "event") {
      this.#type = value
    } else if (name === "id" && !value.includes("\0")) {
      this.#id = value
    }
  }

  #dispatch(): void {
    if (this.#data.length > 0) {
      this.#complete.push({ type: this.#type || "message", data: this.#data.join("\n"), id: this.#id })
    }
    this.#data = []
    this.#length = 0
    this.#type = ""
  }
}
