// Drives StreamDB, unmodified, for tests/clients/test_through_cdns.py.
//
//   node streamdb.mjs URL sse|long-poll NAME...
//
// Two databases of one stream write in turns, a user of each name; an action is done when what it
// wrote has come back by the stream. One line of JSON on stdout says which users each database has.
import { DurableStream } from "@durable-streams/client"
import { createStateSchema, createStreamDB } from "@durable-streams/state/db"

const DEADLINE_MS = 20_000
const [url, live, ...names] = process.argv.slice(2)
const streamOptions = { url, contentType: "application/json" }
const anything = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } }
const state = createStateSchema({ users: { schema: anything, type: "user", primaryKey: "id" } })

function actions({ db, stream }) {
  const add = {
    onMutate: (user) => db.collections.users.insert(user),
    mutationFn: async (user) => {
      const txid = crypto.randomUUID()
      await stream.append(JSON.stringify(state.users.insert({ value: user, headers: { txid } })))
      await db.utils.awaitTxId(txid, DEADLINE_MS)
    },
  }
  return { add }
}

async function users(db) {
  const end = Date.now() + DEADLINE_MS
  while (db.collections.users.size < names.length) {
    if (Date.now() > end) throw new Error(`has ${db.collections.users.size} users`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return db.collections.users.toArray.map(({ id, name }) => [id, name]).sort()
}

await DurableStream.create(streamOptions)
const databases = [0, 1].map(() => createStreamDB({ streamOptions, live, state, actions }))
await Promise.all(databases.map((db) => db.preload()))
for (const [at, name] of names.entries())
  await databases[at % 2].actions.add({ id: `${at}`, name }).isPersisted.promise
console.log(JSON.stringify(await Promise.all(databases.map(users))))
process.exit(0)
