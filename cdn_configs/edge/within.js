// Waiting for no longer than so long.

export const LATE = Symbol("nothing came in time")

/** What a promise gives, or LATE when it takes longer. */
export async function within(promise, ms) {
  if (ms === Infinity) return promise // a timer of so many milliseconds would end at once
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
