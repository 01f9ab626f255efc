/** How far a tab has come with a run, and how the run has ended if it has. */
export interface Remembered {
  readonly cursor: string
  readonly end?: string
}

const PREFIX = "headgate-client:"
const MOST_RUNS = 50 // of one tab; a page shows fewer, and 50 cursors are some 10 KB

/** What a tab remembers of its runs when it is loaded anew: their cursors, in `sessionStorage`. */
export class Memory {
  readonly #key: string
  #isNew = true

  constructor(url: string) {
    this.#key = PREFIX + url
  }

  get(): Remembered | undefined {
    try {
      return (JSON.parse(sessionStorage.getItem(this.#key) ?? "null") as Remembered | null) ?? undefined
    } catch {
      return undefined // no storage for this page, or something else of this name
    }
  }

  set(remembered: Remembered): void {
    try {
      if (this.#isNew) this.#makeRoom()
      this.#isNew = false
      sessionStorage.setItem(this.#key, JSON.stringify({ ...remembered, at: Date.now() }))
    } catch {
      // No storage for this page, or a full one: then a reload begins at the beginning.
    }
  }

  /** Forget the runs that were read longest ago. */
  #makeRoom(): void {
    const keys = Object.keys(sessionStorage).filter((key) => key.startsWith(PREFIX) && key !== this.#key)
    if (keys.length < MOST_RUNS) return
    const age = new Map(keys.map((key) => [key, readAt(key)]))
    keys.sort((one, other) => age.get(one)! - age.get(other)!)
    for (const key of keys.slice(0, keys.length - MOST_RUNS + 1)) sessionStorage.removeItem(key)
  }
}

function readAt(key: string): number {
  try {
    return Number((JSON.parse(sessionStorage.getItem(key)!) as { at: number }).at) || 0
  } catch {
    return 0
  }
}
