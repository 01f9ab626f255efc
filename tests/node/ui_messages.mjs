// Makes UI messages, for tests/client/runs/test_ui_messages.py.
//
//   node ui_messages.mjs BASE < CASES
//
// Each case is made twice: by the AI SDK itself, of what the provider at BASE/judge/NAME sends, and
// by a page that reads the run at BASE/runs/NAME. One line of JSON on stdout has both of each.
import { createAnthropic } from "@ai-sdk/anthropic"
import { toUIMessageStream } from "@ai-sdk/langchain"
import { createOpenAI } from "@ai-sdk/openai"
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
import { AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage } from "@langchain/core/messages"
import { DefaultChatTransport, jsonSchema, readUIMessageStream, stepCountIs, streamText, tool } from "ai"

const base = process.argv[2]
const QUESTION = { id: "question", role: "user", parts: [{ type: "text", text: "Tell." }] }
// What the AI SDK leaves to the application; ours says it in these words.
const NO_JSON = "the input of the tool is not JSON"

/** The message, and how its stream ended. */
async function read(stream) {
  const ended = { finishReason: null, errors: [], isAborted: false }
  const watched = stream.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        if (chunk.type === "finish") ended.finishReason = chunk.finishReason ?? null
        if (chunk.type === "error") ended.errors.push(chunk.errorText)
        if (chunk.type === "abort") ended.isAborted = true
        controller.enqueue(chunk)
      },
    }),
  )
  let message = null
  for await (message of readUIMessageStream({ stream: watched, onError: () => {} }));
  return { message, ...ended }
}

/** The tokens, without the fields that are deprecated and those in the provider's own words. */
function usageOf({ part }) {
  if (part.type !== "finish") return undefined
  const { raw, reasoningTokens, cachedInputTokens, ...usage } = part.totalUsage
  return { usage }
}

const providers = {
  "openai-chat": (url) => {
    const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" })
    return { model: openai.chat("gpt-5"), tools: {} }
  },
  "openai-compatible": (url) => {
    const service = createOpenAICompatible({ name: "service", baseURL: `${url}/v1` })
    return { model: service.chatModel("deepseek-reasoner"), tools: {} }
  },
  "openai-responses": (url) => {
    const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" })
    const { webSearch, fileSearch, codeInterpreter, imageGeneration, customTool } = openai.tools
    const tools = {
      web_search: webSearch({}),
      file_search: fileSearch({ vectorStoreIds: ["vs_1"] }),
      code_interpreter: codeInterpreter({}),
      image_generation: imageGeneration({}),
      query: customTool({ name: "query" }),
    }
    return { model: openai.responses("gpt-5"), tools }
  },
  anthropic: (url) => {
    const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: "none" })
    const { webSearch_20250305, webFetch_20250910, codeExecution_20250825 } = anthropic.tools
    const { toolSearchBm25_20251119, advisor_20260301 } = anthropic.tools
    const tools = {
      web_search: webSearch_20250305({}),
      web_fetch: webFetch_20250910({}),
      code_execution: codeExecution_20250825({}),
      tool_search_tool_bm25: toolSearchBm25_20251119({}),
      advisor: advisor_20260301({ model: "claude-opus-5" }),
    }
    return { model: anthropic("claude-sonnet-5"), tools }
  },
}

/** A tool of the application's; it is called where the case has outputs of it. */
const functionTool = (outputs) =>
  tool({
    inputSchema: jsonSchema({ type: "object" }),
    ...(outputs && { execute: (_, { toolCallId }) => outputs[toolCallId] }),
  })

/** A message of LangChain as its class has it in JavaScript. */
function revived(value) {
  if (Array.isArray(value)) return value.map(revived)
  if (value === null || typeof value !== "object") return value
  const kinds = { AIMessageChunk, ai: AIMessage, human: HumanMessage, system: SystemMessage, tool: ToolMessage }
  const fields = Object.fromEntries(Object.entries(value).map(([key, each]) => [key, revived(each)]))
  if (value.type === "citation") {
    const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase())
    return Object.fromEntries(Object.entries(fields).map(([key, each]) => [camel(key), each]))
  }
  const Kind = "content" in value && kinds[value.type]
  return Kind ? new Kind(fields) : fields
}

/** An event of LangGraph for Python as it is for JavaScript, which has no version 2. */
function asTuple(event) {
  const asked = event.interrupts?.length > 0 && { __interrupt__: event.interrupts }
  const data = asked ? { ...event.data, ...asked } : event.data
  if (event.ns) return [...(event.ns.length > 0 ? [event.ns] : []), event.type, data]
  return Array.isArray(event) && event[0].content !== undefined ? ["messages", event] : event
}

const judges = {
  langchain: ({ events }) => toUIMessageStream(ReadableStream.from(events.map(asTuple).map(revived))),
  provider({ name, api, outputs, calls }) {
    const { model, tools } = providers[api](`${base}/judge/${name}`)
    tools.weather = functionTool(outputs)
    const streaming = streamText({
      model, tools, prompt: "Tell.", maxRetries: 0, stopWhen: stepCountIs(calls), onError: () => {},
    })
    const onError = () => NO_JSON
    return streaming.toUIMessageStream({ sendSources: true, messageMetadata: usageOf, onError })
  },
}

function run({ name }) {
  const transport = new DefaultChatTransport({ api: `${base}/runs/${name}` })
  return transport.sendMessages({ chatId: name, messages: [QUESTION], trigger: "submit-message" })
}

let input = ""
for await (const piece of process.stdin) input += piece
const made = {}
for (const each of JSON.parse(input)) {
  const judged = await read(judges[each.events ? "langchain" : "provider"](each))
  made[each.name] = { judged, run: await read(await run(each)) }
}
process.stdout.write(JSON.stringify(made), () => process.exit(0))
