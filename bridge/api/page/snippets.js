/** The same request as a command or a program. */

const PYTHON = { true: "True", false: "False", null: "None" };

/** Return the request for curl, Python and JavaScript. `base` ends in a slash; `keyed` adds an API key. */
export function snippets({ perspectives, options }, base, keyed) {
  const one = perspectives.length === 1;
  const body = one ? { perspective: perspectives[0], ...options } : { perspectives, ...options };
  const url = `${base}api/v1/perspectives/${one ? "caption" : "analyze"}`;
  return {
    curl: curl(url, body, keyed),
    Python: python(url, body, keyed),
    JavaScript: javascript(base, one ? "caption" : "analyze", one ? perspectives[0] : perspectives, options, keyed),
  };
}

function curl(url, body, keyed) {
  // A semicolon would end a value of -F.
  const lines = ["curl -F image=@photo.jpg", `--form-string ${quoted(`request=${JSON.stringify(body)}`)}`];
  if (keyed) lines.push('-H "Authorization: Bearer $GRAPHCAP_API_KEY"');
  return [...lines, quoted(url)].join(" \\\n  ");
}

/** Quote text for a shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function python(url, body, keyed) {
  // JSON is Python, but for three words outside of strings.
  const word = (token) => PYTHON[token] ?? token;
  const request = JSON.stringify(body, null, 4).replaceAll(/"(?:[^"\\]|\\.)*"|true|false|null/g, word);
  const headers = keyed ? `\n    headers={"Authorization": f"Bearer {os.environ['GRAPHCAP_API_KEY']}"},` : "";
  return `import json${keyed ? "\nimport os" : ""}

import httpx

request = ${request}
response = httpx.post(
    ${JSON.stringify(url)},
    data={"request": json.dumps(request)},
    files={"image": open("photo.jpg", "rb")},${headers}
    timeout=130,
)
print(response.raise_for_status().json())`;
}

function javascript(base, method, perspective, options, keyed) {
  const key = keyed ? ", apiKey: process.env.GRAPHCAP_API_KEY" : "";
  return `import { openAsBlob } from "node:fs";
import { Bridge } from "@graphcap/bridge";

const bridge = new Bridge({ baseUrl: ${JSON.stringify(base)}${key} });
const photo = await openAsBlob("photo.jpg");
const options = ${JSON.stringify(options, null, 2)};
const result = await bridge.${method}(photo, ${JSON.stringify(perspective, null, 2)}, options);
console.log(result);`;
}
