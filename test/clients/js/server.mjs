// Where the server under test is: POLYNODE_URL, and POLYNODE_KEY if it wants a key.
export const url = (process.env.POLYNODE_URL ?? "").replace(/\/$/, "");
export const key = process.env.POLYNODE_KEY ?? "none";
export const skip = url ? false : "POLYNODE_URL is not set";
export const prompt = "Alle Menschen sind frei und";

// post sends a body as it is.
export function post(path, body, signal) {
  return fetch(url + path, {
    method: "POST", signal, body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", Authorization: "Bearer " + key },
  });
}

export async function get(path) {
  return (await fetch(url + path, { headers: { Authorization: "Bearer " + key } })).json();
}

export async function model() {
  return (await get("/v1/models")).data[0];
}

// until waits for a condition on the server.
export async function until(what, ok) {
  for (const end = Date.now() + 20_000; Date.now() < end; await new Promise(done => setTimeout(done, 50))) {
    if (await ok()) return;
  }
  throw new Error("waited 20 s for " + what);
}
