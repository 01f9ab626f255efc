// Writes tokens at their pace by the official client, for `python -m benchmarks.latency`.
//
//   node token_writer.mjs URL producer|append COUNT EVERY_MS
//
// A token is a JSON array of its number and the milliseconds since 1970 when it was made. Stdout
// says when the first was made, and when the last was stored.
import { DurableStream, IdempotentProducer } from "@durable-streams/client"

const [url, way, count, everyMs] = process.argv.slice(2)
const now = () => performance.timeOrigin + performance.now()
const contentType = "application/json"
const stream = new DurableStream({ url, contentType })
const producer = new IdempotentProducer(stream, crypto.randomUUID())
const appends = []
const token = (number) => JSON.stringify([[number, now()]])
const write = {
  producer: (number) => producer.append(token(number).slice(1, -1)),
  append: (number) => appends.push(stream.append(token(number).slice(1, -1))),
}[way]

const began = now()
for (let number = 0; number < Number(count); number++) {
  const due = began + number * Number(everyMs)
  while (now() < due) await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - now())))
  write(number)
}
await (way === "producer" ? producer.flush() : Promise.all(appends))
process.stdout.write(JSON.stringify({ began, ended: now() }))
