// What changes in requests and responses that are passed on.

/** Remove the headers with which a request cannot, or must not, be sent to the gateway. */
export function removeUnsent(headers) {
  // fetch fails with this header, which curl sends with a body above 1 MiB.
  headers.delete("Expect")
  // The platform sets X-Forwarded-For. With a Forwarded of its own, a client could exceed its limits.
  headers.delete("Forwarded")
}

/** Let a Location at the gateway's own URL lead to the host of `url`. */
export function relocate(headers, url, { origin }) {
  const place = headers.get("Location") ?? ""
  if (place.startsWith(`${origin}/`)) headers.set("Location", url.origin + place.slice(origin.length))
}
