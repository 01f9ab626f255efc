// Drives the Chat of @ai-sdk/react, unmodified, for tests/client/runs/test_chat_with_tools.py.
//
//   node react_chat.mjs VERSION APP MODEL
//
// Each conversation is held twice: with the application at APP, and with a server that the AI SDK's
// own packages make, in this process. Both ask the model at MODEL, and both have the same tools. One
// line of JSON on stdout says what each of the two Chats shows in the end.
import { createOpenAI } from "@ai-sdk/openai"
import { convertToModelMessages, jsonSchema, stepCountIs, streamText, tool } from "ai"

const [version, app, modelUrl] = process.argv.slice(2)
const { Chat } = await import({ 3: "@ai-sdk/react", 4: "@ai-sdk/react-4" }[version])
const {
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses: isDecided,
  lastAssistantMessageIsCompleteWithToolCalls: isAnswered,
} = await import({ 3: "ai", 4: "ai-7" }[version])

const api = `${app}/api/chat`
const QUIET_MS = 30 // without another request: nothing is asked any more
const openai = createOpenAI({ baseURL: modelUrl, apiKey: "none" })
const city = jsonSchema({ type: "object", properties: { city: { type: "string" } } })
const tools = {
  weather: tool({ inputSchema: city, execute: ({ city }) => ({ sky: "clear", city }) }),
  book: tool({ inputSchema: city, needsApproval: true, execute: ({ city }) => ({ room: 7, city }) }),
  location: tool({ inputSchema: jsonSchema({ type: "object" }) }),
}

/** What the AI SDK's own server would answer. */
async function judge(_, { body, signal }) {
  const { messages } = JSON.parse(body)
  const streaming = streamText({
    model: openai.chat("m"),
    messages: await convertToModelMessages(messages, { tools }),
    tools,
    maxRetries: 0,
    stopWhen: stepCountIs(9),
    abortSignal: signal,
    onError: () => {},
  })
  return streaming.toUIMessageStreamResponse({ originalMessages: messages, generateMessageId: () => "answer" })
}

const PATIENCE_MS = 5000
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

async function until(condition) {
  const end = Date.now() + PATIENCE_MS
  while (!condition()) {
    if (Date.now() > end) throw new Error(`in vain: ${condition}`)
    await pause(5)
  }
}

/** The transport of docs/client/transports.md, for answers that are stopped by another page. */
class StoppableChatTransport extends DefaultChatTransport {
  processResponseStream(stream) {
    return super.processResponseStream(stream).pipeThrough(
      new TransformStream({
        transform(chunk, controller) {
          if (chunk.type !== "abort") return controller.enqueue(chunk)
          controller.error(new DOMException("the answer was stopped", "AbortError"))
        },
      }),
    )
  }
}

/** A page of the chat; `requests` counts what it has asked for. */
function open(id, server, { approves, messages = [], Transport = DefaultChatTransport } = {}) {
  const page = { requests: 0, finished: [] }
  const asked = (...about) => (page.requests++, server(...about))
  page.chat = new Chat({
    id,
    messages,
    transport: new Transport({ api, fetch: asked }),
    sendAutomaticallyWhen: (about) => page.requests < 20 && (isAnswered(about) || isDecided(about)),
    onToolCall({ toolCall: { toolName, toolCallId } }) {
      if (toolName === "location") {
        page.chat.addToolOutput({ tool: toolName, toolCallId, output: "Rome" })
      }
    },
    onFinish: ({ isAbort, isError, finishReason }) => {
      page.finished.push({ isAbort, isError, finishReason })
      for (const { state, approval } of page.chat.lastMessage?.parts ?? []) {
        if (state === "approval-requested") {
          setTimeout(() => page.chat.addToolApprovalResponse({ id: approval.id, approved: approves }))
        }
      }
    },
  })
  return page
}

const textOf = ({ parts }) => parts.map(({ text }) => text ?? "").join("")

/** Nothing is under way, and nothing more is asked for. */
async function settled(page) {
  for (let before = -1; before !== page.requests; ) {
    before = page.requests
    await until(() => page.chat.status === "ready" || page.chat.status === "error")
    await pause(QUIET_MS)
  }
}

const conversations = {
  plain: { text: "say Once upon a time" },
  "tool of the page": { text: "call location {} then say You are in Rome" },
  "two tools of the page at once": { text: "call location {} and location {} then say Twice Rome" },
  "two tools of the page in a row": { text: "call location {} then call location {} then say Rome" },
  "tool of the server": { text: 'call weather {"city":"Rome"} then say It is clear' },
  "tools of both": {
    text: 'call weather {"city":"Rome"} and location {} then call location {} then say Clear',
  },
  approved: { text: 'call book {"city":"Rome"} then say Room 7', approves: true },
  denied: { text: 'call book {"city":"Rome"} then say As you like', approves: false },
  "approved, then a tool of the page": {
    text: 'call book {"city":"Rome"} then call location {} then say Done', approves: true,
  },
  length: { text: "say Once upon a..." },
  error: { text: "say Once upon a time!" },
  stop: { text: "say Once upon a time?", act: "stop" },
  reload: { text: 'call weather {"city":"Rome"} then say Once upon a time?', act: "reload" },
  "reload after the answer of the page": {
    text: "call location {} then say Once upon a time?", act: "reload",
  },
  "reload after the answer of the user": {
    text: 'call book {"city":"Rome"} then say Once upon a time?', approves: true, act: "reload",
  },
}

/** Hold a conversation with a server; a page that is loaded anew has what the server keeps. */
async function hold(name, server, { text, approves, act }, isJudge) {
  const id = `${name} ${version}`.replaceAll(/[ ,]+/g, "-")
  let page = open(id, server, { approves })
  const sending = page.chat.sendMessage({ text })
  if (act) {
    await until(() => page.chat.messages.length === 2 && textOf(page.chat.lastMessage).includes("a "))
    if (act === "stop") {
      await page.chat.stop()
      if (!isJudge) await fetch(`${api}/${id}/stop`, { method: "POST" })
    } else if (!isJudge) {
      const { messages } = await (await fetch(`${api}/${id}`)).json()
      page = open(id, server, { messages })
      page.chat.resumeStream()
      await until(() => page.chat.messages.length === 2 && textOf(page.chat.lastMessage).includes("a "))
    }
    await fetch(`${modelUrl}/release`, { method: "POST" })
  }
  if (act !== "reload") await Promise.race([sending, pause(PATIENCE_MS)])
  await settled(page)
  const { messages, status } = page.chat
  return { messages, status, requests: page.requests, finished: page.finished }
}

/** The answer is stopped by another page, where a tool has answered and the model says nothing yet. */
async function stoppedElsewhere() {
  const id = `stopped-elsewhere-${version}`
  const page = open(id, fetch, { Transport: StoppableChatTransport })
  const sending = page.chat.sendMessage({ text: 'call weather {"city":"Rome"} then think Once' })
  await until(() => page.chat.lastMessage?.parts.at(-1)?.state === "output-available")
  await fetch(`${api}/${id}/stop`, { method: "POST" })
  await Promise.race([sending, pause(PATIENCE_MS)])
  await settled(page)
  return { requests: page.requests, status: page.chat.status, isAbort: page.finished[0].isAbort }
}

const report = {}
for (const [name, about] of Object.entries(conversations)) {
  report[name] = {
    judged: await hold(name, judge, about, true),
    run: await hold(name, fetch, about, false).catch(String),
  }
}
report.stoppedElsewhere = await stoppedElsewhere().catch(String)
process.stdout.write(JSON.stringify(report), () => process.exit(0))
