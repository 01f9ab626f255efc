// The streaming functions as a Vercel function for Node.js. Its variable ORIGIN is the URL at which
// Headgate serves streams, such as https://streams.example.com/v1/stream.

import { answer } from "../edge/functions.js"

function streaming(request) {
  return answer(request, {
    origin: process.env.ORIGIN,
    keep: () => {}, // Vercel keeps a function alive for as long as its body is written
    times: {
      keepAlive_s: Number(process.env.KEEP_ALIVE_S ?? 15),
      // Vercel ends a function after its maxDuration, 300 s by default. Events that end before that,
      // after a control event, lose nothing.
      end_s: Number(process.env.END_S ?? 240),
    },
  })
}

export default { fetch: streaming }
