// Drives the transport of the AI SDK, unmodified, for tests/clients/test_through_cdns.py.
//
//   node aisdk.mjs URL WORD...
//
// A chat server writes an answer word by word to the stream at URL; it says no word until the one
// before it was read. One reader is the chat that asked; a second one comes in the middle, as after
// a reload of the page. One line of JSON on stdout says what each of them read.
import { once } from "node:events"
import { createServer } from "node:http"
import { createDurableChatTransport, toDurableStreamResponse } from "@durable-streams/aisdk-transport"
import { readUIMessageStream } from "ai"

const [url, ...words] = process.argv.slice(2)
const heard = words.map(() => Promise.withResolvers())

async function* answer() {
  yield { type: "start", messageId: "one" }
  yield { type: "text-start", id: "text" }
  for (const [at, delta] of words.entries()) {
    if (at > 0) await heard[at - 1].promise
    yield { type: "text-delta", id: "text", delta }
  }
  yield { type: "text-end", id: "text" }
  yield { type: "finish" }
}

const server = createServer(async (request, response) => {
  const told =
    request.method === "POST"
      ? await toDurableStreamResponse({ source: answer(), stream: { writeUrl: url } })
      : Response.json({ streamUrl: url }, { headers: { Location: url } })
  response.writeHead(told.status, Object.fromEntries(told.headers))
  response.end(await told.text())
}).listen(0, "127.0.0.1")
await once(server, "listening")
const transport = createDurableChatTransport({ api: `http://127.0.0.1:${server.address().port}/chat` })

/** All that is said; `progress` is told of each text on the way. */
async function read(chunks, progress) {
  let last = ""
  for await (const message of readUIMessageStream({ stream: chunks })) {
    last = message.parts.map((part) => part.text ?? "").join("")
    progress(last)
  }
  return last
}

const ask = { role: "user", id: "ask", parts: [{ type: "text", text: "Tell." }] }
const chunks = await transport.sendMessages({
  trigger: "submit-message", chatId: "chat", messages: [ask],
})
let again
const asked = await read(chunks, (text) => {
  words.forEach((_, at) => {
    if (text.startsWith(words.slice(0, at + 1).join(""))) heard[at].resolve()
  })
  if (text === words.slice(0, 2).join("")) again ??= transport.reconnectToStream({ chatId: "chat" })
})
console.log(JSON.stringify({ asked, again: await read(await again, () => {}) }))
process.exit(0)
