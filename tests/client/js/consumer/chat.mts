// The transport is one for the `useChat` of both versions of the AI SDK.
import { useChat } from "@ai-sdk/react"
import { useChat as useChatOf7 } from "@ai-sdk/react-4"
import type { ChatTransport, UIMessage } from "ai"
import type { ChatTransport as ChatTransportOf7, UIMessage as UIMessageOf7 } from "ai-7"
import { RunChatTransport } from "headgate-client/chat"
import { useChatTransport } from "headgate-client/react"

export const of6: ChatTransport<UIMessage> = new RunChatTransport()
export const of7: ChatTransportOf7<UIMessageOf7> = new RunChatTransport({ api: "/api/chat" })

export function Chat(): unknown {
  const transport = useChatTransport()
  return [useChat({ transport }), useChatOf7({ transport })]
}
