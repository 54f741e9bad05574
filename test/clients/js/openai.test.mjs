// The official openai package.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import OpenAI from "openai";
import { get, key, model, prompt, skip, until, url } from "./server.mjs";

const client = new OpenAI({ baseURL: url + "/v1", apiKey: key, maxRetries: 0 });
const messages = [{ role: "user", content: prompt }];
let id = "";
before(async () => { if (!skip) id = (await model()).id; });

test("models", { skip }, async () => {
  const list = await client.models.list();
  assert.equal(list.data[0].id, id);
  assert.equal((await client.models.retrieve(id)).object, "model");
});

test("chat, whole and streamed", { skip }, async () => {
  const body = { model: id, messages, max_tokens: 12, temperature: 0 };
  const whole = await client.chat.completions.create(body);
  assert.equal(whole.choices[0].message.role, "assistant");
  assert.ok(["stop", "length"].includes(whole.choices[0].finish_reason));
  assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);

  let text = "", usage = null, finish = null;
  for await (const chunk of await client.chat.completions.create({ ...body, stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(finish, whole.choices[0].finish_reason);
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

test("the stream helper assembles the same message", { skip }, async () => {
  const body = { model: id, messages, max_tokens: 12, temperature: 0, n: 2, logprobs: true, top_logprobs: 3 };
  const whole = await client.chat.completions.create(body);
  const final = await client.chat.completions.stream(body).finalChatCompletion();
  assert.equal(final.choices.length, 2);
  for (const i of [0, 1]) {
    assert.equal(final.choices[i].message.content, whole.choices[i].message.content);
    assert.deepEqual(final.choices[i].logprobs.content.map(t => t.token), whole.choices[i].logprobs.content.map(t => t.token));
    assert.equal(final.choices[i].logprobs.content[0].top_logprobs.length, 3);
  }
});

test("completions, whole and streamed", { skip }, async () => {
  const body = { model: id, prompt, max_tokens: 12, temperature: 0, logprobs: 2, echo: true };
  const whole = await client.completions.create(body);
  assert.ok(whole.choices[0].text.startsWith(prompt));
  const { tokens, token_logprobs, text_offset } = whole.choices[0].logprobs;
  assert.equal(tokens.length, whole.usage.total_tokens);
  assert.equal(token_logprobs[0], null);
  assert.equal(text_offset.length, tokens.length);
  let text = "";
  for await (const chunk of await client.completions.create({ ...body, stream: true })) text += chunk.choices[0]?.text ?? "";
  assert.equal(text, whole.choices[0].text);
});

test("the demonstration model knows its text", { skip }, async t => {
  if (id !== "udhr") return t.skip("another model is served");
  const answer = await client.completions.create({ model: id, prompt, max_tokens: 40, temperature: 0, stop: "." });
  assert.equal(answer.choices[0].text, " gleich an Würde und Rechten geboren");
  assert.equal(answer.choices[0].finish_reason, "stop");
});

test("seeded sampling repeats itself", { skip }, async () => {
  const body = { model: id, prompt, max_tokens: 12, temperature: 1.8, seed: 42, top_p: 0.95 };
  const [a, b] = await Promise.all([client.completions.create(body), client.completions.create(body)]);
  assert.equal(a.choices[0].text, b.choices[0].text);
});

test("mistakes are the errors that the client knows", { skip }, async () => {
  await assert.rejects(client.chat.completions.create({ model: "no-such-model", messages }),
    e => e instanceof OpenAI.NotFoundError && e.code === "model_not_found" && e.param === "model");
  await assert.rejects(client.chat.completions.create({ model: id, messages, temperature: 9 }),
    e => e instanceof OpenAI.BadRequestError && e.param === "temperature" && e.type === "invalid_request_error");
  await assert.rejects(client.completions.create({ model: id, prompt, suffix: "x" }),
    e => e instanceof OpenAI.BadRequestError && e.param === "suffix");
  await assert.rejects(client.completions.create({ model: id, prompt: "wort ".repeat(20_000) }),
    e => e instanceof OpenAI.BadRequestError && e.code === "context_length_exceeded");
});

test("an aborted stream frees the server", { skip }, async () => {
  const stream = await client.completions.create({ model: id, prompt, max_tokens: 400, stream: true, ignore_eos: true });
  for await (const _ of stream) break; // leaves, and with that closes the connection
  stream.controller.abort();
  await until("the server to be idle", async () => (await get("/cluster/v1/status")).engine.running === 0);
});
