// Says which chunks the AI SDK's clients take, for tests/client/runs/test_ui_protocol.py.
//
//   node ui_protocol.mjs < CHUNKS
//
// CHUNKS is a JSON array. One line of JSON on stdout has, for each chunk, whether versions 6 and 7
// take it.
import { uiMessageChunkSchema as version6 } from "ai"
import { uiMessageChunkSchema as version7 } from "ai-7"

const schemas = [version6(), version7()]
let input = ""
for await (const piece of process.stdin) input += piece
const taken = []
for (const chunk of JSON.parse(input)) {
  const verdicts = await Promise.all(schemas.map((schema) => schema.validate(chunk)))
  taken.push(verdicts.map(({ success }) => success))
}
process.stdout.write(JSON.stringify(taken), () => process.exit(0))
