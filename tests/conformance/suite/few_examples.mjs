// fast-check, but no property is tried with more examples than CONFORMANCE_EXAMPLES.
import * as fc from "fast-check"

export * from "fast-check"

const most = Number(process.env.CONFORMANCE_EXAMPLES ?? Infinity)

export const assert = (property, parameters = {}) =>
  fc.assert(property, { ...parameters, numRuns: Math.min(parameters.numRuns ?? 100, most) })
