// Answers against the schemas of OpenAI's own description (schemas.json, taken out of it by extract-schemas.mjs).
import assert from "node:assert/strict";
import fs from "node:fs";
import { before, test } from "node:test";
import addFormats from "ajv-formats";
import Ajv2020 from "ajv/dist/2020.js";
import { get, model, post, prompt, skip } from "./server.mjs";

const ajv = new Ajv2020.default({ strict: false, allErrors: true });
addFormats.default(ajv);
ajv.addFormat("unixtime", true);
ajv.addSchema(JSON.parse(fs.readFileSync(new URL("schemas.json", import.meta.url))), "openai");

function check(name, value) {
  const valid = ajv.compile({ $ref: `openai#/components/schemas/${name}` });
  assert.ok(valid(value), name + ": " + ajv.errorsText(valid.errors) + "\n" + JSON.stringify(value));
}

let id = "";
before(async () => { if (!skip) id = (await model()).id; });
const messages = [{ role: "user", content: prompt }];

test("the schemas can refuse", () => {
  assert.throws(() => check("CreateChatCompletionResponse", { id: 1 }));
  assert.throws(() => check("CreateCompletionResponse", { id: "x", object: "text_completion", created: 1, model: "m", choices: [{ index: 0 }] }));
  assert.throws(() => check("ErrorResponse", { error: { message: "m" } }));
});

test("models", { skip }, async () => {
  check("ListModelsResponse", await get("/v1/models"));
  check("Model", await get("/v1/models/" + id));
});

test("answers", { skip }, async () => {
  for (const more of [{}, { n: 2 }, { max_tokens: 60, stop: ["."] }, { seed: 3, top_p: 0.9 }]) {
    check("CreateChatCompletionResponse", await (await post("/v1/chat/completions", { messages, max_tokens: 8, ...more })).json());
    check("CreateCompletionResponse", await (await post("/v1/completions", { prompt, ...more })).json());
  }
  check("CreateChatCompletionResponse", await (await post("/v1/chat/completions", { messages, logprobs: true, top_logprobs: 2, max_tokens: 8 })).json());
  check("CreateCompletionResponse", await (await post("/v1/completions", { prompt, logprobs: 2 })).json());
});

test("chunks", { skip }, async () => {
  for (const [path, schema, body] of [
    ["/v1/chat/completions", "CreateChatCompletionStreamResponse", { messages, logprobs: true, top_logprobs: 1 }],
    ["/v1/chat/completions", "CreateChatCompletionStreamResponse", { messages, stream_options: { include_usage: true, include_obfuscation: true } }],
  ]) {
    const text = await (await post(path, { ...body, stream: true, max_tokens: 8 })).text();
    const lines = text.split("\n").filter(line => line.startsWith("data: "));
    assert.equal(lines.pop(), "data: [DONE]");
    assert.ok(lines.length >= 3);
    for (const line of lines) check(schema, JSON.parse(line.slice(6)));
  }
});

test("errors", { skip }, async () => {
  for (const [path, body, status] of [
    ["/v1/chat/completions", {}, 400], ["/v1/completions", { prompt, n: 99 }, 400], ["/v1/completions", { prompt, model: "none" }, 404],
    ["/v1/none", {}, 404], ["/v1/models", {}, 405],
  ]) {
    const answer = await post(path, body);
    assert.equal(answer.status, status);
    check("ErrorResponse", await answer.json());
  }
});
