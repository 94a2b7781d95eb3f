/** The page of the bridge in Chromium: what a visitor sees and can do. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { env } from "node:process";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { chromium } from "playwright-core";
import { control, photo, reply, url } from "./harness.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf-8");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
const CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];
const GUARD = 60_000;
/** Where files go that tests/clients/javascript/test_page.py reads. */
const folder = env.PAGE_FILES ?? "/nonexistent";
const HOSTILE = '<img src=x onerror="document.title=1">';
const SCENE = {
  scene: "A café table in warm light, seen from above.",
  objects: [
    { id: "o1", label: "espresso cup", box: box(0.28, 0.05, 0.69, 0.77), attributes: ["red", "glazed"] },
    { id: "o2", label: "saucer", box: box(0.13, 0.16, 0.8, 0.97), attributes: ["red", "round"] },
    { id: "o3", label: "spoon", box: box(0.54, 0.16, 0.71, 0.82), attributes: ["steel"] },
  ],
  relations: [
    { source: "o1", relation: "on", target: "o2" },
    { source: "o3", relation: "lies beside", target: "o1" },
  ],
  caption: "A red espresso cup stands on its saucer on a wooden table, a steel spoon beside it.",
};

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {import("playwright-core").Page} */
let page;
/** @type {string[]} */
let complaints;
/** @type {Set<string>} */
let hosts;

before(async () => {
  const executablePath = env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath, args: [...FLAGS, ...CAMERA] });
});

after(() => browser?.close());

beforeEach(async () => {
  await control("reset");
  complaints = [];
  hosts = new Set();
});

/** No test leaves a violation of the content policy, an error, or a request to another host behind. */
afterEach(async () => {
  const origin = new URL(page.url()).host;
  await page.context().close();
  const expected = /Failed to load resource|WebSocket connection to/;
  assert.deepEqual(complaints.filter((complaint) => !expected.test(complaint)), []);
  assert.deepEqual([...hosts].filter((host) => host !== origin), []);
});

/** @param {number} x_min @param {number} y_min @param {number} x_max @param {number} y_max */
function box(x_min, y_min, x_max, y_max) {
  return { x_min, y_min, x_max, y_max };
}

