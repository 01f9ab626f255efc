// Makes a message of a UI message stream, for tests/client/runs/test_continued.py.
//
//   node read_message.mjs VERSION < BODY
//
// BODY is that of an answer, as DefaultChatTransport reads it. One line of JSON on stdout is the message.
const { DefaultChatTransport, readUIMessageStream } = await import(
  { 6: "ai", 7: "ai-7" }[process.argv[2]]
)

const body = () => new Response(new Blob(pieces))
const pieces = await Array.fromAsync(process.stdin)
const transport = new DefaultChatTransport({ api: "http://app", fetch: async () => body() })
let message = null
const stream = await transport.reconnectToStream({ chatId: "chat" })
for await (message of readUIMessageStream({ stream, terminateOnError: true }));
process.stdout.write(JSON.stringify(message), () => process.exit(0))
