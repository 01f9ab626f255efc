// Prints tests/client/js/react_app.mjs as one script, for the page of tests/client/js/test_react.py.
//
//   node react_app.mjs REACT
//
// With React 18 it has version 6 of the AI SDK, with React 19 version 7.
import { fileURLToPath } from "node:url"
import { rolldown } from "rolldown"

const is18 = process.argv[2] === "18"
const at = (path) => fileURLToPath(new URL(path, import.meta.url))
const module = (name) => at(`node_modules/${name}`)
const bundle = await rolldown({
  input: at("../client/js/react_app.mjs"),
  resolve: {
    alias: {
      react: module(is18 ? "react-18" : "react"),
      "react-dom": module(is18 ? "react-dom-18" : "react-dom"),
      ai: module(is18 ? "ai" : "ai-7"),
      "@ai-sdk/react": module(is18 ? "@ai-sdk/react" : "@ai-sdk/react-4"),
      "headgate-client/react": at("../../client/js/dist/esm/react.js"),
    },
  },
  // Strict mode does nothing in production.
  transform: { define: { "process.env.NODE_ENV": '"development"' } },
  logLevel: "silent",
})
const { output } = await bundle.generate({ format: "esm" })
await bundle.close()
process.stdout.write(output[0].code)
