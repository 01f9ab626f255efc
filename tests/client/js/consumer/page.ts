// A page in TypeScript that uses each entry of the package, of whose types nothing is missing.
import { encodeMultiChunks, followRun, followStream, FollowError, type ConnectionState, type FollowRunOptions, type RunEnd } from "headgate-client"
import { RunChatTransport } from "headgate-client/chat"
import { useChatTransport, useRun, type RunView } from "headgate-client/react"

const shown: string[] = []
const options: FollowRunOptions<string> = {
  onItem: (item, cursor) => shown.push(item.toUpperCase(), cursor),
  onEnd: ({ status, error }: RunEnd) => shown.push(status, error ?? ""),
  onError: (error) => shown.push(error.message, String(error.status)),
  onState: (state: ConnectionState, reason?: string) => shown.push(state, reason ?? ""),
  staleAfter: 30_000,
  signal: new AbortController().signal,
}
export const cursor: string | undefined = followRun<string>("/runs/1", options).cursor
followStream<number>("/v1/stream/scores", { onMessage: (score) => shown.push(score.toFixed()) }).close()
const body = encodeMultiChunks(["Once ", new Uint8Array([97])])
export const append: RequestInit = { method: "POST", headers: { "x-stream-multi": "true" }, body }

// @ts-expect-error a state is one of three
export const state: ConnectionState = "open"
// @ts-expect-error a number is not a chunk
encodeMultiChunks([1])
// @ts-expect-error a run cannot be followed without a place for its items
followRun("/runs/1", {})
// @ts-expect-error an end is one of four
export const end: RunEnd = { status: "over", error: null }

export function Answer(): string {
  const transport: RunChatTransport = useChatTransport({ headers: () => ({ authorization: "Bearer" }) })
  const { value, status, error }: RunView<string> = useRun("/runs/1", {
    initial: "",
    reduce: (text: string, item: string) => text + item,
    onState: (state) => shown.push(state),
    staleAfter: 30_000,
  })
  return [value, status, error instanceof FollowError, transport.resumeStreamIsReplay].join()
}
