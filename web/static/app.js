"use strict";
const $ = id => document.getElementById(id);
const log = $("log"), form = $("form"), prompt = $("prompt"), note = $("note");
const tries = {
  text: ["All human beings are born free and", "Alle Menschen sind frei und", "Tous les êtres humains naissent", "人人生而自由",
    "すべての人間は", "Все люди рождаются", "يولد جميع الناس", "Tất cả mọi người"],
  chat: ["Translate to French: All human beings are born free.", "Nenne drei Flüsse in Europa.", "用一句话介绍北京。",
    "Escribe un poema corto sobre el mar."],
};
let model = null, turns = [], flight = null;

// --- Talking to the server ---

function headers(more) {
  const key = $("key").value.trim();
  return key ? { ...more, Authorization: "Bearer " + key } : more;
}

async function failure(response) {
  let message = response.status + " " + response.statusText;
  try { message = (await response.json()).error.message; } catch { /* not ours */ }
  if (response.status === 401) { $("keybox").open = true; $("panel").classList.add("open"); $("key").focus(); }
  return new Error(message);
}

// events yields the data of a stream's events.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    for (let end; (end = rest.indexOf("\n\n")) >= 0; rest = rest.slice(end + 2)) {
      for (const line of rest.slice(0, end).split("\n")) {
        if (line.startsWith("data: ")) yield line.slice(6);
      }
    }
  }
}

function settings() {
  const body = { model: model?.id, stream: true, stream_options: { include_usage: true } };
  for (const name of ["temperature", "top_p", "top_k", "repetition_penalty", "max_tokens", "seed", "num_beams"]) {
    const value = $(name).value.trim();
    if (value !== "") body[name] = Number(value);
  }
  if (body.num_beams > 1) {
    for (const name of ["temperature", "top_p", "top_k", "repetition_penalty"]) delete body[name]; // beams do not sample
    body.early_stopping = true;
  } else delete body.num_beams;
  if ($("stopat").value) body.stop = $("stopat").value.replaceAll("\\n", "\n");
  return body;
}

// --- One answer ---

function turn(kind, text) {
  const box = document.createElement("div"), inner = document.createElement("div");
  box.className = "turn " + kind;
  inner.dir = "auto";
  inner.textContent = text;
  box.append(inner);
  log.append(box);
  log.scrollTop = log.scrollHeight;
  return box;
}

function mode() { return document.querySelector("input[name=mode]:checked").value; }

async function ask(text) {
  const chat = mode() === "chat";
  const body = settings();
  let box;
  if (chat) {
    turn("user", text);
    turns.push({ role: "user", content: text });
    const system = $("system").value.trim();
    body.messages = system ? [{ role: "system", content: system }, ...turns] : turns;
    box = turn("assistant busy", "");
  } else {
    body.prompt = text;
    box = turn("assistant busy", "");
    const given = document.createElement("span");
    given.className = "given";
    given.textContent = text;
    box.firstChild.append(given);
  }
  const answer = await stream(chat ? "v1/chat/completions" : "v1/completions", body, box);
  if (chat) turns.push({ role: "assistant", content: answer });
}

// stream shows an answer as it comes and returns its text.
async function stream(path, body, box) {
  const begun = performance.now(), out = document.createTextNode("");
  let first = 0, pieces = 0, text = "", finish = "";
  box.firstChild.append(out);
  busy(true);
  flight = new AbortController();
  try {
    const response = await fetch(path, {
      method: "POST", signal: flight.signal, body: JSON.stringify(body), headers: headers({ "Content-Type": "application/json" }),
    });
    if (!response.ok) throw await failure(response);
    for await (const data of events(response)) {
      if (data === "[DONE]") break;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      if (event.usage) $("used").textContent = event.usage.completion_tokens;
      const choice = event.choices[0];
      if (!choice) continue;
      const piece = choice.text ?? choice.delta?.content ?? "";
      finish = choice.finish_reason ?? finish;
      if (!piece) continue;
      const now = performance.now(), near = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
      if (!pieces++) { first = now; $("first").textContent = time(now - begun); }
      else if (now - first > 100) $("rate").textContent = rate((pieces - 1) / (now - first) * 1000);
      text += piece;
      out.data = body.messages ? text.trimStart() : text;
      if (near) log.scrollTop = log.scrollHeight;
    }
    if (finish === "length") remark(box, "ended by the limit on tokens");
  } catch (error) {
    if (error.name === "AbortError") remark(box, "stopped");
    else { remark(box, error.message); box.classList.add("error"); }
  } finally {
    flight = null;
    box.classList.remove("busy");
    busy(false);
  }
  return text;
}

