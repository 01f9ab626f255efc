import { useCallback, useEffect, useMemo, useState, useSyncExternalStore } from "react"
import { RunChatTransport, type RunChatTransportOptions } from "./chat.js"
import type { FollowError } from "./errors.js"
import { followRun, type FollowRunOptions, type RunEnd } from "./follow-run.js"

export interface UseRunOptions<Item, Value>
  extends Pick<FollowRunOptions, "withCredentials" | "retries" | "staleAfter" | "onState"> {
  /** The value before the first item. */
  readonly initial: Value
  /** Return the value with one item more, as a reducer does. */
  readonly reduce: (value: Value, item: Item) => Value
}

export interface RunView<Value> {
  /** What `reduce` has made of the items so far. */
  readonly value: Value
  /** `active` until it has ended; `unreadable` when it cannot be followed, for which `error` says why. */
  readonly status: "active" | "unreadable" | RunEnd["status"]
  readonly error: FollowError | string | null
}

const FLUSH_MS = 20 // renders are 50 a second at most, however many items come

/** Follow a run while the component is shown. Without a URL, nothing is followed yet. */
export function useRun<Item, Value>(
  url: string | null | undefined,
  options: UseRunOptions<Item, Value>,
): RunView<Value> {
  const { withCredentials, retries, staleAfter } = options
  // What it begins with counts; a reducer is a function of its arguments, so any will do.
  const followed = useMemo(
    () => new Followed(url, options),
    [url, withCredentials, retries, staleAfter],
  )
  useEffect(() => {
    followed.reduce = options.reduce
    followed.onState = options.onState
  })
  const subscribe = useCallback((onChange: () => void) => followed.subscribe(onChange), [followed])
  return useSyncExternalStore(subscribe, followed.view, () => followed.first)
}

/** Holds what has come of a run: a component that is shown once more goes on from there. */
class Followed<Item, Value> {
  readonly first: RunView<Value>
  reduce: (value: Value, item: Item) => Value
  onState: UseRunOptions<Item, Value>["onState"]
  #view: RunView<Value>
  #value: Value
  #cursor: string | undefined
  #flushing: ReturnType<typeof setTimeout> | undefined

  constructor(
    private readonly url: string | null | undefined,
    private readonly options: UseRunOptions<Item, Value>,
  ) {
    this.reduce = options.reduce
    this.onState = options.onState
    this.#value = options.initial
    this.first = this.#view = { value: options.initial, status: "active", error: null }
  }

  readonly view = (): RunView<Value> => this.#view

  subscribe(onChange: () => void): () => void {
    if (!this.url || this.#view.status !== "active") return () => undefined
    const { withCredentials, retries, staleAfter } = this.options
    const show = (status: RunView<Value>["status"], error: RunView<Value>["error"]): void => {
      clearTimeout(this.#flushing)
      this.#flushing = undefined
      this.#view = { value: this.#value, status, error }
      onChange()
    }
    const run = followRun<Item>(this.url, {
      onItem: (item, cursor) => {
        this.#cursor = cursor
        this.#value = this.reduce(this.#value, item)
        this.#flushing ??= setTimeout(() => show("active", null), FLUSH_MS)
      },
      onEnd: ({ status, error }) => show(status, error),
      onError: (error) => show("unreadable", error),
      onState: (state, reason) => this.onState?.(state, reason),
      ...(this.#cursor !== undefined && { after: this.#cursor }),
      ...(withCredentials !== undefined && { withCredentials }),
      ...(retries !== undefined && { retries }),
      ...(staleAfter !== undefined && { staleAfter }),
    })
    return () => {
      run.close()
      if (this.#flushing === undefined) return
      clearTimeout(this.#flushing)
      this.#flushing = undefined
      this.#view = { value: this.#value, status: "active", error: null }
    }
  }
}

/**
 * Make the transport for a `useChat` of the same component, before it is called.
 *
 * Where the component leaves the page, or shows another chat, version 7 of the AI SDK stops the
 * chat. The run goes on all the same: only what calls `stop()` otherwise stops it. The options are
 * those of the first render; `headers` and `body` may be functions.
 */
export function useChatTransport(options?: RunChatTransportOptions): RunChatTransport {
  const [transport] = useState(() => new RunChatTransport(options))
  // Effects are cleaned up in their order, all in one go: this one is before that of useChat.
  useEffect(() => () => transport.leave())
  return transport
}
