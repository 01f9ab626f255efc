import { Backoff, paused } from "./backoff.js"
import { FollowError, isPassing } from "./errors.js"
import { ServerEvents, type ServerEvent } from "./server-events.js"
import { callPage, Lost, nextPiece, Patience, unlessSilent, type ConnectionState } from "./silence.js"

export interface ConnectionOptions {
  /** Return the URL to read on at. */
  readonly url: (live: "sse" | "long-poll") => string
  readonly withCredentials: boolean
  /** So many attempts in a row may bring nothing. */
  readonly retries: number
  /** So many milliseconds after the last sign of the server the connection counts as lost. */
  readonly staleAfter: number
  readonly onEvent: (event: ServerEvent) => void
  /** Is called with the answer to a long-poll, and its body. Without it there are no long-polls. */
  readonly onPolled?: (response: Response, body: Uint8Array) => void
  /** Is called when a connection is lost: what it had brought in part comes again. */
  readonly onLost?: () => void
  readonly onState: (state: ConnectionState, reason?: string) => void
  readonly onError: (error: FollowError) => void
  /** Return what a status means that ends the following. */
  readonly meaning: (status: number) => string | undefined
}

const EVENTS = "text/event-stream"
const PROBLEM = "application/problem+json" // RFC 9457
const GONE = 410 // its detail says where the stream goes on
const MOST_DETAIL = 16 * 1024 // bytes of a problem; Headgate's have a few hundred
const MOST_POLLED = 64 * 1024 * 1024 // bytes; a Headgate answers with a few MB at most
const STEADY_MS = 10_000 // a connection of this age was no failure, also if it was silent
const HIDDEN_MS = 30_000 // a page that was hidden for longer may have lost it without an error
// A path that holds the events until the answer ends brings its head with its end. After longer than
// a busy server takes to begin an answer, and so often in a row, that is no chance.
const HELD_MS = 10_000
const MOST_HELD = 2
const SHORT_MS = 1000 // from the head of such an answer to its end; what a Headgate holds open lasts longer

/** Events after a place, by one connection after the other. */
export class Connection {
  #reading: AbortController | undefined
  #isWaiting = false // for the next attempt
  #hasOpened = false // at least once
  #openedAt = 0
  #held = 0 // answers in a row
  #hiddenAt = 0
  readonly #backoff: Backoff
  readonly #patience: Patience

  constructor(private readonly options: ConnectionOptions) {
    this.#backoff = new Backoff(options.retries)
    this.#patience = new Patience(options.staleAfter)
  }

  get isOpen(): boolean {
    return this.#reading !== undefined
  }

  /** Read on, unless this is done already. */
  open(): void {
    if (this.isOpen) return
    globalThis.document?.addEventListener("visibilitychange", this.#onVisibility)
    void this.#read()
  }

  /** Read no further. */
  close(): void {
    globalThis.document?.removeEventListener("visibilitychange", this.#onVisibility)
    this.#leave()
  }

  /** Count no attempt: something has come. */
  reset(): void {
    this.#backoff.reset()
  }

  /** Read no further, and say why. */
  fail(error: FollowError): void {
    this.close()
    this.options.onError(error)
  }

  #leave(): void {
    this.#reading?.abort()
    this.#reading = undefined
  }

  /** Read on at once when the page is shown again: timers of hidden pages wait for long. */
  readonly #onVisibility = (): void => {
    if (document.hidden) {
      this.#hiddenAt = performance.now()
    } else if (this.#isWaiting || performance.now() - this.#hiddenAt >= HIDDEN_MS) {
      this.#leave()
      this.options.onLost?.()
      void this.#read()
    }
  }

