import { Connection } from "./connection.js"
import { FollowError, isPassing, addressOf } from "./errors.js"
import { RETRIES } from "./follow-run.js"
import { Memory } from "./remembered.js"
import type { ServerEvent } from "./server-events.js"
import { SharedFollower } from "./shared-follower.js"
import { callPage, checkedStaleAfter, unlessSilent, type ConnectionState } from "./silence.js"

export interface FollowStreamOptions<Message = unknown> {
  /**
   * Is called with each message, in order, and with the place to read on from after it.
   *
   * A message is a value of a JSON stream, text as it comes of a stream of text, or a `Uint8Array`.
   * Within a batch the place is `OFFSET,COUNT`: so many messages after the offset, or bytes. In the
   * first batch from `-1` only a Headgate with its own log names that offset; before other servers
   * all but the last of its messages have the place `-1`.
   */
  readonly onMessage: (message: Message, offset: string) => void
  /** Is called when the stream is closed, after its last message. Nothing comes after it. */
  readonly onClose?: () => void
  /** Is called when the stream cannot be followed any further; by default it is written to the console. */
  readonly onError?: (error: FollowError) => void
  /** The place to begin at, as of a message: `-1` for the beginning, which is the default, `now` for what is new. */
  readonly from?: string
  /**
   * Whether the place is stored in `sessionStorage`, so that the tab goes on there after a reload.
   * For pages that restore what they have shown.
   */
  readonly remember?: boolean
  /** Whether cookies go to another origin, too. */
  readonly withCredentials?: boolean
  /** So many attempts in a row may bring nothing before `onError` is called: 40, which is about seven minutes. */
  readonly retries?: number
  /** Milliseconds after which another connection is opened if nothing has come, not even a comment: 90,000. */
  readonly staleAfter?: number
  /** Is called with the state of the connection, of whichever tab holds it, and with the reason where it is `lost`. */
  readonly onState?: (state: ConnectionState, reason?: string) => void
  /** Ends the following, as `close` does. */
  readonly signal?: AbortSignal
}

/** A stream that is followed by this page. */
export interface FollowedStream {
  /** The place to read on from, after the last message that was handled. */
  readonly offset: string
  /** Follow no further. */
  close(): void
}

/** What has come together, as it is passed from tab to tab. */
interface Batch {
  /** The offset that it was read from. */
  readonly from: string
  /** The offset at which it begins, where it was read from the beginning and the server names it. */
  readonly start?: string | undefined
  readonly to: string
  readonly data: readonly string[]
  readonly isClosed: boolean
}

type Kind = "json" | "text" | "bytes"

const BEGINNING = "-1"
const NOW = "now"
const PLACE = /^([^,]+)(?:,(\d{1,15}))?$/ // no offset has a comma (PROTOCOL.md section 6)
const FINAL_STATUS: Readonly<Record<number, string>> = {
  401: "the server wants a token",
  403: "the stream may not be read",
  404: "there is no such stream; create it first, or correct the URL",
  410: "the stream, or what was at the offset, is gone",
}
const MOST_SHOWN = 80 // characters of an offset, in an error
const NO_LONGER = "the stream is no longer there: deleted, expired, or lost by its server"

/**
 * Follow a stream until it is closed, through lost connections.
 *
 * All tabs that follow it share one connection where the browser has `BroadcastChannel` and Web
 * Locks, because by HTTP/1.1 it has six for all of its tabs.
 */
export function followStream<Message = unknown>(
  url: string | URL,
  options: FollowStreamOptions<Message>,
): FollowedStream {
  const address = addressOf("followStream", url, "onMessage", options?.onMessage)
  return new Follower(address, options as FollowStreamOptions)
}

