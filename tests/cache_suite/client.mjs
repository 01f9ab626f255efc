// Runs the tests of a cache-tests folder through the cache at a base URL, and writes to a file
// what each of them is and gave: node client.mjs FOLDER BASE_URL FILE
import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const AT_ONCE = 60 // tests under way; each mostly waits for something to become stale

const [folder, baseUrl, file] = process.argv.slice(2)

async function load(path) {
  return import(pathToFileURL(join(folder, path)).href)
}

async function exists(path) {
  return access(join(folder, path)).then(
    () => true,
    () => false,
  )
}

const { default: suites } = await load('tests/index.mjs')
const tests = suites.flatMap((suite) => suite.tests.map((test) => ({ ...test, suite: suite.id })))

let results
if (await exists('test-engine/client/runner.mjs')) {
  const { runTests, getResults } = await load('test-engine/client/runner.mjs')
  await runTests(suites, false, baseUrl, AT_ONCE)
  results = getResults()
} else {
  const { runTests, getResults } = await load('client/runner.mjs')
  await runTests(suites, fetch, false, baseUrl, AT_ONCE)
  results = getResults()
}

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
