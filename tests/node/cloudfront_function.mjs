// Runs a CloudFront function on events, in a context with nothing of Node's: no require, no timers,
// no network, no code made from text. The file's name is the argument; events come on stdin as
// JSON, and what the handler returns, or how it fails, goes to stdout as JSON.
import { readFileSync } from 'node:fs'
import { createContext, Script } from 'node:vm'

const LONGEST_MS = 1000 // CloudFront's own is about one millisecond of processor time
const IMPORT = 'import cf from "cloudfront";' // the one module that there is, for the origin of a request
const source = readFileSync(process.argv[2], 'utf8').replace(
  IMPORT,
  'let origin; const cf = { updateRequestOrigin: (changes) => { origin = changes } };',
)
const events = JSON.parse(readFileSync(0, 'utf8'))

const answers = events.map((event) => {
  const context = createContext(Object.create(null), {
    codeGeneration: { strings: false, wasm: false },
  })
  const options = { timeout: LONGEST_MS }
  new Script(source).runInContext(context, options)
  const text = JSON.stringify(JSON.stringify(event)) // a literal would make __proto__ special
  const call = `JSON.stringify({ ...handler(JSON.parse(${text})), origin })`
  return JSON.parse(new Script(call).runInContext(context, options))
})
process.stdout.write(JSON.stringify(answers))
