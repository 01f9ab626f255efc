// Wait for a promise for a limited time.

export const LATE = Symbol("nothing came in time")

/** Return the result of a promise, or LATE if it takes longer than `ms` milliseconds. */
export async function within(promise, ms) {
  if (ms === Infinity) return promise // setTimeout would fire at once
  let timer
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, Math.max(0, ms), LATE)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
