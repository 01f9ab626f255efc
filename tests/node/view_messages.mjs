// Judges views of streams, for tests/views.
//
//   node view_messages.mjs < CASES
//
// A list of cases, each with the bodies of the views `ai-sdk` and `ag-ui` of one stream. One line of
// JSON on stdout has for each the message that the AI SDK makes, and the messages of AG-UI's client,
// which throws at an event that is not valid where it comes.
import { enforceEvents, HttpAgent, verifyEvents } from "@ag-ui/client"
import { DefaultChatTransport, readUIMessageStream } from "ai"
import { text } from "node:stream/consumers"
import { isDeepStrictEqual } from "node:util"
import { from, lastValueFrom, toArray } from "rxjs"

const HEAD = { headers: { "content-type": "text/event-stream" } }

async function readUiMessage(body) {
  const fetch = async () => new Response(body, HEAD)
  const transport = new DefaultChatTransport({ api: "http://app", fetch })
  const errors = []
  let message = null
  const stream = await transport.reconnectToStream({ chatId: "chat" })
  const onError = (error) => errors.push(String(error.message ?? error))
  for await (message of readUIMessageStream({ stream, onError }));
  return { message, errors }
}

async function verify(body) {
  const blocks = body.split("\n\n").filter(Boolean)
  const events = blocks.flatMap((block) => {
    const data = block.split("\n").find((line) => line.startsWith("data: "))
    return data === undefined ? [] : [JSON.parse(data.slice(6))] // the last id may be in a comment
  })
  const verified = from(events).pipe(enforceEvents(false), verifyEvents(false), toArray())
  const kept = await lastValueFrom(verified)
  if (!isDeepStrictEqual(kept, events)) throw new Error("events were changed")
  return kept.map((event) => event.type)
}

/** The messages of an agent whose server answers with a view of one run. */
async function runAgent(body) {
  const agent = new HttpAgent({ url: "http://app", fetch: async () => new Response(body, HEAD) })
  await agent.runAgent({}).catch(() => {})
  return agent.messages
}

async function judge({ aiSdk, agUi }) {
  return { ...(await readUiMessage(aiSdk)), types: await verify(agUi), messages: await runAgent(agUi) }
}

const judged = []
for (const one of JSON.parse(await text(process.stdin))) judged.push(await judge(one).catch((error) => ({ failed: String(error) })))
process.stdout.write(JSON.stringify(judged), () => process.exit(0))