/** Open the page. @param {import("playwright-core").BrowserContextOptions & {at?: string | undefined, listed?: boolean}} [options] */
async function open({ at = `${url}/`, listed = true, ...options } = {}, of = browser) {
  const context = await of.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  page = await context.newPage();
  page.setDefaultTimeout(GUARD);
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("request", (request) => /^(http|ws)/.test(request.url()) && hosts.add(new URL(request.url()).host));
  page.on("request", (request) => env.PAGE_KEY && request.url().includes(env.PAGE_KEY) && complaints.push(request.url()));
  page.on("websocket", (socket) => hosts.add(new URL(socket.url()).host));
  await page.addInitScript(() => {
    const seen = /** @type {any} */ (window);
    seen.shifts = [];
    document.addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective}`));
    new PerformanceObserver((list) => {
      for (const entry of /** @type {any[]} */ (list.getEntries())) if (!entry.hadRecentInput) seen.shifts.push(entry.value);
    }).observe({ type: "layout-shift", buffered: false });
  });
  await page.goto(at);
  if (listed) await page.getByRole("checkbox", { name: /^Scene Graph/ }).waitFor();
}

/** Choose perspectives and the scripted provider. @param {string[]} titles */
async function choose(...titles) {
  await page.getByRole("button", { name: "Clear" }).first().click();
  for (const title of titles) await page.getByRole("checkbox", { name: new RegExp(`^${title}`) }).check();
  await page.getByLabel("Provider").first().selectOption("studio");
}

/** Drop files as a visitor does. @param {{name: string, bytes?: Buffer, type?: string}[]} files */
async function drop(...files) {
  const encoded = files.map(({ name, bytes = photo, type = "image/jpeg" }) => ({ name, type, data: bytes.toString("base64") }));
  const dataTransfer = await page.evaluateHandle((list) => {
    const transfer = new DataTransfer();
    for (const { name, type, data } of list) {
      const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
      transfer.items.add(new File([bytes], name, { type }));
    }
    return transfer;
  }, encoded);
  await page.dispatchEvent("#stage", "dragover", { dataTransfer });
  await page.dispatchEvent("#stage", "drop", { dataTransfer });
}

const start = () => page.locator("#go").click();
const tab = (/** @type {string} */ name) => page.getByRole("tab", { name, exact: true });
const failed = (/** @type {string} */ code) => page.locator(`.failure[data-code=${code}]`).first().waitFor();

/** Wait until every perspective has ended in this state. @param {string} state */
async function ended(state, count = 1) {
  await page.locator(`.dot[data-state=${state}]`).nth(count - 1).waitFor();
}

/** @param {object} content @param {number} [interval] */
function slowly(content, interval = 0.05) {
  return control("default", { reply: { Drip: { interval, size: 160, of: { Answer: { content, pieces: 30 } } } } });
}

test("the page and its lists are at most 150 kB", async () => {
  await open();
  await page.getByText("Measures pixels only").waitFor();
  const sizes = await page.evaluate(() =>
    ["navigation", "resource"].flatMap((kind) => /** @type {any[]} */ (performance.getEntriesByType(kind)).map((entry) => entry.transferSize)),
  );
  assert.ok(sizes.length > 12 && sizes.reduce((sum, each) => sum + each) <= 150_000, String(sizes));
});

test("a dropped photo: fields fill in, boxes lie where they belong, nothing shifts", async () => {
  await open();
  await choose("Scene Graph");
  await drop({ name: "photo.jpg" });
  await page.locator("#picture").evaluate((image) => /** @type {HTMLImageElement} */ (image).decode());
  await control("default", { reply: { Hang: { after: "first", of: { Answer: { content: SCENE, pieces: 2 } } } } });
  await start();
  await page.locator(".field[data-key=scene]").waitFor();
  await page.locator(".box").first().waitFor();
  await page.getByText(/The model is writing · \d+\.\d s/).waitFor();
  assert.equal(await page.locator(".field[data-key=caption]").count(), 0);
  await page.keyboard.press("Escape");
  await failed("cancelled");
  await slowly(SCENE);
  await page.evaluate(() => (/** @type {any} */ (window).shifts.length = 0));
  await start();
  await ended("done");
  assert.deepEqual(await page.evaluate(() => /** @type {any} */ (window).shifts), []);
  await page.locator("#content").getByText(SCENE.caption).waitFor();
  const image = /** @type {any} */ (await page.locator("#picture").boundingBox());
  for (const [number, { box: expected }] of SCENE.objects.entries()) {
    const drawn = /** @type {any} */ (await page.locator(`.box[data-box="${number}"]`).boundingBox());
    const sides = [drawn.x - image.x, drawn.y - image.y, drawn.x + drawn.width - image.x, drawn.y + drawn.height - image.y];
    const fractions = sides.map((side, place) => side / (place % 2 ? image.height : image.width));
    for (const [place, side] of Object.values(expected).entries()) assert.ok(Math.abs(fractions[place] - side) < 0.005);
  }
  await page.locator('tr[data-box="2"]').hover();
  await page.locator('.box.lit[data-box="2"]').waitFor();
  await page.locator('.box[data-box="2"]').hover({ position: { x: 30, y: 100 } });
  await page.locator('tr.lit[data-box="2"]').waitFor();
  assert.equal(await page.locator(".lit[data-box='0']").count(), 0);
  const heads = await page.locator("[data-key=relations] th").allTextContents();
  assert.deepEqual(heads, ["Object", "Relation", "Object"], "the headings of table_columns");
  assert.equal(await page.locator("[data-key=relations] td").first().textContent(), "espresso cup");
  assert.deepEqual(await page.locator("[data-key=objects] .chips").first().locator("li").allTextContents(), ["red", "glazed"]);
});

test("several perspectives: a tab each, and the details of a caption", async () => {
  await open();
  await choose("Custom Caption", "Simple Temporarium");
  await page.getByLabel("Custom instructions").fill("Name the cup.");
  await page.getByText("Advanced options").click();
  await page.getByLabel("Temperature").fill("0.5");
  await page.getByLabel("Resize").selectOption("SD_VGA");
  await page.locator("#context").fill("Taken in Lisbon.");
  await page.getByLabel("Combine several results with").selectOption("synthesized_caption");
  await page.getByRole("button", { name: "Add a fallback" }).click();
  await page.locator(".fallback select[name=provider]").selectOption("builtin");
  await control("default", { reply: { Answer: {} } });
  await reply({ WrongSchema: {} });
  await drop({ name: "photo.jpg" });
  await start();
  await ended("done", 3);
  for (const name of ["Custom Caption", "Simple Temporarium", "Synthesized Caption"]) await tab(name).waitFor();
  await tab("Details").click();
  const calls = [];
  for (const name of ["Custom Caption", "Simple Temporarium"]) {
    await tab(name).click();
    for (const fact of ["Input tokens", "Cached tokens", "Done to it", "Total"]) await page.getByText(fact).waitFor();
    calls.push(...(await page.locator(".lines li").allTextContents()));
  }
  assert.equal(calls.filter((call) => call.includes("Invalid answer")).length, 1);
  await tab("JSON").click();
  const shown = await page.locator("#content pre").textContent();
  assert.deepEqual(Object.keys(JSON.parse(shown ?? "")).length > 3, true);
  await tab("Text").click();
  assert.ok((await page.locator("#content pre").textContent())?.length);
  await page.getByRole("link", { name: /Gallery/ }).click();
  await page.locator(".card img").nth(2).waitFor();
  await page.getByLabel("Filter captions").fill("custom");
  await Promise.all([page.waitForEvent("download"), page.getByLabel("Export").selectOption("json")]);
  page.on("dialog", (dialog) => [complaints.push("a warning without several photos"), dialog.accept()]);
  await page.reload();
});

test("the same request as curl, Python and JavaScript", async () => {
  await open();
  await choose("Custom Caption");
  await page.getByLabel("Custom instructions").fill("It's \"quoted\"; type=x – $HOME `id` \\ naïve");
  await control("default", { reply: { Answer: {} } });
  await drop({ name: "photo.jpg" });
  await start();
  await ended("done");
  await tab("Code").click();
  writeFileSync(join(folder, "photo.jpg"), photo);
  for (const [name, file, command] of [
    ["curl", "request.sh", ["sh", "request.sh"]],
    ["Python", "request.py", [env.PYTHON ?? "python3", "request.py"]],
    ["JavaScript", "request.mjs", ["node", "request.mjs"]],
  ]) {
    await tab(String(name)).click();
    writeFileSync(join(folder, String(file)), (await page.locator("#program").textContent()) ?? "");
    const before = await control("calls");
    const [program, ...words] = command;
    const output = execFileSync(program, words, { cwd: folder, encoding: "utf-8", timeout: GUARD, stdio: ["ignore", "pipe", "pipe"] });
    assert.match(output, /custom_caption/, String(name));
    assert.equal(await control("calls"), before + 1);
  }
});

test("a perspective of one's own: mistakes with their pointers, then a caption", async () => {
  await open();
  await choose();
  await drop({ name: "photo.jpg" });
  await page.getByText("Your own", { exact: true }).click();
  await page.locator("#editor").fill('{"name": ');
  await page.locator("#mistakes").getByText("This is not a JSON object").waitFor();
  const own = { name: "mood", prompt: "Say the {what}.", variables: [{ name: "what", required: true }], json_schema: { type: "objct" } };
  await page.locator("#editor").fill(JSON.stringify(own));
  await page.getByLabel("What (needed)").fill("mood");
  await start();
  await failed("invalid_perspective");
  await page.locator("#mistakes code").getByText("/json_schema/type").waitFor();
  const json_schema = { type: "object", properties: { mood: { type: "string" } }, required: ["mood"], additionalProperties: false };
  await page.locator("#editor").fill(JSON.stringify({ ...own, json_schema }));
  await control("default", { reply: { Answer: { content: { mood: "calm" } } } });
  await start();
  await ended("done");
  assert.equal(await page.locator("[data-key=mood] dd").textContent(), "calm");
  assert.equal(await page.locator("#mistakes").textContent(), "");
  await page.getByLabel("Start from").selectOption("scene_graph");
  await page.waitForFunction(() => /** @type {any} */ (document.querySelector("#editor")).value.includes('"my_scene_graph"'));
  await control("default", { reply: { Answer: { content: SCENE } } });
  await start();
  await page.locator(".box").nth(2).waitFor();
});

test("an error of each class is told in words", async () => {
  await open();
  await choose("Custom Caption");
  await drop({ name: "photo.jpg" });
  const replies = {
    answer_invalid: { WrongSchema: {} },
    answer_truncated: { Length: {} },
    context_too_long: { TooLong: {} },
    provider_auth: { Status: { code: 401 } },
    provider_error: { NotJson: {} },
    provider_quota: { NoCredit: {} },
    provider_rate_limited: { Status: { code: 429, retry_after: 3600 } },
    provider_unavailable: { Status: { code: 503 } },
    refused: { Refusal: {} },
  };
  for (const [code, behaviour] of Object.entries(replies)) {
    await control("default", { reply: behaviour });
    await start();
    await failed(code);
    assert.ok(((await page.locator(".failure p").first().textContent()) ?? "").length > 20);
    if (/unavailable|limited/.test(code)) {
      await control("kill"); // forget the open circuit breaker and the pause
      await control("start");
    }
  }
  await control("default", { reply: { Answer: {} } });
  for (const [code, bytes] of Object.entries({ unsupported_image: Buffer.from("GIF8 no"), invalid_image: photo.subarray(0, 2000) })) {
    await drop({ name: `${code}.jpg`, bytes });
    await start();
    await failed(code);
  }
  await drop({ name: "photo.jpg" });
  await page.locator("#model").fill("unknown-model");
  await start();
  await failed("unknown_model");
  await page.getByLabel("Provider").first().selectOption("openai");
  await start();
  await page.locator("#model:invalid").waitFor();
  await page.getByLabel("Provider").first().selectOption("studio");
  await control("default", { reply: { Hang: { after: "first" } } });
  const calls = await control("calls");
  await start();
  await control("wait", { calls: calls + 1 });
  await page.getByRole("button", { name: "Cancel" }).click();
  await failed("cancelled");
  await control("wait", { hang_ups: 1 });
  await start();
  await control("wait", { calls: calls + 2 });
  await control("kill");
  await failed("connection_lost");
  await start();
  await failed("connection_failed");
  await page.getByRole("button", { name: "Test connection" }).click();
  await page.locator("#provided").getByText("did not respond").waitFor();
});

test("several photos through one WebSocket, and the gallery exported", async () => {
  await open();
  let sockets = 0;
  page.on("websocket", () => (sockets += 1));
  await choose("Custom Caption");
  const content = { scratchpad: "—", unanswered: [], caption: "=a cup, \"red\"\nand a spoon" };
  await control("default", { reply: { Answer: { content } } });
  await drop({ name: "a.jpg" }, { name: "b.jpg" }, { name: "a.jpg" }, { name: "broken.jpg", bytes: Buffer.from("nothing") });
  await page.getByText("4 of 4 photos, 1 failure").waitFor();
  await page.locator("#failures").getByText("broken.jpg").waitFor();
  assert.equal(sockets, 1);
  await page.locator(".card img").nth(2).waitFor();
  await page.locator("#retry").press("Enter");
  await page.getByText("1 of 1 photo, 1 failure").waitFor();
  await page.locator("#retry:focus").waitFor();
  await page.getByLabel("Filter captions").fill("b.jpg");
  assert.equal(await page.locator(".card:visible").count(), 1);
  await page.getByLabel("Filter captions").fill("");
  for (const kind of ["json", "jsonl", "csv", "zip"]) {
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByLabel("Export").selectOption(kind)]);
    await file.saveAs(join(folder, `captions.${kind}`));
  }
  await page.getByRole("button", { name: "Clear" }).last().click();
  assert.equal(await page.locator(".card").count(), 0);
  await control("default", { reply: { Hang: { after: "first" } } });
  await drop({ name: "a.jpg" }, { name: "b.jpg" });
  await drop({ name: "c.jpg" });
  await page.getByText("0 of 3 photos").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("0 of 3 photos. Stopped.").waitFor();
});

test("several photos: dropped early, with an invalid number, and several perspectives of which some failed", async () => {
  await open();
  await choose("Custom Caption", "Scene Graph");
  await page.getByLabel("Custom instructions").fill("Name the cup.");
  await page.getByText("Advanced options").click();
  await page.getByLabel("Max tokens").fill("-1");
  await drop({ name: "a.jpg" }, { name: "b.jpg" });
  await page.getByText(/“Max tokens” in Try: .+ 1/).waitFor();
  await page.getByLabel("Max tokens").fill("");
  for (const [synthesizer, captions] of /** @type {const} */ ([["", 4], ["synthesized_caption", 10]])) {
    await page.locator("#synthesize").selectOption(synthesizer, { force: true });
    await control("default", { reply: { Answer: { content: { scratchpad: "—", unanswered: [], caption: "one" } } } });
    await drop({ name: "a.jpg" }, { name: "b.jpg" });
    await page.getByText("2 of 2 photos, 2 failures").waitFor();
    await control("default", { reply: { Answer: {} } });
    await page.locator("#retry").press("Enter");
    await page.locator("#more:focus").waitFor();
    assert.equal(await page.locator(".card").count(), captions, "a caption of each perspective");
  }
  await page.getByRole("button", { name: "Clear" }).last().click();
  const routes = /** @type {import("playwright-core").Route[]} */ ([]);
  await page.route("**/providers/list*", (route) => void routes.push(route));
  await Promise.all([page.waitForRequest("**/providers/list*"), page.reload()]);
  await drop({ name: "a.jpg" }, { name: "b.jpg" });
  await page.getByText("The lists are still loading").waitFor();
  await routes[0]?.continue();
  await page.getByText("2 of 2 photos").waitFor();
  assert.equal(routes.length, 1);
});

test("what models and files say is text", async () => {
  await open();
  await choose("Scene Graph");
  const objects = [{ ...SCENE.objects[0], label: HOSTILE, attributes: [HOSTILE] }];
  await control("default", { reply: { Answer: { content: { ...SCENE, objects, caption: HOSTILE } } } });
  await drop({ name: `${HOSTILE.replaceAll("/", "")}.jpg` });
  await start();
  await ended("done");
  for (const view of ["Readable", "Text", "JSON", "Details", "Code"]) await tab(view).click();
  await page.getByRole("link", { name: /Gallery/ }).click();
  await page.locator(".card").getByText(HOSTILE).first().waitFor();
  await page.getByRole("link", { name: "Try", exact: true }).click();
  const variables = [{ name: "what", default: HOSTILE, description: HOSTILE }];
  const json_schema = { type: "object", properties: { [HOSTILE]: { type: "array", items: {} } }, additionalProperties: false };
  await page.getByText("Your own", { exact: true }).click();
  await page.locator("#editor").fill(JSON.stringify({ prompt: "Say {what}.", variables, json_schema, table_columns: [{ name: HOSTILE }] }));
  await control("default", { reply: { Answer: { content: { [HOSTILE]: [{ [HOSTILE]: HOSTILE }] } } } });
  await start();
  await tab("Readable").click();
  await page.locator("#content th").getByText(HOSTILE).waitFor();
  await control("default", { reply: { Status: { code: 403, message: `No: ${HOSTILE}` } } });
  await start();
  await failed("provider_auth");
  await tab("Details").click();
  await page.locator("q").getByText(HOSTILE).waitFor();
  assert.equal(await page.locator("img[onerror]").count(), 0);
  assert.equal(await page.title(), "graphcap bridge");
});

test("with the keyboard alone", async () => {
  await open();
  await page.evaluate(() => localStorage.clear());
  const reach = async (/** @type {string} */ selector) => {
    for (let presses = 0; presses < 80; presses += 1) {
      if (await page.evaluate((each) => document.activeElement?.matches(each), selector)) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`Tab does not reach ${selector}`);
  };
  await reach("#sample");
  await page.keyboard.press("Enter");
  await page.locator("#filename").getByText("sample.jpg").waitFor();
  await reach("#provider");
  await page.keyboard.type("vllm (studio)");
  await reach("#search");
  await page.keyboard.type("boxes relations");
  await reach("[value=scene_graph]");
  await page.keyboard.press("Space");
  await slowly(SCENE, 0.01);
  await page.keyboard.press("Control+Enter");
  await page.locator(".box").nth(2).waitFor();
  await reach('[role=tab][data-id="alt_text"]');
  await page.keyboard.press("ArrowRight");
  await page.locator('[role=tab][data-id="scene_graph"][aria-selected=true]').waitFor();
  await ended("done");
  await reach('.number[data-box="1"]');
  await page.locator('.box.lit[data-box="1"]').waitFor();
  await control("default", { reply: { Hang: { after: "first" } } });
  await page.keyboard.press("Control+Enter");
  await page.locator(".dot[data-state=running]").first().waitFor();
  await page.keyboard.press("Escape");
  await failed("cancelled");
});

test("choose, paste, camera and sample", async () => {
  await open();
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.locator("#stage").click()]);
  await chooser.setFiles({ name: "chosen.jpg", mimeType: "image/jpeg", buffer: photo });
  await page.locator("#filename").getByText("chosen.jpg").waitFor();
  await page.getByRole("button", { name: "Sample" }).click();
  await page.locator("#filename").getByText("sample.jpg").waitFor();
  await page.evaluate((data) => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "pasted.jpg", { type: "image/jpeg" }));
    dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
  }, photo.toString("base64"));
  await page.locator("#filename").getByText("pasted.jpg").waitFor();
  await page.getByRole("button", { name: "Camera" }).click();
  await page.waitForFunction(() => /** @type {HTMLVideoElement} */ (document.querySelector("video")).videoWidth > 0);
  await page.getByRole("button", { name: "Take the photo" }).click();
  await page.locator("#filename").getByText("camera.jpg").waitFor();
});

for (const at of [env.ROOTED_URL, env.NGINX_URL]) {
  test(`a key is asked for and kept in the tab: ${at === env.NGINX_URL ? "behind nginx" : "below a root path"}`, async () => {
    await open({ at, listed: false });
    const field = page.getByLabel("API key");
    await field.fill("a-wrong-key");
    await page.keyboard.press("Enter");
    await page.getByText("The bridge rejects this key").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Enter a key" }).click();
    await field.fill(env.PAGE_KEY ?? "");
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByRole("checkbox", { name: /^Scene Graph/ }).waitFor();
    await drop({ name: "photo.jpg" });
    await start();
    await page.locator(".notes").getByText("builtin describes pixels").waitFor();
    await drop({ name: "a.jpg" }, { name: "b.jpg" });
    await page.getByText("2 of 2 photos").waitFor();
    const kept = await page.evaluate(() => [JSON.stringify({ ...localStorage }), document.cookie, location.href]);
    assert.ok(kept.every((text) => !text.includes(env.PAGE_KEY ?? "")));
    await page.getByRole("link", { name: "Try", exact: true }).click();
    await Promise.all([page.waitForEvent("dialog").then((warning) => warning.accept()), page.reload()]);
    await page.getByRole("checkbox", { name: /^Scene Graph/ }).waitFor();
  });
}

const LOOKS = [
  { name: "light", colorScheme: /** @type {const} */ ("light"), viewport: { width: 1440, height: 900 } },
  { name: "dark", colorScheme: /** @type {const} */ ("dark"), viewport: { width: 1280, height: 860 } },
  { name: "phone", colorScheme: /** @type {const} */ ("light"), viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
];

for (const { name, ...look } of LOOKS) {
  test(`${name}: accessible, and within the window`, async () => {
    await open(look);
    await audit();
    await page.screenshot({ path: join(folder, `start-${name}.png`) });
    await choose("Scene Graph");
    await control("default", { reply: { Answer: { content: SCENE } } });
    await drop({ name: "coffee.jpg" });
    await start();
    await ended("done");
    await page.evaluate(() => scrollTo(0, 0));
    await page.locator('.number[data-box="0"]').focus();
    await page.screenshot({ path: join(folder, `caption-${name}.png`) });
    for (const view of ["Readable", "Text", "JSON", "Details", "Code"]) {
      await tab(view).click();
      await audit();
    }
    await control("default", { reply: { WrongSchema: {} } });
    await choose("Scene Graph", "Graph Caption");
    await start();
    await ended("failed", 2);
    await audit();
    await page.getByText("Advanced options").click();
    await page.getByRole("button", { name: "Add a fallback" }).click();
    await page.getByText("Your own", { exact: true }).click();
    await audit();
    await page.getByText("Library", { exact: true }).click();
    await choose("Alt Text");
    await page.getByRole("button", { name: "Remove" }).click();
    await page.getByLabel("Provider").first().selectOption("builtin");
    const samples = ["astronaut", "cat", "coffee", "rocket"].map((sample) => `${sample}.jpg`);
    await drop(...samples.map((sample) => ({ name: sample, bytes: readFileSync(join(dirname(env.PHOTO ?? ""), sample)) })));
    await page.getByText("4 of 4 photos").waitFor();
    assert.equal(await page.evaluate(() => scrollY), 0);
    await page.locator(".card img").nth(4).waitFor();
    await audit();
    await page.screenshot({ path: join(folder, `gallery-${name}.png`) });
  });
}

test("text of 200 % fits into the window", async () => {
  const executablePath = env.CHROMIUM ?? "/usr/bin/chromium";
  const large = await chromium.launch({ executablePath, args: [...FLAGS, "--blink-settings=defaultFontSize=32"] });
  try {
    for (const viewport of [{ width: 1280, height: 900 }, { width: 390, height: 844 }]) {
      await open({ viewport }, large);
      assert.equal(await page.evaluate(() => getComputedStyle(document.body).fontSize), "32px");
      await choose("Scene Graph");
      await control("default", { reply: { Answer: { content: SCENE } } });
      await drop({ name: "coffee.jpg" });
      await start();
      await ended("done");
      for (const view of ["Details", "Code", "Readable"]) {
        await tab(view).click();
        await audit();
      }
      await page.screenshot({ path: join(folder, `large-${viewport.width}.png`) });
      await page.getByRole("link", { name: /Gallery/ }).click();
      await audit();
    }
  } finally {
    await large.close();
  }
});

/** Check the view with axe, and that it is not wider than the window. */
async function audit() {
  const [width, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(width <= window, `${width} pixels wide in a window of ${window}`);
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => /** @type {any} */ (globalThis).axe.run());
  const serious = violations.filter((/** @type {any} */ { impact }) => ["serious", "critical"].includes(impact));
  assert.deepEqual(serious.map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes.map((/** @type {any} */ { html }) => html)}`), []);
}
