// The streaming functions as a Cloudflare Worker. Its variable ORIGIN is the URL at which Headgate
// serves streams, such as https://streams.example.com/v1/stream.

import { answer } from "../edge/functions.js"

export default {
  fetch(request, env, ctx) {
    return answer(request, {
      origin: env.ORIGIN,
      // Without waitUntil the runtime stops all work when the reader disconnects.
      keep: (work) => ctx.waitUntil(work),
      // Cloudflare does not limit how long a response lasts while it is read.
      times: { keepAlive_s: Number(env.KEEP_ALIVE_S ?? 15), end_s: Number(env.END_S ?? Infinity) },
    })
  },
}
