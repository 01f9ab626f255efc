import { Backoff, paused } from "./backoff.js"
import { isPassing, FollowError } from "./errors.js"
import { ServerEvents } from "./server-events.js"
import { CUT, Lost, Patience, unlessSilent, type ConnectionState } from "./silence.js"

/** A chunk of a UI message stream, as the application has sent it. */
interface Chunk {
  readonly type: string
}

export interface AnswerHooks {
  /** Ask for the answer from the chunk of this number on; from its beginning where there is none. */
  readonly ask: (startIndex: number | undefined, signal: AbortSignal) => Promise<Response>
  readonly onState: (state: ConnectionState, reason?: string) => void
  /** Is called when nothing more will be read. */
  readonly onOver: () => void
}

const DONE = "[DONE]"
const OVER: Readonly<Record<number, string>> = {
  200: "the chat goes on with another one",
  204: "its run was deleted or has expired",
}

/** The chunks of one answer, through lost connections. */
export class ChatAnswer {
  #events: ServerEvents
  #count = 0 // of the chunks so far
  #toSkip = 0 // chunks that are sent once more
  #isOver = false
  #isStopped = false
  #stopping: ReturnType<typeof setTimeout> | undefined
  readonly #run: string | null
  // So many chunks after the first one are not the run's own: what its message held before.
  readonly #earlier: number
  readonly #left = new AbortController()
  readonly #backoff: Backoff
  readonly #patience: Patience
  /** Resolves when nothing more will be read. */
  readonly over: Promise<void>
  #setOver!: () => void

  constructor(
    response: Response,
    retries: number,
    private readonly staleAfter: number,
    private readonly hooks: AnswerHooks,
  ) {
    this.#run = runOf(response)
    this.#earlier = Number(response.headers.get("x-headgate-earlier-chunks") ?? 0)
    this.#events = new ServerEvents(response.body, staleAfter)
    this.#backoff = new Backoff(retries)
    this.over = new Promise((resolve) => (this.#setOver = resolve))
    this.#patience = new Patience(staleAfter)
    hooks.onState("live")
  }

  /** Return the stream that `useChat` reads. Nothing is read ahead, so that nothing is kept. */
  stream(): ReadableStream<Chunk> {
    return new ReadableStream<Chunk>(
      {
        pull: async (controller) => {
          try {
            await this.#pull(controller)
          } catch (error) {
            this.leave()
            controller.error(error)
          }
        },
        cancel: () => this.leave(),
      },
      { highWaterMark: 0 },
    )
  }

  /** Read on to the end of the run, for so long at most, and end as an answer that was aborted. */
  stopWithin(ms: number): void {
    if (this.#isOver) return
    this.#isStopped = true
    this.#stopping = setTimeout(() => this.leave(), ms)
  }

  /** Read no further. */
  leave(): void {
    if (this.#isOver) return
    this.#isOver = true
    clearTimeout(this.#stopping)
    this.#left.abort()
    this.#events.cancel()
    this.hooks.onOver()
    this.#setOver()
  }

  async #pull(controller: ReadableStreamDefaultController<Chunk>): Promise<void> {
    const chunk = await this.#next()
    // The AI SDK passes over this one, and would take the answer for complete.
    if (chunk?.type === "abort" || (chunk === undefined && this.#isStopped)) {
      throw new DOMException("the answer was stopped", "AbortError")
    }
    if (chunk !== undefined) controller.enqueue(chunk)
    if (chunk !== undefined && chunk.type !== "finish") return
    this.leave()
    if (!this.#isStopped) controller.close() // else it ends at the next pull, when the chat has this chunk
  }

  /** Return the next chunk; undefined after the last one, or when nobody reads any more. */
  async #next(): Promise<Chunk | undefined> {
    while (!this.#isOver) {
      const data = await this.#data()
      if (data === DONE) return undefined
      if (data === undefined) {
        await this.#reconnect()
      } else if (this.#toSkip > 0) {
        this.#toSkip--
      } else {
        this.#count++
        this.#backoff.reset()
        return JSON.parse(data) as Chunk
      }
    }
    return undefined
  }

  /** Return the data of the next event; undefined where the connection brings none, and say why. */
  async #data(): Promise<string | undefined> {
    try {
      const event = await this.#events.next()
      if (event !== undefined) return event.data
      this.#state("lost", CUT) // before the answer's own end
    } catch (error) {
      if (!(error instanceof Lost)) throw error
      if (error.isSilence) this.#patience.shorten()
      this.#state("lost", error.message)
    }
    return undefined
  }

  #state(state: ConnectionState, reason?: string): void {
    if (!this.#isOver) this.hooks.onState(state, reason)
  }

  async #reconnect(): Promise<void> {
    this.#events.cancel()
    while (!this.#isOver) {
      // useChat knows a lost connection by this word, and resumes when the page is seen again.
      if (!this.#backoff.fail()) throw new TypeError("network error: the answer is cut")
      await paused(this.#backoff.nextMs(), this.#left.signal)
      if (this.#isOver) return
      const isWithinEarlier = this.#count > 0 && this.#count <= this.#earlier
      const index = isWithinEarlier ? undefined : Math.max(0, this.#count - this.#earlier)
      this.#state("connecting")
      const response = await this.#ask(index)
      if (response === undefined) continue
      this.#events = new ServerEvents(response.body, this.staleAfter)
      if (this.#isOver) this.#events.cancel()
      this.#toSkip = isWithinEarlier ? this.#count : 0
      return
    }
  }

  /** Return the rest of the answer; undefined, and say why, where it is not to be had now. */
  async #ask(index: number | undefined): Promise<Response | undefined> {
    const attempt = new AbortController()
    const abort = (): void => attempt.abort()
    this.#left.signal.addEventListener("abort", abort)
    try {
      const response = await unlessSilent(this.hooks.ask(index, attempt.signal), this.#patience.ms)
      this.#patience.reset()
      const isRest = this.#isRest(response)
      this.#state(isRest ? "live" : "lost", isRest ? undefined : `the answer is ${response.status}`)
      return isRest ? response : undefined
    } catch (error) {
      if (error instanceof FollowError) throw error
      attempt.abort()
      if (error instanceof Lost) this.#patience.shorten()
      this.#state("lost", error instanceof Lost ? error.message : "no answer comes")
      return undefined
    } finally {
      this.#left.signal.removeEventListener("abort", abort)
    }
  }

  /** Return whether a response is the rest of this answer; throw where there is none. */
  #isRest(response: Response): boolean {
    if (response.status === 200 && runOf(response) === this.#run) return true
    response.body?.cancel().catch(() => undefined)
    if (isPassing(response.status)) return false
    const why = OVER[response.status] ?? `status ${response.status}`
    throw new FollowError(`the rest of the answer is not to be had: ${why}`, response.status)
  }
}

function runOf(response: Response): string | null {
  return response.headers.get("x-workflow-run-id")
}
