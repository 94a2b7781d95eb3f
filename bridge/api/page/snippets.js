/** The same request as a command or a program. */

const URL_PATH = "api/v1/perspectives/";

/** Return the request for curl, Python and JavaScript. `base` ends in a slash; `keyed` adds an API key. */
export function snippets({ perspectives, options }, base, keyed) {
  const { synthesize, ...rest } = options;
  const one = perspectives.length === 1;
  const body = one ? { perspective: perspectives[0], ...rest } : { perspectives, ...options };
  const url = base + URL_PATH + (one ? "caption" : "analyze");
  return {
    curl: curl(url, body, keyed),
    Python: python(url, body, keyed),
    JavaScript: javascript(base, perspectives, one ? rest : options, keyed),
  };
}

function curl(url, body, keyed) {
  const lines = ["curl -F image=@photo.jpg", `-F ${quoted(`request=${JSON.stringify(body)}`)}`];
  if (keyed) lines.push('-H "Authorization: Bearer $GRAPHCAP_API_KEY"');
  return [...lines, quoted(url)].join(" \\\n  ");
}

/** Quote text for a shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function python(url, body, keyed) {
  const headers = keyed ? ['    headers={"Authorization": f"Bearer {os.environ[\'GRAPHCAP_API_KEY\']}"},'] : [];
  return [
    "import json",
    ...(keyed ? ["import os"] : []),
    "",
    "import httpx",
    "",
    `request = ${pythonLiteral(body)}`,
    "response = httpx.post(",
    `    ${JSON.stringify(url)},`,
    '    data={"request": json.dumps(request)},',
    '    files={"image": open("photo.jpg", "rb")},',
    ...headers,
    "    timeout=130,",
    ")",
    "print(response.raise_for_status().json())",
  ].join("\n");
}

function pythonLiteral(value, indent = "") {
  const deeper = `${indent}    `;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  const entry = ([key, each]) => (Array.isArray(value) ? "" : `${JSON.stringify(key)}: `) + pythonLiteral(each, deeper);
  const entries = Object.entries(value).map((each) => `${deeper}${entry(each)},\n`);
  return entries.length ? `${open}\n${entries.join("")}${indent}${close}` : open + close;
}

function javascript(base, perspectives, options, keyed) {
  const one = perspectives.length === 1;
  const key = keyed ? ", apiKey: process.env.GRAPHCAP_API_KEY" : "";
  return [
    'import { openAsBlob } from "node:fs";',
    'import { Bridge } from "@graphcap/bridge";',
    "",
    `const bridge = new Bridge({ baseUrl: ${JSON.stringify(base)}${key} });`,
    'const photo = await openAsBlob("photo.jpg");',
    `const options = ${JSON.stringify(options, null, 2)};`,
    `const result = await bridge.${one ? "caption" : "analyze"}(photo, ${JSON.stringify(one ? perspectives[0] : perspectives, null, 2)}, options);`,
    "console.log(result);",
  ].join("\n");
}
