// Makes messages of UI message streams, for tests/client/runs/chunk_fuzz.py.
//
//   node read_messages.mjs < CASES
//
// Each line is a case, in JSON: the `body` of an answer, as DefaultChatTransport reads it, and the
// message that it goes on with, `before`, or null. Each line of stdout has, by the versions of the
// AI SDK, the `message` that it makes and the `errors` that it tells of.
import readline from "node:readline"

const versions = { 6: await import("ai"), 7: await import("ai-7") }

async function read({ DefaultChatTransport, readUIMessageStream }, { body, before }) {
  const transport = new DefaultChatTransport({ api: "http://app", fetch: async () => new Response(body) })
  const errors = []
  const about = before === null ? {} : { message: structuredClone(before) }
  const onError = ({ message }) => errors.push(message.slice(0, 200))
  const stream = await transport.reconnectToStream({ chatId: "chat" })
  let message = before
  for await (message of readUIMessageStream({ stream, onError, ...about }));
  return { message, errors }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const made = {}
  for (const version in versions) made[version] = await read(versions[version], JSON.parse(line))
  process.stdout.write(`${JSON.stringify(made)}\n`)
}
