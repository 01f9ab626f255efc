// Runs the tests of a cache-tests folder, or those that are named, through the cache at a base URL,
// and writes to a file what each of them is and gave: node client.mjs FOLDER BASE_URL FILE [ID …]
import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, baseUrl, file, ...ids] = process.argv.slice(2)

async function load(path) {
  return import(pathToFileURL(join(folder, path)).href)
}

async function exists(path) {
  return access(join(folder, path)).then(
    () => true,
    () => false,
  )
}

const isNew = await exists('test-engine/client/runner.mjs')

// In the npm package, these suites say how long a response is fresh by Expires alone, with which the
// files of nginx and Varnish store nothing. In the repository they say it by Cache-Control, as here.
const VARY = ['vary', 'vary-parse']
const inRepository = ([name, value, ...rest]) =>
  name === 'Expires' ? ['Cache-Control', `max-age=${value}`] : [name, value, ...rest]
const asInRepository = (test) => ({
  ...test,
  requests: test.requests.map((request) =>
    request.response_headers === undefined
      ? request
      : { ...request, response_headers: request.response_headers.map(inRepository) },
  ),
})

const { default: all } = await load('tests/index.mjs')
const suites = all.map((suite) => ({
  ...suite,
  tests: suite.tests
    .filter((test) => ids.length === 0 || ids.includes(test.id))
    .map(isNew || !VARY.includes(suite.id) ? (test) => test : asInRepository),
}))
const tests = suites.flatMap((suite) => suite.tests.map((test) => ({ ...test, suite: suite.id })))

// The suite's own server sends more than it announces where a test sets these fields. Headgate then
// drops what came on that connection in the 100 ms before, now and then the stored response of
// another test. A checkout is run as by the suite's own command line all the same. Of the npm
// package, which every run of the tests plays beside others, such tests come last.
const FRAMING = ['content-length', 'transfer-encoding']
const setsFraming = (test) =>
  test.requests.some(({ response_headers: fields = [] }) =>
    fields.some(([name]) => FRAMING.includes(name.toLowerCase())),
  )
const only = (isWanted) =>
  suites.map((suite) => ({ ...suite, tests: suite.tests.filter(isWanted) }))

const runner = isNew ? 'test-engine/client/runner.mjs' : 'client/runner.mjs'
const parts = isNew
  ? [['all', () => true]]
  : [
      ['plain', (test) => !setsFraming(test)],
      ['framing', setsFraming],
    ]
for (const [part, isWanted] of parts) {
  // Imported anew: a runner runs all tests that it has ever been given.
  const { runTests } = await import(`${pathToFileURL(join(folder, runner)).href}?${part}`)
  await runTests(only(isWanted), ...(isNew ? [] : [fetch]), false, baseUrl)
}
const { getResults } = await load(runner)
const results = getResults()

const report = tests
  .filter((test) => test.id in results)
  .map((test) => ({
    id: test.id,
    suite: test.suite,
    kind: test.kind ?? 'required',
    depends_on: test.depends_on ?? [],
    why: results[test.id] === true ? null : results[test.id].join(': '),
  }))
await writeFile(file, JSON.stringify(report))
process.exit(0) // connections that are kept alive would keep us too
