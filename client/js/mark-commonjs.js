// The package is made of modules, but for this folder.
import { writeFileSync } from "node:fs"

writeFileSync(new URL("dist/cjs/package.json", import.meta.url), '{ "type": "commonjs" }\n')
