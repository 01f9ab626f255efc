// A Worker that has the Cache API keep what it takes.
const told = (response, how) => {
  const copy = new Response(response.body, response)
  copy.headers.set("X-Cache-Status", how)
  return copy
}

export default {
  async fetch(request) {
    const kept = await caches.default.match(request.url)
    if (kept) return told(kept, "HIT")
    const { pathname, search } = new URL(request.url)
    const response = await fetch(`http://127.0.0.1:ORIGIN${pathname}${search}`)
    await caches.default.put(request.url, response.clone())
    return told(response, "MISS")
  },
}
