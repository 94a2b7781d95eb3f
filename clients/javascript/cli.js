#!/usr/bin/env node
/** `npx @graphcap/bridge types`: download the types of a bridge's perspectives. */
import { readFile, writeFile } from "node:fs/promises";
import { argv, env, exit, stderr, stdout } from "node:process";
import { parseArgs } from "node:util";
import { Bridge, BridgeError } from "./bridge.js";

const USAGE = `Usage: npx @graphcap/bridge types [URL] [options]

Download TypeScript types of the perspectives' results from the bridge at URL (default http://127.0.0.1:32100).

  --out FILE          write there instead of to standard output
  --check             write nothing; exit with 1 when FILE is out of date
  --perspective NAME  the types of one perspective
  --help              show this help

Where the bridge requires an API key, set GRAPHCAP_API_KEY.
`;

/** @param {string[]} words @returns {Promise<number>} the exit code */
async function main(words) {
  const { values, positionals } = parseArgs({
    args: words,
    allowPositionals: true,
    options: {
      out: { type: "string" },
      check: { type: "boolean" },
      perspective: { type: "string" },
      help: { type: "boolean" },
    },
  });
  const [command, baseUrl, ...rest] = positionals;
  if (values.help) {
    stdout.write(USAGE);
    return 0;
  }
  if (command !== "types" || rest.length || (values.check && !values.out)) {
    stderr.write(USAGE);
    return 2;
  }
  const bridge = new Bridge({ apiKey: env.GRAPHCAP_API_KEY ?? "", ...(baseUrl ? { baseUrl } : {}) });
  const types = await bridge.perspectives.types(values.perspective);
  if (!values.out) {
    stdout.write(types);
  } else if (!values.check) {
    await writeFile(values.out, types);
  } else if ((await readFile(values.out, "utf-8").catch(() => "")) !== types) {
    stderr.write(`${values.out} is out of date. Run this command without --check.\n`);
    return 1;
  }
  return 0;
}

try {
  exit(await main(argv.slice(2)));
} catch (error) {
  const usage = error instanceof TypeError && "code" in error;
  if (!usage && !(error instanceof BridgeError) && !(error instanceof Error && "syscall" in error)) throw error;
  stderr.write(`${/** @type {Error} */ (error).message}\n`);
  exit(usage ? 2 : 1);
}
