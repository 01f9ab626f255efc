import type { ConnectionState } from "./silence.js"

/** What tabs that follow the same thing say to each other. */
type Message<Event, Place> =
  | { readonly type: "ask" } // does anybody hold the connection?
  // yes, it has come so far, and this is the connection's state
  | { readonly type: "here"; readonly place: Place; readonly state: State | undefined }
  | { readonly type: "event"; readonly event: Event }

/** The state of the connection, and the reason where it is lost. */
export type State = readonly [ConnectionState, string?]

export interface TabHooks<Event, Place> {
  /** Hold the connection from now on. */
  readonly onLead: () => void
  /** Leave the connection to another tab. */
  readonly onDeposed: () => void
  readonly onEvent: (event: Event) => void
  /** Learn how far the tab that holds the connection has come, and of the connection's state. */
  readonly onProgress: (place: Place, state: State | undefined) => void
  /** Return how far this tab has come. */
  readonly place: () => Place
  /** Return the state of this tab's connection. */
  readonly state: () => State | undefined
}

// A tab in the background runs its timers once a second, or once a minute, but is told messages at
// once. So nobody sends heartbeats: whoever has heard nothing for some time asks.
const ASK_MS = 2000
// A tab that does not answer for so long is frozen, or busy: then another one is the better choice.
const SILENCE_MS = 4000

/** Return whether tabs of this browser can share a connection. */
export function canShare(): boolean {
  // A worker has both, but cannot tell when it is frozen.
  return typeof BroadcastChannel !== "undefined" && !!globalThis.navigator?.locks && "document" in globalThis
}

/** One of the tabs that follow the same thing: whichever has the lock holds the connection. */
export class Tabs<Event, Place> {
  readonly #channel: BroadcastChannel
  readonly #ticking: ReturnType<typeof setInterval>
  #queue: AbortController | undefined // of the wait for the lock; undefined while it is left
  #release: (() => void) | undefined // set while this tab has the lock
  #isClosed = false
  #heardAt = performance.now() // of the tab that holds the connection
  #askedAt = 0 // since then without an answer; 0: nothing was asked

  constructor(
    private readonly name: string,
    private readonly hooks: TabHooks<Event, Place>,
  ) {
    this.#channel = new BroadcastChannel(name)
    this.#channel.onmessage = ({ data }: MessageEvent<Message<Event, Place>>) => this.#hear(data)
    // Of several tabs one asks, and all hear the answer.
    this.#ticking = setInterval(() => this.#tick(), ASK_MS * (0.5 + Math.random() / 2))
    this.#listen("addEventListener")
    this.#join()
  }

  /** Pass an event on to the other tabs. */
  tell(event: Event): void {
    if (this.#release) this.#send({ type: "event", event })
  }

  /** Leave: another tab may have the lock. */
  close(): void {
    this.#isClosed = true
    clearInterval(this.#ticking)
    this.#listen("removeEventListener")
    this.#channel.close()
    this.#leave()
  }

  /** Hear of the page's being frozen, and of its being kept for the user's way back. */
  #listen(how: "addEventListener" | "removeEventListener"): void {
    document[how]("freeze", this.#leave)
    document[how]("resume", this.#join)
    window[how]("pagehide", this.#leave)
    window[how]("pageshow", this.#join)
  }

  #send(message: Message<Event, Place>): void {
    this.#channel.postMessage(message)
  }

  #hear(message: Message<Event, Place>): void {
    if (this.#isClosed) return
    if (message.type === "ask") return this.tellProgress()
    this.#heardAt = performance.now()
    this.#askedAt = 0
    if (message.type === "event") this.hooks.onEvent(message.event)
    else this.hooks.onProgress(message.place, message.state)
  }

  /** Tell the other tabs how far this one has come, if it holds the connection, and its state. */
  tellProgress(): void {
    if (this.#release) this.#send({ type: "here", place: this.hooks.place(), state: this.hooks.state() })
  }

  readonly #join = (): void => {
    if (this.#queue || this.#isClosed) return
    this.#queue = new AbortController()
    void this.#request({ signal: this.#queue.signal })
    this.#ask()
  }

  /** Leave the lock to others, because a frozen tab keeps it but reads nothing. */
  readonly #leave = (): void => {
    this.#queue?.abort()
    this.#queue = undefined
    const release = this.#release
    this.#release = undefined
    release?.()
    if (release && !this.#isClosed) this.hooks.onDeposed()
  }

  #ask(): void {
    this.#askedAt = performance.now()
    this.#send({ type: "ask" })
  }

  async #request(options: LockOptions): Promise<void> {
    let wasHeld = false
    try {
      await navigator.locks.request(this.name, options, () => {
        if (!this.#queue) return undefined // it has been left meanwhile
        wasHeld = true
        return this.#hold()
      })
    } catch (error) {
      if (!this.#queue) return
      if (wasHeld) {
        this.#leave()
        this.#join()
      } else if (!isAbort(error)) {
        this.hooks.onLead() // no locks for this page, such as a sandboxed frame: for itself alone
      }
    }
  }

  #hold(): Promise<void> {
    const held = new Promise<void>((release) => (this.#release = release))
    this.hooks.onLead()
    this.tellProgress()
    return held
  }

  #tick(): void {
    const now = performance.now()
    if (this.#release || !this.#queue) return
    if (this.#askedAt === 0) {
      if (now - this.#heardAt >= ASK_MS) this.#ask()
    } else if (now - this.#askedAt >= SILENCE_MS) {
      this.#steal()
    }
  }

  #steal(): void {
    this.#askedAt = 0
    this.#heardAt = performance.now()
    this.#queue?.abort()
    this.#queue = new AbortController()
    void this.#request({ steal: true })
  }
}

function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError"
}
