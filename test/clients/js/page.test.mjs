// The page in a headless Chromium: CHROMIUM, or /usr/bin/chromium. PAGE_SHOTS names a folder for screenshots.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { get, key, prompt, skip as noServer, until, url } from "./server.mjs";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const skip = noServer || (fs.existsSync(executablePath) ? false : `no Chromium at ${executablePath}`);
let browser;
before(async () => {
  if (!skip) browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
});
after(() => browser?.close());

// open shows the page in a fresh browser profile and collects whatever it complains about.
async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const complaints = [], foreign = [];
  page.on("console", m => { if (m.type() === "error" || m.type() === "warning") complaints.push(m.text()); });
  page.on("pageerror", e => complaints.push(e.message));
  page.on("request", r => { if (!r.url().startsWith(url + "/")) foreign.push(r.url()); });
  await page.addInitScript(k => { if (k !== "none") sessionStorage.setItem("key", k); }, key);
  await page.goto(url + "/");
  await page.locator("#health.ok").waitFor();
  const shot = async name => {
    if (process.env.PAGE_SHOTS) await page.screenshot({ path: path.join(process.env.PAGE_SHOTS, name + ".png") });
  };
  const done = async () => {
    assert.deepEqual(complaints, []);
    assert.deepEqual(foreign, []);
    await context.close();
  };
  return { page, shot, done };
}

test("completes a text and shows what it took", { skip }, async () => {
  const { page, shot, done } = await open();
  await shot("empty");
  assert.equal(await page.locator("#model").textContent(), (await get("/v1/models")).data[0].id);
  await page.getByText("Complete", { exact: true }).click();
  await page.getByLabel("Prompt").fill(prompt);
  await page.getByLabel("Max tokens").fill("40");
  await page.keyboard.press("Tab");
  await page.getByLabel("Prompt").press("Enter");
  await page.locator(".turn.busy").waitFor({ state: "detached" });
  const shown = await page.locator(".turn.assistant").innerText();
  const answer = await (await fetch(url + "/v1/completions", {
    method: "POST", headers: { "Content-Type": "application/json", Authorization: "Bearer " + key },
    body: JSON.stringify({ prompt, max_tokens: 40, temperature: 0 }),
  })).json();
  assert.ok(shown.startsWith(prompt + answer.choices[0].text.trimEnd()), shown);
  assert.match(await page.locator("#spark .line").getAttribute("d"), /^M/);
  assert.equal(await page.locator("#used").textContent(), String(answer.usage.completion_tokens));
  assert.match(await page.locator("#first").textContent(), /^[\d.]+ m?s$/);
  await shot("complete");
  await done();
});

test("chats over several turns and starts anew", { skip }, async () => {
  const { page, shot, done } = await open();
  await page.getByText("Chat", { exact: true }).click();
  const bodies = [];
  page.on("request", r => { if (r.method() === "POST") bodies.push(r.postDataJSON()); });
  for (const text of ["Hallo", "Und weiter?"]) {
    await page.getByLabel("Prompt").fill(text);
    await page.getByRole("button", { name: "Send" }).click();
    await page.locator("#send").waitFor();
  }
  assert.deepEqual(bodies.map(b => b.messages.map(m => m.role)), [["user"], ["user", "assistant", "user"]]);
  assert.equal(await page.locator(".turn.user").count(), 2);
  await shot("chat");
  await page.getByRole("button", { name: "New" }).click();
  assert.equal(await page.locator(".turn").count(), 0);
  await done();
});

test("stops when told to", { skip }, async () => {
  const { page, done } = await open();
  // The server writes thousands of tokens a second, too fast for a finger: the answer is made as long as it can be, and Escape is pressed
  // from inside the page, as soon as there is something to stop.
  await page.route("**/v1/completions", route =>
    route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), ignore_eos: true }) }));
  await page.evaluate(() => new MutationObserver((_, observer) => {
    if (!document.querySelector(".turn.busy")) return;
    observer.disconnect();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  }).observe(document.body, { subtree: true, childList: true, attributes: true }));
  await page.getByText("Complete", { exact: true }).click();
  await page.getByLabel("Max tokens").fill("2000");
  await page.getByLabel("Prompt").fill(prompt);
  await page.getByLabel("Prompt").press("Enter");
  await page.locator(".turn.assistant small").waitFor();
  await page.locator("#send").waitFor();
  assert.match(await page.locator(".turn.assistant small").innerText(), /stopped/);
  await until("the server to be idle", async () => (await get("/cluster/v1/status")).engine.running === 0);
  await done();
});