function remark(box, text) {
  const small = document.createElement("small");
  small.textContent = text;
  box.firstChild.append(small);
}

function rate(v) { return v.toFixed(v < 99.95 ? 1 : 0); }

function time(ms) { return ms < 1000 ? Math.round(ms) + " ms" : (ms / 1000).toFixed(1) + " s"; }

function busy(on) {
  $("send").hidden = on;
  $("stop").hidden = !on;
  log.setAttribute("aria-busy", on);
  if (on) for (const id of ["rate", "first", "used"]) $(id).textContent = "–";
  else prompt.focus();
}

// --- Status ---

const rates = [];
let before = null;

function spark() {
  const top = Math.max(1, ...rates), step = 240 / 59;
  const points = rates.map((v, i) => `${((60 - rates.length + i) * step).toFixed(1)},${(46 - 42 * v / top).toFixed(1)}`);
  const path = "M" + (points.length < 2 ? ["0,46", "240,46"] : points).join("L");
  document.querySelector("#spark .line").setAttribute("d", path);
  document.querySelector("#spark .area").setAttribute("d", `${path}L240,48L${path.slice(1, path.indexOf(","))},48Z`);
}

// tree shows any JSON as nested lists.
function tree(value) {
  const list = document.createElement("dl");
  for (const [name, inner] of Object.entries(value)) {
    const key = document.createElement("dt");
    key.textContent = Array.isArray(value) ? "#" + (Number(name) + 1) : name.replaceAll("_", " ");
    list.append(key);
    if (inner !== null && typeof inner === "object") {
      key.className = "branch";
      list.append(tree(inner));
      continue;
    }
    const cell = document.createElement("dd");
    cell.textContent = typeof inner === "number" ? Number(inner.toPrecision(6)).toLocaleString() : String(inner ?? "–");
    list.append(cell);
  }
  return list;
}

// word is a place in words: what a machine does, or why nothing.
function word(n) {
  if (!n.alive) return "not here";
  if (!n.place) return n.role === "witness" ? "votes, computes nothing" : n.phase === "ready" ? "idle" : n.phase;
  const { layers, heads } = n.place;
  return `layers ${layers.lo + 1}–${layers.hi}, ${heads.hi - heads.lo} head${heads.hi - heads.lo === 1 ? "" : "s"}`;
}

// showMachines draws the model as a field, layers to the right and heads down, each part in its machine's colour.
function showMachines(c) {
  const nodes = c?.nodes ?? [], placed = nodes.filter(n => n.place);
  $("machinesbox").hidden = nodes.length < 2;
  if (nodes.length < 2) return;
  const most = part => Math.max(1, ...placed.map(n => n.place[part].hi));
  const wide = 240 / most("layers"), high = 56 / most("heads");
  $("map").replaceChildren(...placed.map(n => {
    const { layers, heads } = n.place, rect = document.createElementNS($("map").namespaceURI, "rect");
    const box = { x: layers.lo * wide, y: heads.lo * high, width: (layers.hi - layers.lo) * wide, height: (heads.hi - heads.lo) * high };
    for (const [name, value] of Object.entries(box)) rect.setAttribute(name, value.toFixed(2));
    rect.setAttribute("class", "m" + nodes.indexOf(n) % 7);
    const title = document.createElementNS($("map").namespaceURI, "title");
    title.textContent = `${n.name}: ${word(n)}`;
    rect.append(title);
    return rect;
  }));
  $("machines").replaceChildren(...nodes.map((n, i) => {
    const item = document.createElement("li"), dot = document.createElement("i"), name = document.createElement("b"), what = document.createElement("span");
    item.classList.toggle("gone", !n.alive);
    dot.className = n.place && n.alive ? "m" + i % 7 : "idle";
    name.textContent = n.name + (n.coordinator ? " ★" : "");
    name.title = n.id + (n.coordinator ? ", coordinates" : "");
    what.textContent = word(n);
    item.append(dot, name, what);
    return item;
  }));
  $("safety").textContent = "★ coordinates. " + (c.trouble ? "No plan suits these machines: " + c.trouble
    : c.fault_tolerance === undefined ? "" : c.fault_tolerance > 0 ? `Any ${c.fault_tolerance === 1 ? "one" : c.fault_tolerance} may die.` : "None may die: " + c.fault_tolerance_reason);
}

