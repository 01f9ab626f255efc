import { Backoff, paused } from "./backoff.js"
import { ChatAnswer } from "./chat-answer.js"
import { isPassing, FollowError } from "./errors.js"
import { callPage, checkedStaleAfter, Lost, Patience, unlessSilent, type ConnectionState } from "./silence.js"

type Resolvable<Value> = Value | PromiseLike<Value> | (() => Value | PromiseLike<Value>)

export interface RunChatTransportOptions {
  /** Where the chat is asked: `/api/chat`, if not said. */
  readonly api?: string
  readonly headers?: Resolvable<Record<string, string> | Headers>
  readonly credentials?: Resolvable<RequestCredentials>
  /** What is sent with each question besides `id`, `messages`, `trigger` and `messageId`. */
  readonly body?: Resolvable<object>
  readonly fetch?: typeof fetch
  /** So many attempts in a row to read on may bring nothing before the chat fails: 20, which is about three minutes. */
  readonly retries?: number
  /** Milliseconds after which an answer is read on over another connection if nothing has come, not even a comment: 90,000. */
  readonly staleAfter?: number
  /** Is called with the state of the connection of the answer in a chat, and with the reason where it is `lost`. */
  readonly onState?: (state: ConnectionState, reason: string | undefined, chatId: string) => void
}

// The shapes of the AI SDK's own types, in versions 6 and 7: so none of it need be installed.
interface RequestOptions {
  readonly chatId: string
  readonly headers?: Record<string, string> | Headers | undefined
  readonly body?: object | undefined
}

export interface SendMessagesOptions extends RequestOptions {
  readonly trigger: "submit-message" | "regenerate-message"
  readonly messageId: string | undefined
  readonly messages: readonly object[]
  readonly abortSignal: AbortSignal | undefined
}

export interface ReconnectToStreamOptions extends RequestOptions {
  readonly abortSignal?: AbortSignal | undefined
}

/** Chunks of a UI message stream as the application has sent them: the AI SDK knows their types. */
export type Chunks = ReadableStream<any>

const RETRIES = 20
const UNLOADING = ["beforeunload", "pagehide", "pageshow"]
const STOPPING_MS = 5000 // more than the two seconds that a source may have to end by itself
const STOP_RETRIES = 5 // some ten seconds; whoever has pressed the button may press it again

/**
 * The `transport` of `useChat` for a chat whose answers are runs.
 *
 * An answer is read on through lost connections. `stop()` of the chat stops the run, and the chat
 * says `isAbort` also when somebody else has stopped it.
 */
export class RunChatTransport {
  /** An answer that is resumed comes from its beginning. */
  readonly resumeStreamIsReplay = true
  #isLeaving = false
  #resumes = 0
  readonly #stops = new Map<string, Promise<void>>() // under way, by chat
  readonly #staleAfter: number

  constructor(private readonly options: RunChatTransportOptions = {}) {
    this.#staleAfter = checkedStaleAfter(options.staleAfter)
  }

