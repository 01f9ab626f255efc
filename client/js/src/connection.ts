import { Backoff } from "./backoff.js"
import { FollowError, isPassing } from "./errors.js"

export interface ConnectionOptions {
  /** Return the URL to read on at. */
  readonly url: () => string
  readonly withCredentials: boolean
  /** So many attempts in a row may bring nothing. */
  readonly retries: number
  /** The kinds of event that are read. */
  readonly kinds: readonly string[]
  readonly onEvent: (event: MessageEvent<string>) => void
  /** Is called when a connection is lost: what it had brought in part comes again. */
  readonly onLost?: () => void
  readonly onError: (error: FollowError) => void
  /** Return what a status means that ends the following. */
  readonly meaning: (status: number) => string | undefined
}

const EVENTS = "text/event-stream"
const PROBLEM = "application/problem+json" // RFC 9457
const GONE = 410 // its detail says where the stream goes on
const MOST_DETAIL = 16 * 1024 // bytes of a problem; Headgate's have a few hundred
const STEADY_MS = 10_000 // a connection of this age was no failure, also if it was silent
const STALE_MS = 30_000 // a page that was hidden for longer may have lost it without an error

/** Events after a place, by one `EventSource` after the other. */
export class Connection {
  #source: EventSource | undefined
  #openedAt = 0
  #hasOpened = false // at least once
  #hiddenAt = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #probe: AbortController | undefined
  readonly #backoff: Backoff

  constructor(private readonly options: ConnectionOptions) {
    this.#backoff = new Backoff(options.retries)
  }

  get isOpen(): boolean {
    return (this.#source ?? this.#timer ?? this.#probe) !== undefined
  }

  /** Read on, unless this is done already. */
  open(): void {
    if (this.isOpen) return
    globalThis.document?.addEventListener("visibilitychange", this.#onVisibility)
    this.#connect()
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

  #leave(): void {
    this.#source?.close()
    clearTimeout(this.#timer)
    this.#probe?.abort()
    this.#source = this.#timer = this.#probe = undefined
  }

  /** Read on at once when the page is shown again: timers of hidden pages wait for long. */
  readonly #onVisibility = (): void => {
    if (document.hidden) {
      this.#hiddenAt = performance.now()
    } else if (this.#timer !== undefined || performance.now() - this.#hiddenAt >= STALE_MS) {
      this.#leave()
      this.options.onLost?.()
      this.#connect()
    }
  }

  #connect(): void {
    const { url, withCredentials, kinds, onEvent, onLost } = this.options
    const source = new EventSource(url(), { withCredentials })
    this.#source = source
    this.#openedAt = 0
    source.onopen = () => {
      this.#openedAt = performance.now()
      this.#hasOpened = true
    }
    for (const kind of kinds) source.addEventListener(kind, onEvent)
    source.onerror = () => {
      // The browser itself would connect for ever, and tells no status: so it may do it only once.
      const isRefused = source.readyState === EventSource.CLOSED || !this.#hasOpened
      this.#leave()
      onLost?.()
      if (this.#openedAt !== 0 && performance.now() - this.#openedAt >= STEADY_MS) this.#backoff.reset()
      this.#retry(isRefused)
    }
  }

  #retry(isRefused: boolean, why = "the connection is lost each time", status?: number): void {
    if (!this.#backoff.fail()) {
      const failure = `${this.options.retries + 1} attempts have brought nothing: ${why}`
      return this.fail(new FollowError(failure, status))
    }
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (isRefused) void this.#ask()
      else this.#connect()
    }, this.#backoff.nextMs())
  }

  /** Ask which answer it is that an `EventSource` gets. */
  async #ask(): Promise<void> {
    const probe = (this.#probe = new AbortController())
    const { withCredentials, meaning } = this.options
    const url = new URL(this.options.url())
    const answer = await answerOf(url, withCredentials, probe.signal)
    if (this.#probe !== probe) return // it was closed meanwhile
    this.#probe = undefined
    const place = url.origin + url.pathname // without what may be secret in the query
    if (answer === undefined) return this.#retry(true, `no answer that this page may read comes from ${place}`)
    const { status, type, detail } = answer
    if (isPassing(status)) return this.#retry(true, `${place} answers ${status}`, status)
    if (status === 200 && (type === EVENTS || this.#hasOpened)) return this.#connect()
    const why =
      status === 200
        ? `the answer is ${type || "of no type"} instead of events, so the URL may be wrong`
        : `${meaning(status) ?? `the answer is ${status}`}${status === GONE && detail ? `: ${detail}` : ""}`
    this.fail(new FollowError(`${why}: ${place}`, status))
  }

  /** Read no further, and say why. */
  fail(error: FollowError): void {
    this.close()
    this.options.onError(error)
  }
}

async function answerOf(
  url: URL,
  withCredentials: boolean,
  signal: AbortSignal,
): Promise<{ status: number; type: string; detail: string } | undefined> {
  try {
    const { body, status, headers } = await fetch(url, {
      headers: { Accept: EVENTS },
      credentials: withCredentials ? "include" : "same-origin",
      cache: "no-store",
      signal,
    })
    const type = (headers.get("Content-Type") ?? "").split(";")[0]!.trim().toLowerCase()
    const detail = status === GONE && type === PROBLEM ? await detailOf(body) : ""
    await body?.cancel()
    return { status, type, detail }
  } catch {
    return undefined
  }
}

/** Return the sentence in a problem's body; nothing of one that is too long or not a problem. */
async function detailOf(body: ReadableStream<Uint8Array> | null): Promise<string> {
  const reader = body?.getReader()
  const decoder = new TextDecoder()
  let text = ""
  try {
    for (let size = 0; ; ) {
      const piece = await reader?.read()
      if (piece?.value === undefined) return String((JSON.parse(text) as { detail?: string }).detail ?? "")
      size += piece.value.length
      if (size > MOST_DETAIL) return ""
      text += decoder.decode(piece.value, { stream: true })
    }
  } catch {
    return ""
  } finally {
    reader?.releaseLock()
  }
}
