// The streaming functions as a Cloudflare Worker. Its variable ORIGIN is where Headgate serves
// streams, such as https://streams.example.com/v1/stream.

import { answer } from "../edge/functions.js"

export default {
  fetch(request, env, ctx) {
    return answer(request, {
      origin: env.ORIGIN,
      // Without waitUntil the runtime ends work for a reader who has left, wherever it is.
      keep: (work) => ctx.waitUntil(work),
      // Cloudflare ends no answer that is being read.
      times: { keepAlive_s: Number(env.KEEP_ALIVE_S ?? 15), end_s: Number(env.END_S ?? Infinity) },
    })
  },
}
