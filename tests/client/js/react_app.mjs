// The page of test_react.py: it shows an answer or a chat, as the test has it.
import { Chat as OwnChat, useChat } from "@ai-sdk/react"
import { DefaultChatTransport } from "ai"
import { useChatTransport, useRun } from "headgate-client/react"
import { createElement, StrictMode, useMemo, useState } from "react"
import { createRoot } from "react-dom/client"

export function Answer({ run }) {
  const reduce = (items, item) => [...items, item]
  const { value, status, error } = useRun(run && `/runs/${run}`, { initial: [], reduce })
  return JSON.stringify([value, status, error])
}

/** A chat with the transport of the npm package; with options, with that of the AI SDK. */
function Chat({ id, messages, options, isOwn }) {
  const ours = useChatTransport()
  const about = useMemo(() => {
    const transport = options ? new DefaultChatTransport(options) : ours
    return isOwn ? { chat: new OwnChat({ id, transport }) } : { id, messages, transport }
  }, [id])
  return text((window.chat = useChat({ ...about, resume: true })))
}

const text = ({ messages }) => messages.flatMap(({ parts }) => parts.map(({ text }) => text)).join("")

function Page() {
  const [shown, show] = useState({})
  window.show = show
  return shown.name ? createElement({ Answer, Chat }[shown.name], shown.props) : "nothing"
}

if (globalThis.document) {
  createRoot(document.body).render(createElement(StrictMode, null, createElement(Page)))
}