  /** Ask, and return the chunks of the answer. */
  async sendMessages(options: SendMessagesOptions): Promise<Chunks> {
    let asking: Promise<Response> | undefined
    let isAnswered = false
    const watch = this.#watch(options, false, (answer) => {
      if (asking !== undefined) this.#stopInBackground(options, answer, isAnswered ? undefined : asking)
    })
    try {
      await this.#stops.get(options.chatId) // it would stop the run that begins now
      watch.check()
      // Not aborted with the chat: a request that was given up may have started a run all the same.
      this.#state(options, "connecting")
      const question = (asking = this.#asked(options))
      const response = await watch.unlessAborted(this.#answerToQuestion(options, question))
      isAnswered = true
      return await this.#answer(response, options, watch)
    } catch (error) {
      watch.end()
      this.#fail(options, error)
      throw error
    }
  }

  /** Return the chunks of the answer under way, from its beginning; null where there is none. */
  async reconnectToStream(options: ReconnectToStreamOptions): Promise<Chunks | null> {
    this.#resumes++
    const watch = this.#watch(options, true, (answer) => this.#stopInBackground(options, answer))
    try {
      this.#state(options, "connecting")
      const response = await watch.unlessAborted(this.#answerUnderWay(options))
      if (response.status !== 204) return await this.#answer(response, options, watch)
      watch.end()
      this.#state(options, "live")
      return null
    } catch (error) {
      watch.end()
      this.#fail(options, error)
      throw error
    }
  }

  /** Stop the run that answers in a chat; return when the application has taken it. */
  stop(chatId: string, headers?: Record<string, string> | Headers): Promise<void> {
    return this.#stop({ chatId, headers })
  }

  /**
   * Have the runs go on that `stop()` of a chat would stop, until the next microtask.
   *
   * For frameworks that stop a chat when its component leaves the page: call this right before.
   * `useChatTransport` does.
   */
  leave(): void {
    this.#isLeaving = true
    queueMicrotask(() => (this.#isLeaving = false))
  }

  // ---------------------------------------------------------------- requests

  async #asked(options: SendMessagesOptions): Promise<Response> {
    const { chatId: id, messages, trigger, messageId } = options
    const more = { ...(await resolved(this.options.body)), ...options.body }
    const body = JSON.stringify({ ...more, id, messages, trigger, messageId })
    return this.#request("", options, { method: "POST", body }, { "Content-Type": "application/json" })
  }

  /** Return the answer to a request; throw `Lost`, and abort it, where nothing comes of it for long. */
  async #answerInTime(
    options: RequestOptions,
    patience: Patience,
    ask: (signal: AbortSignal) => Promise<Response>,
  ): Promise<Response> {
    const attempt = new AbortController()
    try {
      return await unlessSilent(ask(attempt.signal), patience.ms)
    } catch (error) {
      if (error instanceof Lost) {
        attempt.abort()
        patience.shorten()
        this.#state(options, "lost", error.message)
        this.#state(options, "connecting")
      }
      throw error
    }
  }

  /**
   * Return the answer to a question; where none comes for long, the one that the application has begun.
   *
   * A question that is sent twice may be answered twice. So it is sent once, and without a begun answer
   * it is waited for.
   */
  async #answerToQuestion(options: SendMessagesOptions, question: Promise<Response>): Promise<Response> {
    const patience = new Patience(this.#staleAfter)
    for (let tries = 0; ; tries++) {
      try {
        return await this.#answerInTime(options, patience, () => question)
      } catch (error) {
        this.#checkTries(options.abortSignal, error, tries)
        const reading = this.#answerInTime(options, patience, (signal) =>
          this.#read(options, options.chatId, 0, signal),
        )
        const begun = await reading.catch(() => undefined)
        const unread = begun?.status === 200 ? question : Promise.resolve(begun)
        unread.then((response) => response?.body?.cancel()).catch(() => undefined)
        if (begun?.status === 200) return begun
        if (begun !== undefined) patience.reset()
      }
    }
  }

  /** Return the response with the answer under way, or 204; ask again where nothing comes. */
  async #answerUnderWay(options: ReconnectToStreamOptions): Promise<Response> {
    const patience = new Patience(this.#staleAfter)
    for (let tries = 0; ; tries++) {
      try {
        return await this.#answerInTime(options, patience, (signal) =>
          this.#read(options, options.chatId, undefined, signal),
        )
      } catch (error) {
        this.#checkTries(options.abortSignal, error, tries)
      }
    }
  }

  /** Throw an error, unless another attempt may help. */
  #checkTries(signal: AbortSignal | undefined, error: unknown, tries: number): void {
    if (!(error instanceof Lost) || signal?.aborted) throw error
    if (tries >= (this.options.retries ?? RETRIES)) throw new TypeError(`network error: ${error.message}`)
  }

  #read(options: RequestOptions, id: string, startIndex?: number, signal?: AbortSignal): Promise<Response> {
    const query = startIndex === undefined ? "" : `?startIndex=${startIndex}`
    return this.#request(`/${segment(id)}/stream${query}`, options, signal ? { signal } : {})
  }

  async #request(
    path: string,
    { headers: given }: RequestOptions,
    init: RequestInit,
    first?: Record<string, string>,
  ): Promise<Response> {
    const headers = new Headers(first)
    for (const source of [await resolved(this.options.headers), given]) {
      new Headers(source).forEach((value, name) => headers.set(name, value))
    }
    const credentials = await resolved(this.options.credentials)
    const fetching = this.options.fetch ?? globalThis.fetch
    const url = withPath(this.options.api ?? "/api/chat", path)
    return fetching(url, { ...init, headers, ...(credentials && { credentials }) })
  }

  async #answer(response: Response, options: RequestOptions, watch: Watch): Promise<Chunks> {
    if (!response.ok || response.body === null) {
      throw new FollowError((await response.text()) || `the application answers ${response.status}`, response.status)
    }
    const run = response.headers.get("x-workflow-run-id") ?? options.chatId
    const answer = new ChatAnswer(response, this.options.retries ?? RETRIES, this.#staleAfter, {
      onState: (state, reason) => this.#state(options, state, reason),
      ask: (startIndex, signal) =>
        this.#read(options, startIndex === undefined ? options.chatId : run, startIndex, signal),
      onOver: () => watch.end(),
    })
    watch.answer = answer
    return answer.stream()
  }

  #state({ chatId }: RequestOptions, state: ConnectionState, reason?: string): void {
    callPage(() => this.options.onState?.(state, reason, chatId))
  }

  #fail(options: SendMessagesOptions | ReconnectToStreamOptions, error: unknown): void {
    if (!options.abortSignal?.aborted) this.#state(options, "lost", String((error as Error)?.message ?? error))
  }

  // ---------------------------------------------------------------- stopping

  #watch(
    options: SendMessagesOptions | ReconnectToStreamOptions,
    isResume: boolean,
    onStop: (answer: ChatAnswer | undefined) => void,
  ): Watch {
    const watch = new Watch(options.abortSignal, (event) => {
      if (this.#isLeaving) return
      const { answer } = watch
      if (answer !== undefined) hideAbort(event)
      const resumes = this.#resumes
      // A chat that resumes once more gives up the resume before, in the same call.
      queueMicrotask(() => {
        const isStop = !isResume || this.#resumes === resumes
        answer?.stopWithin(isStop ? STOPPING_MS : 0)
        if (isStop) onStop(answer)
      })
    })
    return watch
  }

  /** Stop, and once more when a question that is under way has been answered. */
  #stopInBackground(options: RequestOptions, answer?: ChatAnswer, asking?: Promise<Response>): void {
    const stopping = (async () => {
      await this.#stop(options)
      if (asking === undefined) return
      await asking.catch(() => undefined)
      await this.#stop(options)
    })()
    const settled = Promise.all([stopping.catch(report), answer?.over]).then(() => {
      if (this.#stops.get(options.chatId) === settled) this.#stops.delete(options.chatId)
    })
    this.#stops.set(options.chatId, settled)
  }

  async #stop(options: RequestOptions): Promise<void> {
    const backoff = new Backoff(STOP_RETRIES)
    for (;;) {
      // Also when the page is left in this moment.
      const init = { method: "POST", keepalive: true }
      const response = await this.#request(`/${segment(options.chatId)}/stop`, options, init).catch(() => undefined)
      response?.body?.cancel().catch(() => undefined)
      if (response?.ok) return
      const status = response?.status
      if ((status !== undefined && !isPassing(status)) || !backoff.fail()) {
        throw new FollowError(`the run could not be stopped: ${status ?? "no answer"}`, status)
      }
      await paused(backoff.nextMs())
    }
  }
}

