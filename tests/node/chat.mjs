// Drives a chat client, unmodified, for tests/client/test_transports.py.
//
//   node chat.mjs CLIENT API
//   node chat.mjs workflow API [START_INDEX]
//   node chat.mjs durable|tanstack API HALF [READ_URL]
//
// The client asks the application at API one question and reads the answer, however often its
// connection is cut. One line of JSON on stdout says what it has read. Each client is loaded only
// where it is driven: they are large.
const [client, api, number, readUrl] = process.argv.slice(2)
const MOST_RESUMES = 10
const CHAT = "a chat/ä"
const QUESTION = { id: "question", role: "user", parts: [{ type: "text", text: "Tell." }] }

// The client below a transport tells of a cut by a second promise, too, that nobody waits for. A
// browser writes that to its console; Node would end.
process.on("unhandledRejection", (error) => {
  if (!(error instanceof TypeError)) throw error
})

const textOf = (message) => message.parts.map((part) => part.text ?? "").join("")

/** The text that chunks say; `progress` is told of it on the way. */
async function read(chunks, progress = () => {}) {
  const { readUIMessageStream } = await import("ai")
  let last = ""
  for await (const message of readUIMessageStream({ stream: chunks, terminateOnError: true })) {
    last = textOf(message)
    progress(last)
  }
  return last
}

/** What is behind the hook: React keeps its state, and here an object does. */
function chat({ AbstractChat, DefaultChatTransport }, messages = []) {
  class Chat extends AbstractChat {}
  const state = {
    messages,
    status: "ready",
    error: undefined,
    pushMessage: (message) => state.messages.push(message),
    popMessage: () => state.messages.pop(),
    replaceMessage: (at, message) => (state.messages[at] = message),
    snapshot: structuredClone,
  }
  return new Chat({ id: CHAT, state, transport: new DefaultChatTransport({ api }) })
}

const shown = ({ messages }) => messages.map((message) => [message.role, textOf(message)])

/** Resume, as a page does when it is told to, until the answer is whole. */
async function resume(chat) {
  const statuses = []
  do {
    await chat.resumeStream()
    statuses.push(chat.status)
  } while (chat.status === "error" && statuses.length < MOST_RESUMES)
  return statuses
}

/** The page stays, or is loaded anew and knows the question alone. */
async function useChat(ai, stays) {
  let page = chat(ai)
  await page.sendMessage({ text: "Tell." })
  const statuses = [page.status]
  const part = shown(page).at(-1)[1]
  if (!stays) page = chat(ai, [QUESTION])
  statuses.push(...(await resume(page)))
  const later = chat(ai, [...page.messages])
  return { part, statuses, shown: shown(page), later: [await resume(later), shown(later)] }
}

/** The transport of docs/client/transports.md, as a page would have it. */
async function stoppable({ DefaultChatTransport }) {
  const { readFile } = await import("node:fs/promises")
  const page = await readFile(new URL("../../docs/client/transports.md", import.meta.url), "utf8")
  const [, code] = page.match(/```js\nimport [^\n]*\n\nexport (class StoppableChatTransport .*?)```/s)
  return new Function("DefaultChatTransport", `return ${code}`)(DefaultChatTransport)
}

/** A page whose answer is stopped by somebody else, and what `onFinish` says of it. */
async function stopped(ai) {
  const Transport = await stoppable(ai)
  const page = chat({ ...ai, DefaultChatTransport: Transport })
  let told
  page.onFinish = ({ isAbort, isError, finishReason }) => (told = { isAbort, isError, finishReason })
  await page.sendMessage({ text: "Tell." })
  return { status: page.status, shown: shown(page), told }
}

/** The whole answer, or what there is of the chat from START_INDEX on. */
async function workflow() {
  const { WorkflowChatTransport } = await import("@ai-sdk/workflow/client")
  const asked = []
  const transport = new WorkflowChatTransport({
    api,
    fetch: (url, init) => (asked.push(String(url).slice(api.length)), fetch(url, init)),
  })
  const about = { chatId: CHAT, messages: [QUESTION], trigger: "submit-message", body: { id: CHAT } }
  const chunks = number
    ? transport.reconnectToStream({ chatId: CHAT, startIndex: Number(number) })
    : transport.sendMessages(about)
  let text
  const reading = read(await chunks, (reached) => (text = reached))
  return { error: await reading.then(() => null, String), text, asked }
}

/** What `read` gives of the chunks from `first`, or from `again` where their connection was cut. */
async function uncut(first, again, read) {
  let chunks = first
  for (let cuts = 0; ; cuts++) {
    try {
      return { cuts, ...(await read(await chunks)) }
    } catch (error) {
      // fetch reports a broken connection as a TypeError; anything else is a fault.
      if (!(error instanceof TypeError) || cuts === MOST_RESUMES) throw error
      chunks = again()
    }
  }
}

/** Two pages of one chat. Each tells the application when it has read half of the answer. */
function pages(open) {
  let second
  const page = () => {
    let told
    return open((length) => {
      if (length > number / 4) second ??= page()
      if (length >= number) told ??= fetch(`${api}/half`, { method: "POST" })
    })
  }
  return page().then(async (first) => [first, await second])
}

/** The first page asks, and the second one is loaded in the middle. */
async function durable() {
  const { createDurableChatTransport } = await import("@durable-streams/aisdk-transport")
  const transport = createDurableChatTransport({ api })
  const about = { chatId: "chat", messages: [QUESTION], trigger: "submit-message" }
  const reconnect = () => transport.reconnectToStream(about)
  const ask = () => transport.sendMessages(about)
  let begin = ask
  const seen = await pages((reached) => {
    const chunks = begin()
    begin = reconnect
    const said = (chunks) => read(chunks, (text) => reached(text.length))
    return uncut(chunks, reconnect, async (chunks) => ({ text: await said(chunks) }))
  })
  return { pages: seen, later: await reconnect() }
}

/** The first page asks, and the second one, loaded in the middle, is given a snapshot first. */
async function tanstack() {
  const { durableStreamConnection } = await import("@durable-streams/tanstack-ai-transport")
  const open = async (reached) => {
    const connection = durableStreamConnection({ sendUrl: api, readUrl })
    const ended = new AbortController()
    let text = ""
    let snapshot
    const subscribe = () => connection.subscribe(ended.signal)
    const { cuts } = await uncut(subscribe(), subscribe, async (chunks) => {
      for await (const chunk of chunks) {
        if (chunk.type === "MESSAGES_SNAPSHOT") {
          snapshot = chunk.messages.map(({ role, parts }) => [role, parts[0]?.content ?? ""])
          if (snapshot.length === 0) await connection.send([QUESTION])
        }
        if (chunk.type === "TEXT_MESSAGE_CONTENT") text += chunk.delta
        if (chunk.type === "RUN_FINISHED") ended.abort()
        reached(snapshot.flat().join("").length + text.length)
      }
    })
    return { snapshot, text, cuts }
  }
  return { pages: await pages(open) }
}

const clients = {
  "useChat of ai 6 stays": async () => useChat(await import("ai"), true),
  "useChat of ai 6 reloads": async () => useChat(await import("ai"), false),
  "useChat of ai 7 stays": async () => useChat(await import("ai-7"), true),
  "useChat of ai 7 reloads": async () => useChat(await import("ai-7"), false),
  "useChat of ai 6 is stopped": async () => stopped(await import("ai")),
  "useChat of ai 7 is stopped": async () => stopped(await import("ai-7")),
  workflow,
  durable,
  tanstack,
}
console.log(JSON.stringify(await clients[client]()))
process.exit(0)
