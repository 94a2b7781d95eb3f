/** The React example in Chromium, over WebSocket and over HTTP. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { build, preview } from "vite";
import { answer, control, photo, reply, url } from "./harness.js";

const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
const CARDS = 3;
/** React's development build calls effects twice in strict mode and warns of mistakes. */
env.NODE_ENV = "development";
env.VITE_BRIDGE_URL = url;

const outDir = mkdtempSync(join(tmpdir(), "example-"));
/** @type {import("vite").PreviewServer} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {import("playwright-core").Page} */
let page;
/** @type {string[]} */
let complaints;

before(async () => {
  link();
  const root = join(PACKAGE, "examples/react");
  const settings = { root, mode: "development", logLevel: /** @type {const} */ ("warn") };
  await build({ ...settings, build: { outDir, emptyOutDir: true, minify: false } });
  server = await preview({ ...settings, build: { outDir }, preview: { host: "127.0.0.1", port: 0 } });
  browser = await chromium.launch({ executablePath: env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
});

after(async () => {
  await browser?.close();
  await server?.close();
  rmSync(outDir, { recursive: true });
});

beforeEach(async () => {
  await control("reset");
  complaints = [];
});

afterEach(async () => {
  await page.close();
  const expected = /Failed to load resource|WebSocket connection to/;
  assert.deepEqual(complaints.filter((complaint) => !expected.test(complaint)), []);
});

/** The example finds this package as an installed one. */
function link() {
  const scope = join(PACKAGE, "node_modules/@graphcap");
  mkdirSync(scope, { recursive: true });
  if (!existsSync(join(scope, "bridge"))) symlinkSync(PACKAGE, join(scope, "bridge"));
}

/** @param {string} transport */
async function open(transport) {
  page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.goto(`${server.resolvedUrls?.local[0]}?over=${transport}`);
  await page.getByText("3 perspectives").waitFor();
  await page.getByLabel("Provider").fill("studio");
}

async function drop() {
  const dataTransfer = await page.evaluateHandle((base64) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
    return transfer;
  }, photo.toString("base64"));
  await page.dispatchEvent(".drop", "dragover", { dataTransfer });
  await page.dispatchEvent(".drop", "drop", { dataTransfer });
}

/** Wait until the run, and then so many of its cards, are in a state. @param {string} state */
async function settled(state, cards = CARDS) {
  await page.locator(`p[data-state=${state}]`).waitFor();
  await page.waitForFunction(
    ([state, count]) => document.querySelectorAll(`article[data-state=${state}]`).length === count,
    /** @type {const} */ ([state, cards]),
  );
}

for (const transport of ["socket", "http"]) {
  test(`${transport}: a dropped photo fills several perspectives in`, async () => {
    await open(transport);
    await control("default", { reply: { Drip: { interval: 0.03, size: 64, of: { Answer: { pieces: 12 } } } } });
    await drop();
    await page.locator("article[data-state=streaming] dd").first().waitFor();
    await settled("done");
    assert.equal(await page.locator("article:has(dd)").count(), CARDS);
    assert.ok(await page.locator("img").evaluate((image) => /** @type {HTMLImageElement} */ (image).naturalWidth > 0));
    assert.equal(await control("calls"), CARDS);
  });

  test(`${transport}: cancel stops the provider's calls`, async () => {
    await open(transport);
    await control("default", { reply: { Hang: { after: "first" } } });
    await drop();
    await control("wait", { calls: CARDS });
    await page.getByText("Cancel").click();
    await settled("idle");
    await control("wait", { hang_ups: CARDS });
  });

  test(`${transport}: unmounting stops the provider's calls`, async () => {
    await open(transport);
    await control("default", { reply: { Hang: { after: "first" } } });
    await drop();
    await control("wait", { calls: CARDS });
    await page.getByRole("button", { name: "Perspectives" }).click();
    await control("wait", { hang_ups: CARDS });
    await page.getByRole("button", { name: "Captions" }).click();
    await settled("idle", 0);
  });

  test(`${transport}: a perspective that fails leaves the others alone`, async () => {
    await open(transport);
    await control("default", { reply: { Answer: {} } });
    await reply({ Refusal: {} });
    await drop();
    await settled("done", CARDS - 1);
    assert.equal(await page.locator("article[data-state=error] [role=alert]").count(), 1);
  });

  test(`${transport}: a request that is refused is an error with its sentence`, async () => {
    await open(transport);
    await page.getByLabel("Provider").fill("nobody");
    await drop();
    await settled("error");
    assert.match((await page.locator("p[data-state=error]").textContent()) ?? "", /nobody/);
  });

  test(`${transport}: a newer run replaces an older one, whose late events are ignored`, async () => {
    await open(transport);
    await reply(...Array(CARDS).fill({ Hang: { after: "first" } }));
    await control("default", { reply: { Answer: {} } });
    await drop();
    await control("wait", { calls: CARDS });
    await drop();
    await settled("done");
    await control("wait", { hang_ups: CARDS });
    await settled("done");
  });

  test(`${transport}: a bridge that dies is an error, until it is back`, { timeout: 90_000 }, async () => {
    await open(transport);
    await control("default", { reply: { Hang: { after: "first" } } });
    await drop();
    await control("wait", { calls: CARDS });
    await control("kill");
    await settled("error");
    assert.match((await page.locator("p[data-state=error]").textContent()) ?? "", /connection/i);
    await control("start");
    await control("default", { reply: { Answer: {} } });
    await page.getByText("Caption again").click();
    await settled("done");
    if (transport === "socket") await page.getByRole("status").getByText("open").waitFor();
  });
}

test("a page without a bridge offers to try again", { timeout: 90_000 }, async () => {
  await control("kill");
  page = await browser.newPage();
  await page.goto(`${server.resolvedUrls?.local[0]}`);
  await page.getByRole("alert").getByText("did not respond").waitFor();
  await control("start");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("3 perspectives").waitFor();
  assert.ok(answer);
});
