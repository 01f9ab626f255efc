// A module and what it imports as one script, as the vendors' own tools make it.
import { rolldown } from "rolldown"

export async function bundled(file, form) {
  const bundle = await rolldown({ input: file, external: /^cloudflare:/ })
  const { output } = await bundle.generate(form)
  await bundle.close()
  return output[0].code
}
