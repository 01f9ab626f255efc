// The functions as a Cloudflare Worker, which wrangler.jsonc names.

import { answer } from "./functions.mjs"

export default {
  fetch(request, env, ctx) {
    return answer(request, {
      origin: env.ORIGIN,
      // Without it, the runtime may stop the work when the reader has left, before it has cleaned up.
      waitUntil: (work) => ctx.waitUntil(work),
      keepAlive_ms: 1000 * Number(env.KEEP_ALIVE_S ?? 15),
      end_ms: 1000 * Number(env.END_S ?? Infinity), // Cloudflare has no limit while a reader reads
    })
  },
}
