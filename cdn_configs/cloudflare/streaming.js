// The streaming functions as a Cloudflare Worker; env.ORIGIN is where Headgate serves streams.

import { answer } from "../edge/functions.js"

export default {
  fetch(request, env, ctx) {
    // Without waitUntil the runtime may end a request whose body is still being written.
    return answer(request, { origin: env.ORIGIN, keep: (work) => ctx.waitUntil(work) })
  },
}
