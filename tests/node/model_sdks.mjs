// The SDKs of OpenAI and Anthropic as they are, before a provider or before Headgate.
//
// `node model_sdks.mjs all OPENAI ANTHROPIC` makes every call at these base URLs and prints what it
// got, by the names of the calls. `node model_sdks.mjs text CALL BASE_URL KEY` prints the text of
// one answer as it comes. A last argument is an Idempotency-Key.
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'

const messages = [{ role: 'user', content: 'How is the weather?' }]
const [, , mode, ...rest] = process.argv

function openai(baseURL) {
  return new OpenAI({ baseURL, apiKey: 'sk-mine', maxRetries: 0 })
}

function anthropic(baseURL) {
  return new Anthropic({ baseURL, apiKey: 'sk-ant-mine', maxRetries: 0 })
}

async function collected(stream) {
  const events = []
  for await (const event of await stream) events.push(event)
  return events
}

// What a helper of the SDK tells while it accumulates, by the names of its events.
function told(helper, names) {
  const seen = []
  for (const name of names) helper.on(name, (...values) => seen.push([name, ...values]))
  return seen
}

const calls = {
  async chat(ai, model) {
    return collected(ai.chat.completions.create({ model, messages, stream: true }))
  },
  async chatWhole(ai, model) {
    const { data, response } = await ai.chat.completions.create({ model, messages }).withResponse()
    return [data, response.headers.get('x-provider-id')]
  },
  async chatHelper(ai, model) {
    const helper = ai.chat.completions.stream({ model, messages })
    const seen = told(helper, [
      'content.delta',
      'content.done',
      'tool_calls.function.arguments.delta',
      'tool_calls.function.arguments.done',
      'logprobs.content.delta',
    ])
    const final = await helper.finalChatCompletion()
    return { seen, final, usage: await helper.totalUsage() }
  },
  async completion(ai, model) {
    return collected(ai.completions.create({ model, prompt: 'Hi', stream: true }))
  },
  async response(ai, model) {
    return collected(ai.responses.create({ model, input: 'Hi', stream: true }))
  },
  async responseWhole(ai, model) {
    const whole = await ai.responses.create({ model, input: 'Hi' })
    return [whole, whole.output_text]
  },
  async responseHelper(ai, model) {
    const helper = ai.responses.stream({ model, input: 'Hi' })
    const seen = told(helper, ['response.output_text.delta', 'response.function_call_arguments.delta'])
    return { seen, final: await helper.finalResponse() }
  },
  async message(ai, model) {
    return collected(ai.messages.create({ model, messages, max_tokens: 100, stream: true }))
  },
  async messageWhole(ai, model) {
    return ai.messages.create({ model, messages, max_tokens: 100 })
  },
  async messageHelper(ai, model) {
    const helper = ai.messages.stream({ model, messages, max_tokens: 100 })
    const seen = told(helper, ['text', 'inputJson', 'citation', 'thinking', 'signature', 'contentBlock'])
    return { seen, final: await helper.finalMessage(), text: await helper.finalText() }
  },
}

const texts = {
  async chat(baseURL, options) {
    const body = { model: 'm', messages, stream: true }
    for await (const chunk of await openai(baseURL).chat.completions.create(body, options)) {
      process.stdout.write(chunk.choices[0]?.delta?.content ?? '')
    }
  },
  async response(baseURL, options) {
    const body = { model: 'm', input: 'Hi', stream: true }
    for await (const event of await openai(baseURL).responses.create(body, options)) {
      if (event.type === 'response.output_text.delta') process.stdout.write(event.delta)
    }
  },
  async message(baseURL, options) {
    const body = { model: 'm', messages, max_tokens: 100, stream: true }
    for await (const event of await anthropic(baseURL).messages.create(body, options)) {
      if (event.delta?.type === 'text_delta') process.stdout.write(event.delta.text)
    }
  },
}

if (mode === 'all') {
  const [openaiURL, anthropicURL] = rest
  const got = {}
  for (const [name, call] of Object.entries(calls)) {
    const ai = name.startsWith('message') ? anthropic(anthropicURL) : openai(openaiURL)
    for (const model of ['m', 'tools']) {
      try {
        got[`${name} ${model}`] = await call(ai, model)
      } catch (error) {
        got[`${name} ${model}`] = { error: error.constructor.name, message: error.message }
      }
    }
  }
  console.log(JSON.stringify(got))
} else {
  const [name, baseURL, key] = rest
  try {
    await texts[name](baseURL, { headers: { 'Idempotency-Key': key } })
  } catch (error) {
    process.stdout.write(`\n${error.constructor.name}: ${error.message}`)
    process.exitCode = 1
  }
}
