import { Connection } from "./connection.js"
import { FollowError, addressOf } from "./errors.js"
import { Memory } from "./remembered.js"
import type { ServerEvent } from "./server-events.js"
import { SharedFollower } from "./shared-follower.js"
import { checkedStaleAfter, type ConnectionState } from "./silence.js"

/** An event of a run, as it is passed from tab to tab. */
interface RunEvent {
  /** The number of the item, from 1 on; the end has one, too. */
  readonly number: number
  /** The whole id of the event, from which the run is read on. */
  readonly cursor: string
  readonly data: string
  readonly isEnd: boolean
}

/** How a run has ended. */
export interface RunEnd {
  readonly status: "finished" | "stopped" | "failed" | "orphaned"
  /** Why it failed or is orphaned; else null. */
  readonly error: string | null
}

export interface FollowRunOptions<Item = unknown> {
  /**
   * Is called with each item, once and in order, and with the cursor after it.
   *
   * There is no iterator instead: what nobody has taken from it would have to be kept.
   */
  readonly onItem: (item: Item, cursor: string) => void
  /** Is called when the run has ended, after its last item. Nothing comes after it. */
  readonly onEnd?: (end: RunEnd) => void
  /** Is called when the run cannot be followed any further; by default it is written to the console. */
  readonly onError?: (error: FollowError) => void
  /** The cursor after which to begin, or the number of items that the page has. */
  readonly after?: string | number
  /**
   * Whether the cursor is stored in `sessionStorage`, so that the tab goes on after the last item
   * when it is loaded anew. For pages that keep what they have shown; by default a page that is
   * loaded anew has the whole run once more.
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

/** A run that is followed by this page. */
export interface FollowedRun {
  /** The cursor after the last item; undefined before the first one. */
  readonly cursor: string | undefined
  /** Follow no further. The run itself goes on. */
  close(): void
}

const FINAL_STATUS: Readonly<Record<number, string>> = {
  204: "there is no such run, or nothing of it is left to be read",
  401: "the application does not know who asks",
  403: "the run may not be read",
  404: "there is no such address",
}
const NO_LONGER = "the run was deleted or has expired, or has nothing after the cursor"
export const RETRIES = 40

/**
 * Follow a run in the format `sse` to its end, through lost connections.
 *
 * All tabs that follow it share one connection where the browser has `BroadcastChannel` and Web
 * Locks, because by HTTP/1.1 it has six for all of its tabs.
 */
export function followRun<Item = unknown>(url: string | URL, options: FollowRunOptions<Item>): FollowedRun {
  const address = addressOf("followRun", url, "onItem", options?.onItem)
  return new Follower(address, options as FollowRunOptions)
}

class Follower extends SharedFollower<RunEvent, number> implements FollowedRun {
  cursor: string | undefined
  #count = 0 // the number of the last item
  #goal = 0 // the number to which another tab has come
  readonly #memory: Memory | undefined
  protected readonly connection: Connection

  constructor(
    url: string,
    private readonly options: FollowRunOptions,
  ) {
    super("run", options)
    const { after, remember = false, withCredentials = false, retries = RETRIES } = options
    const staleAfter = checkedStaleAfter(options.staleAfter)
    this.#memory = remember ? new Memory(url) : undefined
    const remembered = this.#memory?.get()
    this.cursor = remembered?.cursor ?? (after === undefined ? undefined : String(after))
    this.#count = numberOf(this.cursor)
    this.connection = new Connection({
      url: () => this.#urlOf(url),
      withCredentials,
      retries,
      staleAfter,
      onEvent: (event) => this.#read(event),
      onState: (...state) => this.setState(...state),
      onError: (error) => this.fail(error),
      meaning: (status) => (status === 204 && this.#count > 0 ? NO_LONGER : FINAL_STATUS[status]),
    })
    if (!this.heedsSignal()) return
    if (remembered?.end !== undefined) {
      const { end } = remembered
      queueMicrotask(() => this.#end(end))
    } else {
      this.begin("headgate-client", url)
    }
  }

  #urlOf(base: string): string {
    const url = new URL(base)
    if (this.cursor !== undefined) url.searchParams.set("after", this.cursor)
    return url.href
  }

  #read({ type, data, id }: ServerEvent): void {
    if (type !== "message" && type !== "end") return
    const number = parseInt(id, 10)
    if (!(number > 0)) {
      const shown = id.slice(0, 100)
      return this.connection.fail(new FollowError(`the id of an event is no number: ${shown}`))
    }
    this.connection.reset()
    this.#take({ number, cursor: id, data, isEnd: type === "end" })
  }

  protected place(): number {
    return this.#count
  }

  protected lacks(): boolean {
    return this.#count < this.#goal
  }

  protected catchUp(count: number): void {
    this.#goal = Math.max(this.#goal, count)
    this.adjust()
  }

  protected hear(event: RunEvent): void {
    if (event.number === this.#count + 1) this.#take(event)
    else this.catchUp(event.number)
  }

  /** Handle an event, whoever has read it, unless this tab has it already. */
  #take(event: RunEvent): void {
    if (this.isOver || event.number <= this.#count) return
    this.tell(event)
    this.#count = event.number
    this.cursor = event.cursor
    if (event.isEnd) return this.#end(event.data)
    this.adjust()
    try {
      this.options.onItem(JSON.parse(event.data), event.cursor)
    } finally {
      this.#memory?.set({ cursor: event.cursor })
    }
  }

  #end(data: string): void {
    if (this.isOver) return
    this.#memory?.set({ cursor: this.cursor!, end: data })
    this.close()
    this.options.onEnd?.(JSON.parse(data) as RunEnd)
  }
}

/** Return how many items are before a cursor. */
function numberOf(cursor: string | undefined): number {
  if (cursor === undefined) return 0
  const number = parseInt(cursor, 10)
  if (!(number >= 0)) throw new RangeError(`after is a number of items or a cursor, not ${cursor}`)
  return number
}
