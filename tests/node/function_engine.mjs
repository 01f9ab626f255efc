// A function of Vercel in the runtime that Vercel runs it in, Node.js, until SIGTERM.
//
//   node function_engine.mjs FILE PORT
//
// FILE is a module whose default export has `fetch`. Vercel hands such a
// function a Request whose signal tells that the client has left (`supportsCancellation`).
import { createServer } from "node:http"
import { pathToFileURL } from "node:url"
import { pipeline } from "node:stream/promises"
import { Readable } from "node:stream"

const [file, port] = process.argv.slice(2)
const { default: handler } = await import(pathToFileURL(file))

function requestOf(incoming, signal) {
  const { method, url, rawHeaders } = incoming
  const headers = new Headers()
  for (let at = 0; at < rawHeaders.length; at += 2) headers.append(rawHeaders[at], rawHeaders[at + 1])
  const body = ["GET", "HEAD"].includes(method) ? null : Readable.toWeb(incoming)
  const target = `http://${incoming.headers.host}${url}`
  return new Request(target, { method, headers, body, signal, duplex: "half" })
}

async function serve(incoming, outgoing) {
  const leaving = new AbortController()
  outgoing.on("close", () => leaving.abort())
  const response = await handler.fetch(requestOf(incoming, leaving.signal))
  for (const [name, value] of response.headers) outgoing.appendHeader(name, value)
  outgoing.writeHead(response.status)
  if (response.body === null) return outgoing.end()
  outgoing.flushHeaders()
  // A body that fails cuts the answer, so that its reader sees that it is not whole.
  await pipeline(Readable.fromWeb(response.body), outgoing).catch(() => {})
}

createServer(serve).listen(Number(port), "127.0.0.1")
