// Answers of models as OpenAI's and Anthropic's SDKs and the AI SDK read them, many by one process.
//
// Each line of the input is {"id", "sdk", "kind", "base", "model", "key"}; each line of the output
// has the id, the text that was read, and the error that ended it, or null.
import { createInterface } from 'node:readline'
import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAI } from '@ai-sdk/openai'
import Anthropic from '@anthropic-ai/sdk'
import { streamText } from 'ai'
import OpenAI from 'openai'

console.error = () => {} // where SDKs log what they raise, too
globalThis.AI_SDK_LOG_WARNINGS = false // to the output, which is for results

const messages = [{ role: 'user', content: 'Hi' }]
const apiKey = 'sk-mine'

function openai({ base }) {
  return new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0, logLevel: 'off' })
}

function anthropic({ base }) {
  return new Anthropic({ baseURL: base, apiKey, maxRetries: 0, logLevel: 'off' })
}

const streams = {
  chat: (call, options) =>
    openai(call).chat.completions.create({ model: call.model, messages, stream: true }, options),
  response: (call, options) =>
    openai(call).responses.create({ model: call.model, input: 'Hi', stream: true }, options),
  message: (call, options) =>
    anthropic(call).messages.create({ model: call.model, messages, max_tokens: 9, stream: true }, options),
}

const pieces = {
  chat: (event) => event.choices?.[0]?.delta?.content,
  response: (event) => event.type === 'response.output_text.delta' && event.delta,
  message: (event) => event.delta?.type === 'text_delta' && event.delta.text,
}

const aiModels = {
  chat: (call) => createOpenAI({ baseURL: `${call.base}/v1`, apiKey }).chat(call.model),
  response: (call) => createOpenAI({ baseURL: `${call.base}/v1`, apiKey }).responses(call.model),
  message: (call) => createAnthropic({ baseURL: `${call.base}/v1`, apiKey })(call.model),
}

async function readBySdk(call, found) {
  const options = { headers: { 'Idempotency-Key': call.key } }
  for await (const event of await streams[call.kind](call, options)) {
    found.text += pieces[call.kind](event) || ''
  }
}

async function readByAi(call, found) {
  const result = streamText({
    model: aiModels[call.kind](call),
    prompt: 'Hi',
    headers: { 'Idempotency-Key': call.key },
    maxRetries: 0,
    onError: () => {},
  })
  for await (const part of result.fullStream) {
    if (part.type === 'text-delta') found.text += part.text
    if (part.type === 'error') found.error ??= String(part.error?.message ?? JSON.stringify(part.error))
  }
}

async function read(line) {
  const call = JSON.parse(line)
  const found = { id: call.id, text: '', error: null }
  try {
    await (call.sdk === 'ai' ? readByAi : readBySdk)(call, found)
  } catch (error) {
    found.error ??= `${error.constructor.name}: ${error.message}`
  }
  process.stdout.write(`${JSON.stringify(found)}\n`)
}

process.on('unhandledRejection', () => {}) // results of the AI SDK that nobody awaits
createInterface({ input: process.stdin }).on('line', read)
