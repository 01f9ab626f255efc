// The suite is imported by our own test file, since vitest collects nothing below node_modules.
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["conformance.test.mjs"],
    // Generous, because a busy machine is no protocol error.
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
})
