// Far above any item: Headgate takes none of more than a few MB. What has no line ends is no events.
const LONGEST_EVENT = 16 * 1024 * 1024 // characters

/** The data of the server-sent events in the body of an answer; all else in it is of no use here. */
export class DataEvents {
  #rest = "" // of a line
  #data: string[] = [] // of an event
  #length = 0 // of these
  #endedWithReturn = false
  #complete: string[] = []
  readonly #decoder = new TextDecoder()
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined

  constructor(body: ReadableStream<Uint8Array> | null) {
    this.#reader = body?.getReader()
  }

  /** Return the data of the next event; undefined where the body ends, or is cut. */
  async next(): Promise<string | undefined> {
    while (this.#complete.length === 0) {
      const piece = await this.#reader?.read().catch(() => undefined)
      if (piece?.value === undefined) return undefined
      this.#take(this.#decoder.decode(piece.value, { stream: true }))
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
    if (line.startsWith("data:")) {
      const data = line.slice(line[5] === " " ? 6 : 5)
      this.#data.push(data)
      this.#length += data.length
    } else if (line === "") {
      if (this.#data.length > 0) this.#complete.push(this.#data.join("\n"))
      this.#data = []
      this.#length = 0
    }
  }
}