class Follower extends SharedFollower<Batch, string> implements FollowedStream {
  offset: string
  #at: string // the offset to which it has come, before its messages are handled
  #passed: number // messages, or bytes, after it that are passed over
  readonly #url: string
  #goal: string | undefined // the offset to which another tab has come
  #readTo = "" // by the present connection
  #handling: Promise<void> = Promise.resolve()
  #kind: Kind | undefined
  #arrived: string[] = [] // data whose offset has not come yet
  #cursor: string | null = null // of the last long-poll, for caches
  readonly #decoder = new TextDecoder() // of long-polls, which may end within a character
  readonly #staleAfter: number
  readonly #memory: Memory | undefined
  protected readonly connection: Connection

  constructor(
    url: string,
    private readonly options: FollowStreamOptions,
  ) {
    super("stream", options)
    this.#url = url
    const { from = BEGINNING, remember = false, withCredentials = false, retries = RETRIES } = options
    this.#staleAfter = checkedStaleAfter(options.staleAfter)
    this.#memory = remember ? new Memory(url) : undefined
    const remembered = this.#memory?.get()
    this.offset = remembered?.cursor ?? from
    const [, at, count = "0"] = PLACE.exec(this.offset) ?? []
    if (at === undefined) throw new TypeError(`"${this.offset}" is not the offset of a message, "-1" or "now"`)
    this.#at = at
    this.#passed = Number(count)
    this.connection = new Connection({
      url: (live) => this.#urlOf(url, live),
      withCredentials,
      retries,
      staleAfter: this.#staleAfter,
      onEvent: (event) => this.#read(event),
      onPolled: (response, body) => this.#polled(response, body),
      onLost: () => (this.#arrived = []),
      onState: (...state) => this.setState(...state),
      onError: (error) => this.fail(error),
      meaning: (status) => this.#meaning(status),
    })
    if (!this.heedsSignal()) return
    if (remembered?.end !== undefined) queueMicrotask(() => this.#end(this.#at))
    else this.begin("headgate-stream", url)
  }

  #urlOf(base: string, live: "sse" | "long-poll"): string {
    const url = new URL(base)
    this.#readTo = this.#at
    url.searchParams.set("offset", this.#at)
    url.searchParams.set("live", live)
    if (live === "long-poll" && this.#cursor !== null) url.searchParams.set("cursor", this.#cursor)
    return url.href
  }

  #read({ type, data }: ServerEvent): void {
    if (type === "data") this.#arrived.push(data)
    if (type === "control") this.#complete(JSON.parse(data) as Control)
  }

  /** Take the answer to a long-poll, as what one control event completes. */
  #polled({ headers }: Response, body: Uint8Array): void {
    const to = headers.get("Stream-Next-Offset")
    if (to === null) throw new FollowError("the answer to a long-poll has no Stream-Next-Offset that this page may read")
    this.#cursor = headers.get("Stream-Cursor")
    if (body.length > 0) {
      this.#kind ??= kindOf(headers.get("Content-Type") ?? "")
      const text = this.#kind === "bytes" ? base64Of(body) : this.#decoder.decode(body, { stream: true })
      if (text !== "") this.#arrived = [text]
    }
    const start = headers.get("Headgate-Start-Offset")
    this.#complete({
      streamNextOffset: to,
      streamClosed: headers.get("Stream-Closed")?.toLowerCase() === "true",
      ...(start !== null && { headgateStartOffset: start }),
    })
  }

  #complete({ streamNextOffset: to, streamClosed: isClosed = false, headgateStartOffset: start }: Control): void {
    this.connection.reset()
    const batch = { from: this.#readTo, start, to, data: this.#arrived, isClosed }
    this.#readTo = to
    this.#arrived = []
    this.#take(batch)
  }

  protected place(): string {
    return this.#at
  }

  protected lacks(): boolean {
    return this.#goal !== undefined && this.#at !== NOW && this.#at < this.#goal
  }

  protected catchUp(offset: string): void {
    if (offset === NOW) return
    if (this.#goal === undefined || offset > this.#goal) this.#goal = offset
    this.adjust()
  }

  protected hear(batch: Batch): void {
    if (batch.from === this.#at || this.#at === NOW) this.#take(batch)
    else this.catchUp(batch.to)
  }

  /** Handle a batch, of this tab or another one, after those before it. */
  #take(batch: Batch): void {
    if (this.isOver || (this.#at !== NOW && batch.to < this.#at)) return
    this.tell(batch)
    this.#at = batch.to
    this.adjust()
    this.#handling = this.#handling.then(() => this.#handle(batch))
  }

  async #handle({ data, from, start = from, to, isClosed }: Batch): Promise<void> {
    if (data.length > 0) this.#kind ??= await this.#askKind()
    if (this.isOver) return
    const messages = this.#decoded(data)
    let count = 0
    for (const [index, message] of messages.entries()) {
      const size = this.#kind === "json" ? 1 : bytesOf(message as string | Uint8Array).length
      const passed = Math.min(this.#passed, size)
      this.#passed -= passed
      count += size
      const isLast = index === messages.length - 1
      const offset = isLast ? to : start === BEGINNING || start === NOW ? start : `${start},${count}`
      if (passed < size) {
        this.#show(passed === 0 ? message : restOf(message as string | Uint8Array, passed), offset)
        this.offset = offset
        if (this.isOver && !isLast) return this.#memory?.set({ cursor: offset }) // the page has closed it
      }
    }
    this.offset = to
    if (isClosed && !this.isOver) this.#end(to)
    else this.#memory?.set({ cursor: to })
  }

  #show(message: unknown, offset: string): void {
    callPage(() => this.options.onMessage(message, offset))
  }

  #decoded(data: readonly string[]): unknown[] {
    if (this.#kind === "json") return data.flatMap((part) => JSON.parse(part) as unknown[])
    if (data.length === 0) return []
    if (this.#kind === "text") return [data.join("")]
    return data.map((part) => Uint8Array.from(atob(part), (character) => character.charCodeAt(0)))
  }

  /** Ask for the type of the stream, which its events do not name, for as long as it takes. */
  async #askKind(): Promise<Kind> {
    const { withCredentials = false } = this.options
    for (let wait = 500; ; wait = Math.min(2 * wait, 15_000)) {
      const asking = fetch(this.#url, {
        method: "HEAD",
        credentials: withCredentials ? "include" : "same-origin",
        cache: "no-store",
      })
      const answer = await unlessSilent(asking, this.#staleAfter).catch(() => undefined)
      if (answer?.ok) return kindOf(answer.headers.get("Content-Type") ?? "")
      if (this.isOver) return "bytes" // nothing is decoded any more
      if (answer && !isPassing(answer.status)) {
        this.fail(new FollowError(this.#meaning(answer.status) ?? `the answer is ${answer.status}`, answer.status))
        return "bytes"
      }
      await new Promise((done) => setTimeout(done, wait))
    }
  }

  #meaning(status: number): string | undefined {
    if (status === 400) return `the offset "${this.#at.slice(0, MOST_SHOWN)}" is not one of this stream`
    const wasThere = this.#at !== BEGINNING && this.#at !== NOW
    return status === 404 && wasThere ? NO_LONGER : FINAL_STATUS[status]
  }

  #end(offset: string): void {
    if (this.isOver) return
    this.#memory?.set({ cursor: offset, end: "closed" })
    this.close()
    this.options.onClose?.()
  }
}

interface Control {
  readonly streamNextOffset: string
  readonly streamClosed?: boolean
  readonly headgateStartOffset?: string
}

function base64Of(bytes: Uint8Array): string {
  let text = ""
  // One call with all of them would have too many arguments.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192))
  return btoa(text)
}

function bytesOf(part: string | Uint8Array): Uint8Array {
  return typeof part === "string" ? new TextEncoder().encode(part) : part
}

/** Return what follows so many bytes of a text, or of bytes. */
function restOf(part: string | Uint8Array, passed: number): string | Uint8Array {
  const rest = bytesOf(part).subarray(passed)
  return typeof part === "string" ? new TextDecoder().decode(rest) : rest
}

function kindOf(contentType: string): Kind {
  const type = contentType.split(";")[0]!.trim().toLowerCase()
  return type === "application/json" ? "json" : type.startsWith("text/") ? "text" : "bytes"
}
