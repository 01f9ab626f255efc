// Follows a stream, a run or the answer to a question with the npm package, for
// tests/client/js/test_silent_paths.py.
//
//   node silent_paths.mjs KIND URL STALE_MS
//
// Each line on stdout is JSON: an item, a state with its reason, or the end.
import { RunChatTransport } from "../../client/js/dist/esm/chat.js"
import { followRun, followStream } from "../../client/js/dist/esm/index.js"

const [kind, url, staleMs] = process.argv.slice(2)
const print = (line) => console.log(JSON.stringify(line))
const staleAfter = Number(staleMs)
const onItem = (item) => print({ item })
const onEnd = () => print({ end: true })

if (kind === "stream") {
  followStream(url, { staleAfter, onMessage: onItem, onClose: onEnd, onState: (...state) => print({ state }) })
} else if (kind === "run") {
  followRun(url, { staleAfter, onItem, onEnd, onState: (...state) => print({ state }) })
} else {
  const onState = (state, reason) => print({ state: reason === undefined ? [state] : [state, reason] })
  const transport = new RunChatTransport({ api: url, staleAfter, onState })
  const question = { id: "q", role: "user", parts: [{ type: "text", text: "Tell." }] }
  const chunks = await transport.sendMessages({
    chatId: "tale",
    trigger: "submit-message",
    messageId: undefined,
    messages: [question],
    abortSignal: undefined,
  })
  for await (const { type, delta } of chunks) if (type === "text-delta") onItem(delta)
  onEnd()
}