test("shows a refusal", { skip }, async () => {
  const { page } = await open();
  await page.getByText("Complete", { exact: true }).click();
  await page.getByLabel("Prompt").fill("wort ".repeat(5000));
  await page.getByLabel("Prompt").press("Enter");
  await page.locator(".turn.error").waitFor();
  assert.match(await page.locator(".turn.error").innerText(), /maximum context length/);
  await page.context().close();
});

test("works on a phone, in the dark and by keyboard", { skip }, async () => {
  const { page, shot, done } = await open({ viewport: { width: 360, height: 640 }, colorScheme: "dark", hasTouch: true, isMobile: true });
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360, "the page is wider than the screen");
  await shot("phone");
  assert.equal(await page.locator("#panel").isVisible(), false);
  await page.getByRole("button", { name: "Panel" }).press("Enter");
  assert.equal(await page.locator("#panel").isVisible(), true);
  await shot("phone-panel");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#panel").isVisible(), false);
  await done();
});

test("every control has a name", { skip }, async () => {
  const { page, done } = await open();
  await page.locator("details").evaluateAll(all => all.forEach(d => { d.open = true; }));
  const nameless = await page.locator("button, input, textarea").evaluateAll(all => all
    .filter(e => !(e.labels?.length || e.getAttribute("aria-label") || e.textContent.trim()))
    .map(e => e.outerHTML));
  assert.deepEqual(nameless, []);
  await done();
});

test("draws who computes what, and follows what becomes of them", { skip }, async () => {
  const { page, shot, done } = await open();
  const cut = (stage, layers, heads) => ({ stage, rank: 0, layers: { lo: layers[0], hi: layers[1] }, heads: { lo: heads[0], hi: heads[1] } });
  const nodes = [
    { id: "a1", name: "attic", role: "worker", phase: "ready", alive: true, coordinator: true, place: cut(0, [0, 4], [0, 3]) },
    { id: "b2", name: "<b>office</b>", role: "worker", phase: "ready", alive: true, place: cut(0, [0, 4], [3, 4]) },
    { id: "c3", name: "cellar", role: "worker", phase: "ready", alive: true, place: cut(1, [4, 6], [0, 4]) },
    { id: "d4", name: "watch", role: "witness", phase: "ready", alive: true },
  ];
  assert.equal(await page.locator("#machinesbox").isVisible(), false, "one machine needs no map");
  let cluster = { nodes, fault_tolerance: 1 };
  await page.route("**/cluster/v1/status", async route => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...await response.json(), cluster } });
  });
  await page.locator("#map rect").nth(2).waitFor();
  const boxes = await page.locator("#map rect").evaluateAll(all => all.map(r => ["x", "y", "width", "height"].map(n => Number(r.getAttribute(n)))));
  assert.deepEqual(boxes, [[0, 0, 160, 42], [0, 42, 160, 14], [160, 0, 80, 56]]);
  assert.deepEqual(await page.locator("#machines li").allInnerTexts().then(all => all.map(t => t.replaceAll("\n", " "))), [
    "attic ★ layers 1–4, 3 heads", "<b>office</b> layers 1–4, 1 head", "cellar layers 5–6, 4 heads", "watch votes, computes nothing"]);
  assert.equal(await page.locator("#safety").innerText(), "★ coordinates. Any one may die.");
  await shot("machines");
  cluster = { nodes: nodes.map(n => n.id === "c3" ? { ...n, alive: false, place: undefined } : n), trouble: "too little memory" };
  await page.locator("#machines .gone").waitFor();
  assert.equal(await page.locator("#map rect").count(), 2);
  assert.match(await page.locator("#safety").innerText(), /too little memory/);
  await done();
});
