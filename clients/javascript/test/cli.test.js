/** The `types` command, against a server that has the route of the types and against the bridge. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env, execPath } from "node:process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { key, keyedUrl } from "./harness.js";

const PROGRAM = fileURLToPath(new URL("../cli.js", import.meta.url));
const TYPES = "export interface Perspectives {}\n";
const folder = mkdtempSync(join(tmpdir(), "types-"));
const file = join(folder, "perspectives.ts");
const server = createServer(({ url }, response) => {
  const text = url === "/prefix/api/v1/perspectives/types.ts" ? TYPES : `// ${url}\n`;
  response.writeHead(200, { "Content-Type": "text/plain" }).end(text);
});
let url = "";

before(async () => {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  url = `http://127.0.0.1:${/** @type {import("node:net").AddressInfo} */ (server.address()).port}/prefix/`;
});
after(() => {
  server.close();
  server.closeAllConnections();
  rmSync(folder, { recursive: true });
});

/** @param {string[]} words @returns {Promise<[number, string, string]>} exit code, output, errors */
function run(...words) {
  return new Promise((resolve) => {
    execFile(execPath, [PROGRAM, ...words], { env: { ...env, GRAPHCAP_API_KEY: key } }, (error, stdout, stderr) =>
      resolve([Number(error?.code ?? 0), stdout, stderr]),
    );
  });
}

test("types are written to standard output or a file", async () => {
  assert.deepEqual(await run("types", url), [0, TYPES, ""]);
  assert.deepEqual(await run("types", url, "--out", file), [0, "", ""]);
  assert.equal(readFileSync(file, "utf-8"), TYPES);
});

test("the types of one perspective", async () => {
  const path = "/prefix/api/v1/perspectives/graph_caption/types.ts";
  assert.deepEqual(await run("types", url, "--perspective", "graph_caption"), [0, `// ${path}\n`, ""]);
});

test("--check tells whether the file is out of date, and leaves it alone", async () => {
  writeFileSync(file, TYPES);
  assert.equal((await run("types", url, "--check", "--out", file))[0], 0);
  writeFileSync(file, "old");
  const [code, , errors] = await run("types", url, "--check", "--out", file);
  assert.deepEqual([code, readFileSync(file, "utf-8")], [1, "old"]);
  assert.match(errors, /out of date/);
  assert.equal((await run("types", url, "--check", "--out", join(folder, "absent.ts")))[0], 1);
});

test("errors are one sentence and an exit code", async () => {
  const [code, output, errors] = await run("types", keyedUrl, "--perspective", "no_such");
  assert.deepEqual([code, output], [1, ""]);
  assert.doesNotMatch(errors, /API key/);
  assert.equal(errors.trim().split("\n").length, 1);
  assert.equal((await run("types", url, "--out", join(folder, "no/such/folder.ts")))[0], 1);
  for (const words of [[], ["other"], ["types", url, "more"], ["types", url, "--check"], ["types", url, "--bogus"]]) {
    assert.equal((await run(...words))[0], 2, words.join(" "));
  }
  assert.equal((await run("--help"))[0], 0);
});
