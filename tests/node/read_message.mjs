// Makes messages of UI message streams, for tests/client/runs.
//
//   node read_message.mjs VERSION < BODIES
//
// Each body is that of an answer, as DefaultChatTransport reads it; between them is a NUL. One line of
// JSON on stdout is a list of the messages.
const { DefaultChatTransport, readUIMessageStream } = await import(
  { 6: "ai", 7: "ai-7" }[process.argv[2]]
)

async function read(body) {
  const fetch = async () => new Response(body)
  const transport = new DefaultChatTransport({ api: "http://app", fetch })
  let message = null
  const stream = await transport.reconnectToStream({ chatId: "chat" })
  for await (message of readUIMessageStream({ stream, terminateOnError: true }));
  return message
}

const bodies = Buffer.concat(await Array.fromAsync(process.stdin)).toString().split("\0")
process.stdout.write(JSON.stringify(await Promise.all(bodies.map(read))), () => process.exit(0))
