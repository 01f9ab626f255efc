// The streaming functions as a Vercel edge function. Its variable ORIGIN is where Headgate serves
// streams, such as https://streams.example.com/v1/stream.

import { answer } from "../edge/functions.js"

export const config = { runtime: "edge" }

export default function streaming(request) {
  return answer(request, {
    origin: process.env.ORIGIN,
    keep: () => {}, // Vercel keeps a function alive for as long as its body is written
    times: {
      keepAlive_s: Number(process.env.KEEP_ALIVE_S ?? 15),
      // Vercel ends a function that has not begun to answer in 25 s, or the whole answer then,
      // depending on whom one asks. Events that end before, behind a control event, lose nothing.
      end_s: Number(process.env.END_S ?? 20),
    },
  })
}
