// Takes the schemas that the tests need, and what they refer to, out of OpenAI's description of its API:
//   node extract-schemas.mjs openapi.json > schemas.json
import fs from "node:fs";

const roots = [
  "CreateChatCompletionResponse", "CreateChatCompletionStreamResponse", "CreateCompletionResponse", "ListModelsResponse",
  "Model", "ErrorResponse",
];
const prefix = "#/components/schemas/";
const spec = JSON.parse(fs.readFileSync(process.argv[2]));

// clean drops what says nothing about validity and turns OpenAPI 3.0's "nullable" into an alternative, as JSON Schema has it.
function clean(value) {
  if (Array.isArray(value)) return value.map(clean);
  if (value === null || typeof value !== "object") return value;
  const out = {};
  for (const [key, inner] of Object.entries(value)) {
    if (/^(description|example|examples|title|deprecated|nullable|discriminator|x-.*)$/.test(key) && typeof inner !== "object") continue;
    if (/^(example|examples|discriminator|x-.*)$/.test(key)) continue;
    out[key] = clean(inner);
  }
  return value.nullable === true ? { anyOf: [out, { type: "null" }] } : out;
}

const schemas = {};
function take(name) {
  if (schemas[name]) return;
  schemas[name] = clean(spec.components.schemas[name]);
  for (const [, inner] of JSON.stringify(schemas[name]).matchAll(/"#\/components\/schemas\/([^"]+)"/g)) take(inner);
}
roots.forEach(take);
const components = { schemas: Object.fromEntries(Object.entries(schemas).sort(([a], [b]) => (a < b ? -1 : 1))) };
console.log(JSON.stringify({ source: `${spec.info.title} ${spec.info.version}, MIT licence`, components }, null, 1));