function health(kind, text) {
  $("health").className = "health " + kind;
  $("health").querySelector("span").textContent = text;
  $("health").title = text;
}

function showModel(m) {
  const fresh = !model;
  model = m;
  $("model").textContent = m.id;
  $("synthetic").hidden = !m.synthetic;
  document.title = m.id + " · polynode";
  $("max_tokens").max = m.max_model_len;
  if (!fresh) return;
  document.querySelector(`input[value=${m.chat_format === "plain" ? "text" : "chat"}]`).checked = true;
  setMode();
}

async function poll() {
  try {
    const response = await fetch("cluster/v1/status", { headers: headers({}) });
    if (!response.ok) throw await failure(response);
    const s = await response.json(), e = s.engine, now = performance.now();
    showModel(s.model);
    health(s.draining ? "bad" : "ok", s.draining ? "draining" : "serving");
    if (before) {
      rates.push(Math.max(0, (e.output_tokens - before.tokens) / (now - before.now) * 1000));
      if (rates.length > 60) rates.shift();
      $("total").textContent = rate(rates.at(-1));
      spark();
    }
    before = { tokens: e.output_tokens, now };
    $("running").textContent = e.running;
    $("waiting").textContent = e.waiting;
    $("kv").value = e.kv_blocks ? e.kv_blocks_used / e.kv_blocks : 0;
    $("kvtext").textContent = `${(e.kv_blocks_used * e.block_tokens).toLocaleString()} of ${(e.kv_blocks * e.block_tokens).toLocaleString()} tokens`;
    showMachines(s.cluster);
    if ($("status").closest("details").open) $("status").replaceChildren(tree({ model: s.model, engine: e, ...s.cluster }));
    note.textContent = "";
    note.className = "note";
  } catch (error) {
    before = null;
    health("bad", "no connection");
    note.textContent = error.message;
    note.className = "note bad";
  }
}

async function watch() {
  for (;;) {
    if (!document.hidden) await poll();
    await new Promise(done => setTimeout(done, 2000));
  }
}

// --- Controls ---

function setMode() {
  const chat = mode() === "chat";
  $("systembox").hidden = !chat;
  $("hint").textContent = chat ? "Ask something, in any of the model's languages."
    : "Begin a text and the model will continue it.";
  $("tries").replaceChildren(...tries[chat ? "chat" : "text"].map(text => {
    const button = document.createElement("button");
    button.type = "button";
    button.dir = "auto";
    button.textContent = text;
    button.onclick = () => { prompt.value = text; grow(); submit(); };
    return button;
  }));
}

function grow() {
  prompt.style.height = "auto";
  prompt.style.height = prompt.scrollHeight + "px";
}

function submit() {
  if (flight || prompt.value.trim() === "") return;
  const text = prompt.value;
  prompt.value = "";
  grow();
  ask(text);
}

function clear() {
  flight?.abort();
  turns = [];
  log.replaceChildren();
  prompt.focus();
}

form.addEventListener("submit", e => { e.preventDefault(); submit(); });
prompt.addEventListener("input", grow);
prompt.addEventListener("keydown", e => {
  if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); submit(); }
});
document.addEventListener("keydown", e => {
  if (e.key !== "Escape") return;
  if (flight) flight.abort();
  else if ($("panel").classList.contains("open")) $("toggle").click();
});
$("stop").addEventListener("click", () => flight?.abort());
$("clear").addEventListener("click", clear);
for (const radio of document.querySelectorAll("input[name=mode]")) radio.addEventListener("change", () => { clear(); setMode(); });
$("toggle").addEventListener("click", () => {
  $("toggle").setAttribute("aria-expanded", $("panel").classList.toggle("open"));
});
$("key").value = sessionStorage.getItem("key") ?? "";
$("key").addEventListener("change", () => { sessionStorage.setItem("key", $("key").value.trim()); poll(); });
document.querySelector("input[value=text]").checked = true;
setMode();
spark();
watch();
