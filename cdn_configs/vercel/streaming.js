// The streaming functions as a Vercel edge function; HEADGATE_ORIGIN is where Headgate serves streams.

import { answer } from "../edge/functions.js"

export const config = { runtime: "edge" }

// An edge function that has not begun to answer after 25 s is ended. The body ends before that,
// too: then it does not matter whether the platform's limit is of the beginning or of the whole.
const END_S = Number(process.env.HEADGATE_SSE_END_S ?? 20)

export default function streaming(request) {
  // Vercel keeps a function alive while its body is written, so there is nobody to tell.
  return answer(request, { origin: process.env.HEADGATE_ORIGIN, keep: () => {}, end_s: END_S })
}