/** Sees whether a request of a chat is aborted by the page, until its answer is over. */
class Watch {
  /** What is read, once it has begun. */
  answer: ChatAnswer | undefined
  #isUnloading = false
  readonly #aborted: Promise<never>
  #reject!: (reason: unknown) => void

  constructor(
    private readonly signal: AbortSignal | undefined,
    private readonly onAbort: (event: Event) => void,
  ) {
    this.#aborted = new Promise<never>((_, reject) => (this.#reject = reject))
    this.#aborted.catch(() => undefined)
    signal?.addEventListener("abort", this.#take)
    // Before the page's own listeners, also those that were there before.
    for (const type of UNLOADING) globalThis.addEventListener?.(type, this.#see, true)
  }

  /** Throw if it has been aborted. */
  check(): void {
    this.signal?.throwIfAborted()
  }

  /** Return what is awaited; reject when it is aborted before. */
  async unlessAborted(awaited: Promise<Response>): Promise<Response> {
    this.check()
    const dropIfAborted = ({ body }: Response): void => {
      if (this.signal?.aborted) body?.cancel().catch(() => undefined)
    }
    void awaited.then(dropIfAborted, () => undefined)
    return Promise.race([awaited, this.#aborted])
  }

  end(): void {
    this.signal?.removeEventListener("abort", this.#take)
    for (const type of UNLOADING) globalThis.removeEventListener?.(type, this.#see, true)
  }

  // A page that is closed or loaded anew leaves the run alone, also if it ends its requests itself.
  readonly #see = ({ type }: Event): void => {
    this.#isUnloading = type !== "pageshow"
    if (type === "beforeunload") setTimeout(() => (this.#isUnloading = false)) // the user may stay
  }

  readonly #take = (event: Event): void => {
    this.end()
    this.#reject(this.signal!.reason)
    if (!this.#isUnloading) this.onAbort(event)
  }
}

/**
 * Let a chat take what still comes, though it has aborted its request.
 *
 * The AI SDK would cancel the answer, and take no chunk while its signal is aborted. So its listener,
 * which comes after that of `Watch`, is not called, and its signal looks as before.
 */
function hideAbort(event: Event): void {
  event.stopImmediatePropagation()
  Object.defineProperty(event.target, "aborted", { value: false })
}

async function resolved<Value>(value: Resolvable<Value> | undefined): Promise<Value | undefined> {
  return typeof value === "function" ? (value as () => Value | PromiseLike<Value>)() : value
}

function segment(id: string): string {
  if (id === "." || id === "..") throw new RangeError(`a chat cannot have the id ${id}`)
  return encodeURIComponent(id)
}

/** Return a URL with more of a path, which may have a query of its own. */
function withPath(url: string, path: string): string {
  const [, base, query] = /^([^?#]*)\??([^#]*)/.exec(url)!
  const [more, added] = path.split("?")
  const queries = [query, added].filter(Boolean).join("&")
  return `${more ? base!.replace(/\/$/, "") : base}${more}${queries && `?${queries}`}`
}

function report(error: unknown): void {
  console.error("headgate-client:", error)
}
