// Reads views as docs/views.md says, for tests/views.
//
//   node --experimental-eventsource view_clients.mjs EXAMPLE BASE
//
// EXAMPLE is the module with `fetchView`, and BASE the URL of a stream whose responses are cut. One
// line of JSON on stdout has what each client has read.
import { HttpAgent } from "@ag-ui/client"
import { DefaultChatTransport, readUIMessageStream } from "ai"

const [example, base] = process.argv.slice(2)
const { fetchView } = await import(example)

async function useChat() {
  const transport = new DefaultChatTransport({
    api: "/api/chat",
    fetch: fetchView,
    prepareReconnectToStreamRequest: () => ({ api: `${base}?view=ai-sdk` }),
  })
  let message = null
  const stream = await transport.reconnectToStream({ chatId: "chat" })
  for await (message of readUIMessageStream({ stream, terminateOnError: true }));
  return message
}

async function agUi() {
  const fetch = (url, { signal }) => fetchView(url, { signal })
  const agent = new HttpAgent({ url: `${base}?view=ag-ui`, fetch })
  await agent.runAgent()
  return agent.messages
}

const eventSource = () =>
  new Promise((resolve) => {
    const read = []
    const events = new EventSource(`${base}?view=sse`)
    events.onmessage = (event) => read.push(event.data)
    events.addEventListener("end", () => {
      events.close()
      resolve(read)
    })
  })

const read = await Promise.all([useChat(), agUi(), eventSource()])
process.stdout.write(JSON.stringify(read), () => process.exit(0))
