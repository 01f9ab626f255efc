// A page in TypeScript that uses each entry of the package, of whose types nothing is missing.
import { followRun, FollowError, type FollowedRun, type FollowRunOptions, type RunEnd } from "headgate-client"
import { RunChatTransport, type RunChatTransportOptions } from "headgate-client/chat"
import { useChatTransport, useRun, type RunView } from "headgate-client/react"

const shown: string[] = []
const options: FollowRunOptions<string> = {
  onItem: (item, cursor) => shown.push(item.toUpperCase(), cursor),
  onEnd: ({ status, error }: RunEnd) => shown.push(status, error ?? ""),
  onError: (error) => shown.push(error.message, String(error.status)),
  after: 3,
  remember: true,
  retries: 5,
  signal: new AbortController().signal,
}
const run: FollowedRun = followRun<string>("/runs/1", options)
const cursor: string | undefined = run.cursor
run.close()

// @ts-expect-error a run cannot be followed without a place for its items
followRun("/runs/1", {})
// @ts-expect-error an end is one of four
const end: RunEnd = { status: "over", error: null }

const chat: RunChatTransportOptions = { api: "/api/chat", headers: () => ({ authorization: "Bearer" }) }
const stopped: Promise<void> = new RunChatTransport(chat).stop("chat")

export function Answer(): string {
  const transport: RunChatTransport = useChatTransport(chat)
  const { value, status, error }: RunView<string> = useRun("/runs/1", {
    initial: "",
    reduce: (text: string, item: string) => text + item,
  })
  return [value, status, error instanceof FollowError, transport.resumeStreamIsReplay].join()
}

export { cursor, end, stopped }
