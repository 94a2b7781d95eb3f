// One behaviour of the official JavaScript client against a running bridge: node check.mjs <base URL> <case>,
// with the model, the image as a data URI and what the model answers as one line of JSON on standard input.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import OpenAI from "openai";

const [baseURL, name] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { model, image, answer } = JSON.parse((await lines.next()).value);
const client = new OpenAI({ baseURL, apiKey: "anything", maxRetries: 0, timeout: 30_000 });
const messages = [
  { role: "system", content: "Be brief." },
  {
    role: "user",
    content: [
      { type: "image_url", image_url: { url: image, detail: "auto" } },
      { type: "text", text: "Taken at the fair." },
    ],
  },
];
const schema = {
  type: "object",
  properties: { mood: { type: "string" } },
  required: ["mood"],
  additionalProperties: false,
};

const ask = (changes = {}) => client.chat.completions.create({ model, messages, ...changes });
const failure = async (promise) => {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert.fail("no error");
};

const cases = {
  async whole() {
    const made = await ask({ temperature: 0.2, max_completion_tokens: 200 });
    assert.deepEqual(JSON.parse(made.choices[0].message.content), answer);
    assert.equal(made.choices[0].finish_reason, "stop");
    assert.equal(made.id, `chatcmpl-${made._request_id}`);
    assert.equal(made.usage.prompt_tokens_details.cached_tokens, 64);
  },

  async text() {
    const made = await ask({ response_format: { type: "text" } });
    assert.equal(made.choices[0].message.content, `It looks ${answer.look}.`);
  },

  async schema() {
    const made = await client.chat.completions.parse({
      model: "@studio",
      messages,
      response_format: { type: "json_schema", json_schema: { name: "mood", strict: true, schema } },
    });
    assert.deepEqual(JSON.parse(made.choices[0].message.content), { mood: "calm" });
  },

  async stream() {
    const chunks = [];
    for await (const chunk of await ask({ stream: true, stream_options: { include_usage: true } })) {
      chunks.push(chunk);
    }
    assert.equal(chunks[0].choices[0].delta.role, "assistant");
    const content = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
    assert.deepEqual(JSON.parse(content), answer);
    assert.ok(chunks.at(-1).usage.total_tokens > 0);
  },

  async helper() {
    const stream = client.chat.completions.stream({ model, messages });
    assert.deepEqual(JSON.parse(await stream.finalContent()), answer);
  },

  async broken() {
    const stream = await ask({ stream: true });
    const seen = [];
    const error = await failure(
      (async () => {
        for await (const chunk of stream) seen.push(chunk.choices[0].delta.content);
      })(),
    );
    assert.ok(error instanceof OpenAI.APIError);
    assert.equal(error.code, "answer_truncated");
    assert.deepEqual(seen, [""]);
  },

  async unknown() {
    for (const stream of [false, true]) {
      const error = await failure(ask({ model: "gpt-4o", stream }));
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.deepEqual([error.code, error.param], ["model_not_found", "model"]);
    }
  },

  async refused() {
    const error = await failure(ask({ n: 2 }));
    assert.ok(error instanceof OpenAI.UnprocessableEntityError);
    assert.deepEqual([error.code, error.param], ["invalid_request", "n"]);
  },

  async final() {
    const error = await failure(client.withOptions({ maxRetries: 2 }).chat.completions.create({ model, messages }));
    assert.ok(error instanceof OpenAI.InternalServerError);
    assert.equal(error.code, "answer_truncated");
  },

  async models() {
    const names = [];
    for await (const one of client.models.list()) names.push(one.id);
    assert.ok(names.includes("look") && names.includes(model));
    assert.equal((await client.models.retrieve(model)).owned_by, "graphcap");
  },

  // Aborts at the second line of standard input.
  async abort() {
    const stream = await ask({ stream: true });
    lines.next().then(() => stream.controller.abort());
    const seen = [];
    for await (const chunk of stream) seen.push(chunk.choices[0].delta.content);
    assert.deepEqual(seen, [""]);
    console.log("aborted");
    await lines.next();
  },
};

await cases[name]();
