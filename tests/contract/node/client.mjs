// The official Node client, doing what its users do: `node client.mjs <base URL> <key> <what>` prints what came as JSON.
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey, what, withWhat] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });

const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get current weather",
    parameters: {
      type: "object",
      properties: { location: { type: "string" } },
      required: ["location"],
    },
  },
};
const colours = {
  type: "object",
  properties: { colors: { type: "array", items: { type: "string" }, maxItems: 4 } },
  required: ["colors"],
  additionalProperties: false,
};

const user = (content) => [{ role: "user", content }];
const ask = (messages, fields) =>
  client.chat.completions.create({ model: "default", messages, temperature: 0, max_tokens: 60, ...fields });

async function errorOf(promise) {
  try {
    await promise;
  } catch (error) {
    const known = ["BadRequestError", "AuthenticationError", "NotFoundError"];
    const kinds = known.filter((name) => error instanceof OpenAI[name]);
    return { kinds, status: error.status, code: error.code ?? null, message: error.message };
  }
  return null;
}

const doings = {
  async models() {
    const rows = [];
    for await (const row of client.models.list()) rows.push([row.id, row.object]);
    return { rows, one: await client.models.retrieve(rows[0][0]) };
  },

  async chat() {
    return ask(user("Write one sentence about a cat."), {
      venice_parameters: { include_venice_system_prompt: false },
    });
  },

  async stream() {
    const stream = await ask(user("Write one sentence about a cat."), { stream: true });
    let text = "";
    let last = null;
    for await (const chunk of stream) {
      if (chunk.choices[0].delta.content) text += chunk.choices[0].delta.content;
      last = chunk;
    }
    return { text, finish_reason: last.choices[0].finish_reason, usage: last.usage };
  },

  async tools() {
    const messages = user("What's the weather in Paris?");
    const first = await ask(messages, { tools: [weather] });
    const said = first.choices[0].message;
    messages.push(said);
    for (const call of said.tool_calls) {
      const content = JSON.stringify({ temperature_c: 17, sky: "foggy" });
      messages.push({ role: "tool", tool_call_id: call.id, content });
    }
    const second = await ask(messages, { tools: [weather] });
    return { first, second };
  },

  async streamed_tools() {
    const runner = client.chat.completions.stream({
      model: "default",
      messages: user("What's the weather in Paris?"),
      tools: [weather],
      tool_choice: "required",
      parallel_tool_calls: false,
      temperature: 0,
      max_tokens: 80,
    });
    return runner.finalChatCompletion();
  },

  async schema() {
    const json_schema = { name: "color_list", strict: true, schema: colours };
    return ask(user("List 3 colors"), { response_format: { type: "json_schema", json_schema } });
  },

  async errors() {
    const stranger = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
    return {
      field: await errorOf(ask(user("Hi"), { temperature: 3 })),
      model: await errorOf(ask(user("Hi"), { model: "no-such-model" })),
      key: await errorOf(stranger.chat.completions.create({ model: "default", messages: user("Hi") })),
      context: await errorOf(ask(user("word ".repeat(30000)))),
    };
  },

  async leaving() {
    const stream = await ask(user("Write a very long story."), { stream: true, max_tokens: 3000 });
    let chunks = 0;
    for await (const _ of stream) if (++chunks === 3) break;
    const next = await ask(user("Say hello."), { max_tokens: 4 });
    return { chunks, next };
  },

  async spoken(forms) {
    const input = "The fondaco opens at seven in the morning, and every merchant keeps his own key.";
    const heard = {};
    for (const form of forms.split(",")) {
      const speech = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input, response_format: form });
      const file = await toFile(Buffer.from(await speech.arrayBuffer()), `speech.${form}`);
      heard[form] = (await client.audio.transcriptions.create({ model: "whisper-1", file })).text;
    }
    return heard;
  },

  async vectors() {
    const input = ["A ship enters the lagoon.", "Boats sail on water."];
    const made = await client.embeddings.create({ model: "text-embedding-3-small", input });
    return { model: made.model, vectors: made.data.map((row) => row.embedding), usage: made.usage };
  },

  async backing_off() {
    const patient = new OpenAI({ baseURL, apiKey, maxRetries: 2 });
    const asked = { model: "m", messages: user("hi"), max_tokens: 1 };
    const begun = performance.now();
    const answer = await patient.chat.completions.create(asked);
    return { seconds: (performance.now() - begun) / 1000, text: answer.choices[0].message.content };
  },
};

console.log(JSON.stringify(await doings[what](withWhat)));
