import type { Connection } from "./connection.js"
import type { FollowError } from "./errors.js"
import { callPage, type ConnectionState } from "./silence.js"
import { canShare, Tabs, type State } from "./tabs.js"

export interface SharedFollowerOptions {
  readonly onError?: (error: FollowError) => void
  readonly onState?: (state: ConnectionState, reason?: string) => void
  readonly withCredentials?: boolean
  readonly signal?: AbortSignal
}

/** Something that is followed by all tabs of a browser over one connection. */
export abstract class SharedFollower<Event, Place> {
  protected isOver = false
  #isLeading = false
  #own: State | undefined // of the connection of this tab
  #shown: State | undefined
  #tabs: Tabs<Event, Place> | undefined
  protected abstract readonly connection: Connection

  constructor(
    /** What it is, in an error. */
    private readonly what: string,
    private readonly shared: SharedFollowerOptions,
  ) {}

  /** Return how far this tab has come. */
  protected abstract place(): Place
  /** Return whether another tab has come further. */
  protected abstract lacks(): boolean
  /** Take what another tab has read. */
  protected abstract hear(event: Event): void
  /** Learn how far another tab has come. */
  protected abstract catchUp(place: Place): void

  /** Begin to follow, with the other tabs that follow the same URL. */
  protected begin(prefix: string, url: string): void {
    if (!canShare()) return this.#lead()
    queueMicrotask(() => this.#show(this.#shown ?? ["connecting"]))
    this.#tabs = new Tabs(`${prefix}:${this.shared.withCredentials ? "with-credentials:" : ""}${url}`, {
      place: () => this.place(),
      state: () => this.#own,
      onLead: () => this.#lead(),
      onDeposed: () => {
        this.#isLeading = false
        this.adjust()
      },
      onEvent: (event) => this.hear(event),
      onProgress: (place, state) => {
        this.catchUp(place)
        if (state !== undefined && !this.#isLeading) this.#show(state)
      },
    })
  }

  /** Heed the signal that ends the following; return false if it has been given already. */
  protected heedsSignal(): boolean {
    const { signal } = this.shared
    this.isOver = signal?.aborted ?? false
    if (!this.isOver) signal?.addEventListener("abort", this.close)
    return !this.isOver
  }

  readonly close = (): void => {
    this.isOver = true
    this.shared.signal?.removeEventListener("abort", this.close)
    this.connection.close()
    this.#tabs?.close()
  }

  #lead(): void {
    this.#isLeading = true
    if (this.#own !== undefined) this.#show(this.#own)
    this.adjust()
  }

  /** Take the state of the connection of this tab, which is shown if it reads for all. */
  protected setState(...state: State): void {
    this.#own = state
    if (!this.#isLeading) return
    this.#show(state)
    this.#tabs?.tellProgress()
  }

  /** Tell the page, unless it knows this already. */
  #show(state: State): void {
    if (this.isOver || state.join() === this.#shown?.join()) return
    this.#shown = state
    callPage(() => this.shared.onState?.(...state))
  }

  /** Pass an event on to the other tabs, if this one reads for all. */
  protected tell(event: Event): void {
    if (this.#isLeading) this.#tabs?.tell(event)
  }

  /** Have a connection while this tab holds it for all, or lacks what the others have. */
  protected adjust(): void {
    if (this.isOver) return
    if (this.#isLeading || this.lacks()) this.connection.open()
    else this.#disconnect()
  }

  #disconnect(): void {
    this.connection.close()
    this.#own = undefined
  }

  /** Follow no further, and say why. */
  protected fail(error: FollowError): void {
    if (this.isOver) return
    this.close()
    if (this.shared.onError) this.shared.onError(error)
    else console.error(`headgate-client: a ${this.what} cannot be followed:`, error)
  }
}
