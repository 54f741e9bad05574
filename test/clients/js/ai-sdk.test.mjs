// Vercel's AI SDK with its provider for compatible servers.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import { key, model, prompt, skip, url } from "./server.mjs";

const provider = createOpenAICompatible({ name: "polynode", baseURL: url + "/v1", apiKey: key, includeUsage: true });
let id = "";
before(async () => { if (!skip) id = (await model()).id; });

for (const kind of ["chatModel", "completionModel"]) {
  test(kind, { skip }, async () => {
    const settings = { model: provider[kind](id), prompt, maxOutputTokens: 12, temperature: 0, maxRetries: 0 };
    const whole = await generateText(settings);
    assert.ok(["stop", "length"].includes(whole.finishReason));
    assert.ok(whole.usage.outputTokens > 0);
    const stream = streamText(settings);
    let text = "";
    for await (const piece of stream.textStream) text += piece;
    assert.equal(text, whole.text);
    assert.equal((await stream.usage).outputTokens, whole.usage.outputTokens);
    assert.equal(await stream.finishReason, whole.finishReason);
  });
}

test("a refusal reaches the caller", { skip }, async () => {
  await assert.rejects(generateText({ model: provider.chatModel("no-such-model"), prompt, maxRetries: 0 }), /does not exist/);
});