  async #read(): Promise<void> {
    const { signal } = (this.#reading = new AbortController())
    await undefined // the page is told nothing within its own call
    while (!signal.aborted) {
      this.#isWaiting = false
      this.#openedAt = 0
      this.options.onState("connecting")
      if (signal.aborted) return
      const lost = await this.#readOnce(signal).catch((error: Error) => error)
      if (signal.aborted) return
      this.options.onLost?.()
      if (lost !== undefined && !(lost instanceof Lost)) {
        return this.fail(lost instanceof FollowError ? lost : new FollowError(lost.message))
      }
      if (lost?.isSilence) this.#patience.shorten()
      if (lost !== undefined) this.options.onState("lost", lost.message)
      if (this.#openedAt !== 0 && performance.now() - this.#openedAt >= STEADY_MS) this.#backoff.reset()
      if (!this.#backoff.fail()) {
        const why = lost?.message ?? "the answer ends each time"
        const failure = `${this.options.retries + 1} attempts have brought nothing: ${why}`
        return this.fail(new FollowError(failure, lost?.status))
      }
      this.#isWaiting = true
      await paused(this.#backoff.nextMs(), signal)
    }
  }

  /** Read by one connection until its server ends it; throw `Lost` where something else does. */
  async #readOnce(left: AbortSignal): Promise<undefined> {
    const attempt = new AbortController()
    left.addEventListener("abort", () => attempt.abort(), { signal: attempt.signal })
    try {
      if (this.options.onPolled === undefined || this.#held < MOST_HELD) await this.#readEvents(attempt.signal)
      else while (await this.#poll(attempt.signal, this.options.onPolled));
    } finally {
      attempt.abort()
    }
  }

  async #readEvents(signal: AbortSignal): Promise<void> {
    const began = performance.now()
    const { body } = await this.#answer("sse", signal)
    const opened = performance.now()
    // An answer that only says to come back later ends at once.
    const timer = setTimeout(() => this.#live(signal), SHORT_MS)
    try {
      const events = new ServerEvents(body, this.options.staleAfter)
      for (let event; (event = await events.next()) !== undefined && !signal.aborted; ) {
        this.#live(signal)
        const arrived = event
        callPage(() => this.options.onEvent(arrived))
      }
      const isHeld = opened - began > HELD_MS && performance.now() - opened < SHORT_MS
      this.#held = isHeld ? this.#held + 1 : 0
      if (this.#openedAt === 0) throw new Lost("the answer has ended without an event")
    } finally {
      clearTimeout(timer)
    }
  }

  /** Return whether to poll again at once, which is so unless the answer has come early with nothing. */
  async #poll(signal: AbortSignal, onPolled: NonNullable<ConnectionOptions["onPolled"]>): Promise<boolean> {
    const began = performance.now()
    const response = await this.#answer("long-poll", signal)
    const body = await wholeOf(response.body, MOST_POLLED, this.options.staleAfter)
    if (signal.aborted) return false
    this.#live(signal)
    onPolled(response, body)
    return body.length > 0 || performance.now() - began >= SHORT_MS
  }

  #live(signal: AbortSignal): void {
    if (this.#openedAt !== 0 || signal.aborted) return
    this.#openedAt = performance.now()
    this.options.onState("live")
  }

  /** Return an answer to read on by; throw `Lost` for one that may change, and `FollowError` for any other. */
  async #answer(live: "sse" | "long-poll", signal: AbortSignal): Promise<Response> {
    const { withCredentials, meaning, staleAfter } = this.options
    const url = new URL(this.options.url(live))
    const place = url.origin + url.pathname // without what may be secret in the query
    const asking = fetch(url, {
      ...(live === "sse" && { headers: { Accept: EVENTS } }),
      credentials: withCredentials ? "include" : "same-origin",
      cache: "no-store",
      signal,
    }).catch(() => {
      throw new Lost(`no answer that this page may read comes from ${place}`)
    })
    const response = await unlessSilent(asking, this.#patience.ms)
    this.#patience.reset()
    const { status, headers, body } = response
    const type = (headers.get("Content-Type") ?? "").split(";")[0]!.trim().toLowerCase()
    if (live === "sse" ? status === 200 && type === EVENTS : status === 200 || status === 204) {
      this.#hasOpened = true
      return response
    }
    if (isPassing(status)) throw new Lost(`${place} answers ${status}`, false, status)
    if (status === 200) {
      const why = `the answer is ${type || "of no type"} instead of events`
      if (this.#hasOpened) throw new Lost(`${why}: ${place}`, false, status)
      throw new FollowError(`${why}, so the URL may be wrong: ${place}`, status)
    }
    const detail = status === GONE && type === PROBLEM ? await detailOf(body, staleAfter) : ""
    const why = `${meaning(status) ?? `the answer is ${status}`}${detail && `: ${detail}`}`
    throw new FollowError(`${why}: ${place}`, status)
  }
}

/** Return a whole body; throw a RangeError for one of more than `most` bytes. */
async function wholeOf(
  body: ReadableStream<Uint8Array> | null,
  most: number,
  staleAfter: number,
): Promise<Uint8Array> {
  const reader = body?.getReader()
  const pieces: Uint8Array[] = []
  let size = 0
  while (reader !== undefined) {
    const piece = await nextPiece(reader, staleAfter)
    if (piece === undefined) break
    size += piece.length
    if (size > most) throw new RangeError(`the answer has more than ${most} bytes`)
    pieces.push(piece)
  }
  const whole = new Uint8Array(size)
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}

/** Return the sentence in a problem's body; nothing of one that is too long or not a problem. */
async function detailOf(body: ReadableStream<Uint8Array> | null, staleAfter: number): Promise<string> {
  try {
    const text = new TextDecoder().decode(await wholeOf(body, MOST_DETAIL, staleAfter))
    return String((JSON.parse(text) as { detail?: string }).detail ?? "")
  } catch {
    return ""
  }
}
