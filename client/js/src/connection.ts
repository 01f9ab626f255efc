import { Backoff } from "./backoff.js"
import { isPassing, RunError } from "./errors.js"

/** An event of a run, as it is passed from tab to tab. */
export interface RunEvent {
  /** The number of the item, from 1 on; the end has one, too. */
  readonly number: number
  /** The whole id of the event, from which the run is read on. */
  readonly cursor: string
  readonly data: string
  readonly isEnd: boolean
}

export interface ConnectionHooks {
  readonly onEvent: (event: RunEvent) => void
  readonly onError: (error: RunError) => void
  /** Return the cursor behind which to read. */
  readonly cursor: () => string | undefined
}

export interface ConnectionOptions {
  readonly url: string
  readonly withCredentials: boolean
  /** So many attempts in a row may bring nothing. */
  readonly retries: number
}

const STEADY_MS = 10_000 // a connection of this age was no failure, also if the run was silent
const FINAL_STATUS: Readonly<Record<number, string>> = {
  204: "there is no such run, or nothing of it is left to be read",
  401: "the application does not know who asks",
  403: "the run may not be read",
  404: "there is no such address",
}

/** The events of a run behind a cursor, by one `EventSource` after the other. */
export class Connection {
  #source: EventSource | undefined
  #openedAt = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #probe: AbortController | undefined
  readonly #backoff: Backoff

  constructor(
    private readonly options: ConnectionOptions,
    private readonly hooks: ConnectionHooks,
  ) {
    this.#backoff = new Backoff(options.retries)
  }

  get isOpen(): boolean {
    return (this.#source ?? this.#timer ?? this.#probe) !== undefined
  }

  /** Read on, unless this is done already. */
  open(): void {
    if (!this.isOpen) this.#connect()
  }

  /** Read no further. */
  close(): void {
    this.#source?.close()
    clearTimeout(this.#timer)
    this.#probe?.abort()
    this.#source = this.#timer = this.#probe = undefined
  }

  #connect(): void {
    const source = new EventSource(this.#url(), { withCredentials: this.options.withCredentials })
    this.#source = source
    this.#openedAt = 0
    source.onopen = () => (this.#openedAt = performance.now())
    source.onmessage = (event) => this.#take(event, false)
    source.addEventListener("end", (event) => this.#take(event, true))
    source.onerror = () => {
      // The browser itself would connect for ever, and tells no status: so it may do it only once.
      const isRefused = source.readyState === EventSource.CLOSED
      this.close()
      if (this.#openedAt !== 0 && performance.now() - this.#openedAt >= STEADY_MS) this.#backoff.reset()
      this.#retry(isRefused)
    }
  }

  #url(): string {
    const url = new URL(this.options.url)
    const cursor = this.hooks.cursor()
    if (cursor !== undefined) url.searchParams.set("after", cursor)
    return url.href
  }

  #take({ data, lastEventId }: MessageEvent<string>, isEnd: boolean): void {
    const number = parseInt(lastEventId, 10)
    if (!(number > 0)) {
      return this.#fail(new RunError(`the id of an event is no number: ${lastEventId.slice(0, 100)}`))
    }
    this.#backoff.reset()
    this.hooks.onEvent({ number, cursor: lastEventId, data, isEnd })
  }

  #retry(isRefused: boolean, status?: number): void {
    if (!this.#backoff.fail()) {
      return this.#fail(new RunError(`${this.options.retries + 1} attempts have brought nothing`, status))
    }
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (isRefused) void this.#ask()
      else this.#connect()
    }, this.#backoff.nextMs())
  }

  /** Ask which status it is that an `EventSource` is answered. */
  async #ask(): Promise<void> {
    const probe = (this.#probe = new AbortController())
    const status = await statusOf(this.#url(), this.options.withCredentials, probe.signal)
    if (this.#probe !== probe) return // it was closed meanwhile
    this.#probe = undefined
    if (status === undefined || isPassing(status)) return this.#retry(true, status)
    if (status === 200) return this.#connect()
    this.#fail(new RunError(FINAL_STATUS[status] ?? `the application answers ${status}`, status))
  }

  #fail(error: RunError): void {
    this.close()
    this.hooks.onError(error)
  }
}

async function statusOf(
  url: string,
  withCredentials: boolean,
  signal: AbortSignal,
): Promise<number | undefined> {
  try {
    const answer = await fetch(url, {
      headers: { Accept: "text/event-stream" },
      credentials: withCredentials ? "include" : "same-origin",
      cache: "no-store",
      signal,
    })
    await answer.body?.cancel()
    return answer.status
  } catch {
    return undefined
  }
}
