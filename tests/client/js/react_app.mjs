// The page of test_react.py: it shows an answer or a chat, as the test has it.
import { useChat } from "@ai-sdk/react"
import { useChatTransport, useRun } from "headgate-client/react"
import { createElement, StrictMode, useState } from "react"
import { createRoot } from "react-dom/client"

export function Answer({ run }) {
  const reduce = (items, item) => [...items, item]
  const { value, status, error } = useRun(run && `/runs/${run}`, { initial: [], reduce })
  return JSON.stringify([value, status, error])
}

function Chat({ id, messages }) {
  const transport = useChatTransport()
  window.chat = useChat({ id, messages, resume: true, transport })
  return window.chat.messages.flatMap(({ parts }) => parts.map(({ text }) => text)).join("")
}

function Page() {
  const [shown, show] = useState({})
  window.show = show
  return shown.name ? createElement({ Answer, Chat }[shown.name], shown.props) : "nothing"
}

if (globalThis.document) {
  createRoot(document.body).render(createElement(StrictMode, null, createElement(Page)))
}
