// Drives the Chat of @ai-sdk/react with the transport of the npm package, for tests/client/js/test_chat.py.
//
//   node run_chat.mjs VERSION SITE CUT_SITE...
//
// Each CUT_SITE is SITE through a proxy that cuts answers, for the first scenes. One line of JSON on
// stdout says what has come of each scene.
import { RunChatTransport } from "../../client/js/dist/esm/chat.js"

const [version, site, ...cutSites] = process.argv.slice(2)
const { Chat } = await import({ 3: "@ai-sdk/react", 4: "@ai-sdk/react-4" }[version])
const PATIENCE_MS = 10_000
const CALL = { type: "tool-input-available", toolCallId: "call", toolName: "location", input: {} }

const textOf = ({ parts }) => parts.map(({ text }) => text ?? "").join("")

async function until(condition) {
  const end = Date.now() + PATIENCE_MS
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`in vain: ${condition}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A page of the chat with this name, and what it has asked for. */
function open(name, { at = site, messages = [], answering = fetch, retries } = {}) {
  const id = `${name}-${version}`
  const page = { asked: [], finished: [], id: id }
  const asking = (url, init = {}) => {
    page.asked.push(`${init.method ?? "GET"} ${url.slice(`${at}/api/chat`.length)}`)
    return answering(url, init)
  }
  page.transport = new RunChatTransport({ api: `${at}/api/chat`, fetch: asking, retries })
  page.chat = new Chat({
    id,
    messages,
    transport: page.transport,
    onFinish: ({ isAbort, isError, isDisconnect }) => page.finished.push({ isAbort, isError, isDisconnect }),
  })
  page.say = (...words) =>
    fetch(`${site}/feed/${page.id}`, { method: "POST", body: JSON.stringify(words) })
  page.state = async () => (await fetch(`${site}/state/${page.id}`)).json()
  page.state.is = (status, questions = 1) =>
    until(async () => (await page.state())?.join() === `${questions},${status}`)
  page.stored = async () => textOf((await (await fetch(`${site}/api/chat/${id}`)).json()).messages.at(-1))
  page.shows = (text) => until(() => textOf(page.chat.lastMessage ?? { parts: [] }) === text)
  page.report = async () => ({
    text: textOf(page.chat.lastMessage),
    messages: page.chat.messages.length,
    status: page.chat.status,
    finished: page.finished,
    run: (await page.state())[1],
    asked: page.asked.map((asked) => asked.replace(/\/[^/]+\.[^/]+/, "/RUN").replace(`/${id}/`, "/CHAT/")),
  })
  return page
}

/** A page that has asked, and shows the beginning of the answer. */
async function asked(name, options) {
  const page = open(name, options)
  page.sending = page.chat.sendMessage({ text: "Tell." })
  await until(() => page.say("Once ").then(({ ok }) => ok))
  await page.shows("Once ")
  return page
}

/** Requests of a page of which each stop comes when a run has said some words more. */
function withWords(name, ...words) {
  return async (url, init) => {
    if (url.endsWith("/stop")) {
      const other = open(name)
      other.chat.messages = [{ id: "any", role: "user", parts: [] }]
      const resuming = other.chat.resumeStream()
      await other.shows("Once ")
      await other.say(...words)
      await other.shows(`Once ${words.join("")}`)
      const answer = await fetch(url, init)
      await resuming
      return answer
    }
    return fetch(url, init)
  }
}

/** Requests of a page whose answer is cut after its beginning; what reads on gets `rest`. */
function cutOnce(rest) {
  return async (url, init) => {
    if (init?.method !== "POST") return rest()
    const answer = await fetch(url, init)
    const reader = answer.body.getReader()
    const { value } = await reader.read()
    void reader.cancel()
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(value)
        controller.error(new TypeError("network error"))
      },
    })
    return new Response(body, answer)
  }
}

/** A page whose tool has answered, after which the run goes on in the same message. */
async function answeredByThePage(name, text) {
  const page = open(name)
  const sending = page.chat.sendMessage({ text: "Tell." })
  await until(() => page.say(text, CALL, null).then(({ ok }) => ok))
  await sending
  await page.chat.addToolOutput({ tool: "location", toolCallId: "call", output: "Rome" })
  page.sending = page.chat.sendMessage()
  await page.state.is("active", 2)
  await page.say("upon ")
  await page.shows(`${text}upon `)
  return page
}

const scenes = {
  async "cut in the middle"() {
    const page = await asked("cut", { at: cutSites[0] })
    await page.say("upon ".repeat(400), "a ", "time", null)
    await page.sending
    return page.report()
  },

  async "resumed and cut, behind what the message held before"() {
    const first = await answeredByThePage("behind", "Once ")
    const second = open("behind", { at: cutSites[1], messages: first.chat.messages.slice(0, 1) })
    const resuming = second.chat.resumeStream()
    await second.shows("Once upon ")
    await first.say("a ".repeat(1500), "time", null)
    await Promise.all([first.sending, resuming])
    return second.report()
  },

  async "resumed and cut, in what the message held before"() {
    const first = await answeredByThePage("within", "Once ".repeat(600))
    const second = open("within", { at: cutSites[2], messages: first.chat.messages.slice(0, 1) })
    const resuming = second.chat.resumeStream()
    await second.shows(textOf(first.chat.lastMessage))
    await first.say("a ", "time", null)
    await Promise.all([first.sending, resuming])
    return second.report()
  },

  async "stopped by the second attempt"() {
    let attempts = 0
    const answering = (url, init) =>
      url.endsWith("/stop") && attempts++ === 0 ? new Response("", { status: 503 }) : fetch(url, init)
    const page = await asked("late", { answering })
    await page.chat.stop()
    await page.state.is("stopped")
    return page.report()
  },

  async "stopped before the answer begins"() {
    let release
    const released = new Promise((resolve) => (release = resolve))
    const held = async (url, init) => {
      const answer = await fetch(url, init)
      if (!url.endsWith("/stop")) await released
      return answer
    }
    const page = open("early", { answering: held })
    const sending = page.chat.sendMessage({ text: "Tell." })
    await until(() => page.say("Once ").then(({ ok }) => ok))
    await page.chat.stop()
    release()
    await sending
    await page.state.is("stopped")
    await until(() => page.asked.length === 3)
    return page.report()
  },

  async "stopped while words come"() {
    const page = await asked("words", { answering: withWords("words", "upon ", "a ") })
    await page.chat.stop()
    return { ...(await page.report()), stored: await page.stored() }
  },

  async "resumed, and stopped while words come"() {
    const first = await asked("resumed")
    const answering = withWords("resumed", "upon ", "a ")
    const second = open("resumed", { messages: first.chat.messages.slice(0, 1), answering })
    const resuming = second.chat.resumeStream()
    await second.shows("Once ")
    await second.chat.stop()
    await Promise.all([first.sending, resuming])
    return { ...(await second.report()), stored: await second.stored() }
  },

  async "stopped in vain"() {
    const answering = async (url, init) => (url.endsWith("/stop") ? new Response("") : fetch(url, init))
    const page = await asked("vain", { answering })
    const at = performance.now()
    await page.chat.stop()
    const took = performance.now() - at
    const report = await page.report()
    await page.say(null)
    return { ...report, took: took >= 5000 && took < 6000 ? "5 s" : took }
  },

  async "stopped, and asked again at once"() {
    const page = await asked("again")
    await page.chat.stop()
    page.sending = page.chat.sendMessage({ text: "Again." })
    await page.state.is("active", 2)
    await page.say("Twice", null)
    await page.sending
    return page.report()
  },

  async "stopped by another page"() {
    const page = await asked("elsewhere")
    await page.say("upon ")
    await page.shows("Once upon ")
    await open("elsewhere").transport.stop(page.chat.id)
    await page.sending
    return page.report()
  },

  async "left, which version 7 tells by a stop"() {
    const page = await asked("left")
    page.transport.leave()
    await page.chat.stop()
    await page.say("upon ", null)
    await page.state.is("finished")
    return page.report()
  },

  async "resumed twice, where the second gives up the first"() {
    const first = await asked("twice")
    const second = open("twice", { messages: first.chat.messages.slice(0, 1) })
    const resuming = [second.chat.resumeStream(), second.chat.resumeStream()]
    await second.shows("Once ")
    await first.say("upon ", null)
    await Promise.all([first.sending, ...resuming])
    return second.report()
  },

  async "cut for good"() {
    const answering = cutOnce(() => Promise.reject(new TypeError("fetch failed")))
    const page = open("for-good", { answering, retries: 1 })
    const sending = page.chat.sendMessage({ text: "Tell." })
    await until(() => page.say("Once ", null).then(({ ok }) => ok))
    await sending
    return { status: page.chat.status, finished: page.finished, asked: page.asked.length }
  },

  async "cut, and deleted meanwhile"() {
    const page = open("deleted", { answering: cutOnce(async () => new Response(null, { status: 204 })) })
    const sending = page.chat.sendMessage({ text: "Tell." })
    await until(() => page.say("Once ", null).then(({ ok }) => ok))
    await sending
    return page.chat.error.message
  },

  async "nothing to resume"() {
    const page = await asked("nothing")
    await page.say(null)
    await page.sending
    const later = open("nothing", { messages: page.chat.messages })
    await later.chat.resumeStream()
    return later.report()
  },

  async "an event that is too long, and one at the bound"() {
    const most = 16 * 1024 * 1024
    const read = async (length) => {
      const event = `data: "${"x".repeat(length - 'data: ""'.length)}"`
      const pieces = [event, "\n\n", "data: [DONE]\n\n"]
      const body = ReadableStream.from(pieces.map((piece) => new TextEncoder().encode(piece)))
      const { transport } = open("long", { answering: async () => new Response(body) })
      let count = 0
      for await (const chunk of await transport.reconnectToStream({ chatId: "one" })) count += chunk.length
      return count
    }
    return [await read(most), await read(most + 1).catch(({ message }) => message)]
  },

  async refused() {
    const refused = async () => new Response("who are you?", { status: 401 })
    const page = open("refused", { answering: refused })
    await page.chat.sendMessage({ text: "Tell." })
    return { status: page.chat.status, error: page.chat.error.message, asked: page.asked }
  },
}

const report = {}
for (const [name, scene] of Object.entries(scenes)) {
  const late = new Promise((_, reject) => setTimeout(reject, PATIENCE_MS, new Error("it does not end")))
  report[name] = await Promise.race([scene(), late]).catch((error) => error.stack)
}
process.stdout.write(JSON.stringify(report), () => process.exit(0))
