// Validate glTF files with the Khronos validator and print one JSON array, a report per file, on stdout.
// Usage: node tools/gltf_validate.mjs FILE...   Exit code 0 when every file could be examined, whatever was found.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const validator = createRequire(import.meta.url)("gltf-validator");
const MAX_ISSUES = 1000; // A broken file can hold millions; `truncated` then says so.

const reports = [];
for (const path of process.argv.slice(2)) {
  const options = { uri: path, maxIssues: MAX_ISSUES, writeTimestamp: false };
  const { issues, info } = await validator.validateBytes(new Uint8Array(readFileSync(path)), options);
  const { numErrors, numWarnings, numInfos, truncated, messages } = issues;
  const extensions = [...(info?.extensionsUsed ?? []), ...(info?.extensionsRequired ?? [])];
  reports.push({ path, numErrors, numWarnings, numInfos, truncated, extensions, messages });
}
process.stdout.write(JSON.stringify(reports) + "\n");
