/** What the tests share: a running bridge, and the control of it and of the model server behind it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { env } from "node:process";
import { Bridge } from "../bridge.js";

export const url = env.BRIDGE_URL ?? "http://127.0.0.1:32100";
export const keyedUrl = env.KEYED_URL ?? "";
export const key = env.BRIDGE_KEY ?? "";
export const answer = JSON.parse(env.BRIDGE_ANSWER ?? "{}");
export const photo = env.PHOTO ? readFileSync(env.PHOTO) : Buffer.of();
/** The perspective `look` asks the scripted model server. */
export const options = { provider: "studio" };
export const bridge = new Bridge({ baseUrl: url });

/**
 * Run a command of tests/clients/javascript/control.py.
 *
 * @param {string} command
 * @param {object} [parameters]
 */
export async function control(command, parameters = {}) {
  const response = await fetch(`${env.CONTROL_URL}/${command}`, { method: "POST", body: JSON.stringify(parameters) });
  const value = await response.json();
  assert.ok(response.ok, `${command}: ${value}`);
  return value;
}

/** @param {...object} behaviours of the model server for its next calls */
export const reply = (...behaviours) => control("reply", { behaviours });

/** @param {Promise<unknown>} promise @returns {Promise<any>} */
export async function failure(promise) {
  const outcome = await promise.then((value) => ({ value }), (error) => ({ error }));
  assert.ok("error" in outcome, `no error, but ${JSON.stringify(outcome)}`);
  return outcome.error;
}

/** @param {AsyncIterable<any>} stream @returns {Promise<any[]>} */
export async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}
