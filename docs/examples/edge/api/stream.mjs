// The functions as a Vercel function for Node.js, which vercel.json names.

import { answer } from "../functions.mjs"

export default {
  fetch(request) {
    return answer(request, {
      origin: process.env.ORIGIN,
      waitUntil: () => {}, // Vercel keeps a function alive while its body is written
      keepAlive_ms: 1000 * Number(process.env.KEEP_ALIVE_S ?? 15),
      end_ms: 1000 * Number(process.env.END_S ?? 240), // of maxDuration, 300 s; 24 for a cap of 25 s
    })
  },
}
