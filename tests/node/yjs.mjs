// Drives the official Yjs server and its clients, unmodified, for tests/clients/test_yjs.py.
//
//   node yjs.mjs STREAMS_URL
//
// Two writers share a document until it was compacted twice, and a reader opens it after each
// compaction, when it ends at the snapshot, and once more when there is more. One line of JSON on
// stdout says what the readers saw.
import { YjsProvider } from "@durable-streams/y-durable-streams"
import { YjsServer } from "@durable-streams/y-durable-streams/server"
import { Awareness } from "y-protocols/awareness"
import * as Y from "yjs"

const DEADLINE_MS = 20_000
const log = console.log
console.log = console.error // the server tells of each compaction

async function until(what, condition) {
  const end = Date.now() + DEADLINE_MS
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`never came: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const server = new YjsServer({ port: 0, dsServerUrl: process.argv[2], compactionThreshold: 1500 })
await server.start()
const baseUrl = `${server.url}/v1/yjs/test`
const docId = "shared"
await fetch(`${baseUrl}/docs/${docId}`, { method: "PUT" })
const providers = []

async function open() {
  const doc = new Y.Doc()
  const awareness = new Awareness(doc)
  const provider = new YjsProvider({ doc, baseUrl, docId, awareness })
  providers.push(provider)
  await until("a document that opens", () => provider.synced)
  return { provider, awareness, text: doc.getText("text") }
}

async function snapshot() {
  const found = await fetch(`${baseUrl}/docs/${docId}?offset=snapshot`, { redirect: "manual" })
  return new URL(found.headers.get("location"), baseUrl).searchParams.get("offset")
}

async function opensWith(expected) {
  const reader = await open()
  await until("the whole text", () => reader.text.toString() === expected)
  return reader
}

const writers = [await open(), await open()]
const seen = []
let last = await snapshot()
for (const round of [0, 1]) {
  for (let turn = 0; (await snapshot()) === last; turn++) {
    if (turn > 200) throw new Error("the document is never compacted")
    const { provider, text } = writers[turn % 2]
    text.insert(text.length, `${round}`.repeat(300))
    await provider.flush()
    await until("both to agree", () => `${writers[0].text}` === `${writers[1].text}`)
  }
  last = await snapshot()
  const reader = await opensWith(`${writers[0].text}`)
  writers[0].text.insert(0, `after ${round} `)
  await until("what comes next", () => `${reader.text}` === `${writers[0].text}`)
  seen.push((await opensWith(`${writers[0].text}`)).text.toString() === `${writers[1].text}`)
}
await until("awareness", () => {
  writers[0].awareness.setLocalStateField("name", "one")
  return writers[1].awareness.getStates().get(writers[0].awareness.clientID)?.name === "one"
})
log(JSON.stringify({ opened: seen, snapshot: last }))
process.exit(0)
