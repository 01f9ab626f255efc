// What guides show for a Worker: another request with the method and the headers of the first.
export default {
  async fetch(request) {
    const url = new URL(request.url)
    return fetch(`http://127.0.0.1:ORIGIN${url.pathname}${url.search}`, {
      method: request.method,
      headers: request.headers,
    })
  },
}
