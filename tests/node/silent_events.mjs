// Reads an event stream with the clients that people have, for tests/clients/test_silence.py.
//
//   node --experimental-eventsource silent_events.mjs URL
//
// One line of JSON on stdout has, for each client, the events that it was given: [name, data].
import { fetchEventSource } from "@microsoft/fetch-event-source"
import { EventSourceParserStream } from "eventsource-parser/stream"

const [url] = process.argv.slice(2)
const NAMES = ["message", "data", "control", "end"]
const isLast = (name, data) => name === "end" || data.includes('"streamClosed"')
Object.assign(globalThis, { window: globalThis, document: { removeEventListener() {} } })

async function parserStream() {
  const read = []
  const { body } = await fetch(url)
  const events = body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())
  for await (const { event, data } of events) read.push([event ?? "message", data])
  return read
}

async function fetchEvents() {
  const read = []
  const onmessage = ({ event, data }) => read.push([event || "message", data])
  await fetchEventSource(url, { onmessage, openWhenHidden: true })
  return read
}

const eventSource = () =>
  new Promise((resolve) => {
    const read = []
    const events = new EventSource(url)
    const take = ({ type, data }) => {
      read.push([type, data])
      if (!isLast(type, data)) return
      events.close()
      resolve(read)
    }
    for (const name of NAMES) events.addEventListener(name, take)
  })

const read = await Promise.all([parserStream(), fetchEvents(), eventSource()])
process.stdout.write(JSON.stringify(read), () => process.exit(0))
