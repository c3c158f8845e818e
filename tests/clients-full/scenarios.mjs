// The JavaScript SDKs, one scenario per run: node scenarios.mjs NAME BASE_URL writes what it came to as JSON.
import { Agent, run, setDefaultOpenAIClient, setTracingDisabled, tool as agentTool } from '@openai/agents';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const [name, baseURL] = process.argv.slice(2);
const MODEL = 'gpt-5.5';
const CALL = '<<tool:add:{"a":40,"b":2}>> add';
const apiKey = 'none';
const inputSchema = z.object({ a: z.number(), b: z.number() });
const execute = async ({ a, b }) => String(a + b);
const tools = { add: tool({ description: 'adds', inputSchema, execute }) };
const stateless = { openai: { reasoningEffort: 'low', store: false, include: ['reasoning.encrypted_content'] } };
const openai = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
globalThis.AI_SDK_LOG_WARNINGS = false;

async function textOf(stream) {
  let text = '';
  for await (const part of stream) text += part;
  return text;
}

// What each of the AI SDK's models can do.
const ofAModel = {
  generate: async model => (await generateText({ model, prompt: '<<say:hello>> hi' })).text,
  stream: async model => {
    const result = streamText({ model, prompt: '<<say:one two three>> hi' });
    return [await textOf(result.textStream), await result.finishReason];
  },
  tools: async model => (await generateText({ model, prompt: CALL, tools, stopWhen: stepCountIs(3) })).text,
  stream_tools: async model => textOf(streamText({ model, prompt: CALL, tools, stopWhen: stepCountIs(3) }).textStream),
  object: async model => {
    const schema = z.object({ city: z.string(), size: z.number() });
    return (await generateText({ model, prompt: '<<say:Lima>> as json', output: Output.object({ schema }) })).output;
  },
};

// Three turns, the second with a tool, each with all that was said before.
async function conversation(model, providerOptions) {
  const messages = [], said = [];
  for (const prompt of ['<<say:first>> one', CALL, '<<say:third>> three']) {
    messages.push({ role: 'user', content: prompt });
    const result = await generateText({ model, messages, tools, stopWhen: stepCountIs(3), providerOptions });
    messages.push(...result.response.messages);
    said.push(result.text);
  }
  return said;
}

const aiModels = {
  responses: createOpenAI({ baseURL, apiKey })(MODEL),
  chat: createOpenAI({ baseURL, apiKey }).chat(MODEL),
  compatible: createOpenAICompatible({ name: 'codex-lb', baseURL, apiKey })(MODEL),
};

const scenarios = {
  'ai.conversation': () => conversation(aiModels.responses, stateless),
  // `store` left alone: later steps name what was thought and called by its id only.
  'ai.item_reference': () => conversation(aiModels.responses, { openai: { reasoningEffort: 'low' } }),
  'agents.tool': async () => {
    setTracingDisabled(true);
    setDefaultOpenAIClient(new OpenAI({ baseURL, apiKey }));
    const add = agentTool({ name: 'add', description: 'adds', parameters: inputSchema, execute });
    const agent = new Agent({ name: 'clerk', instructions: 'Be brief.', model: MODEL, tools: [add] });
    return (await run(agent, CALL)).finalOutput;
  },
  'openai.models': async () => (await openai.models.list()).data.map(model => model.id),
  'openai.chat': async () => {
    const messages = [{ role: 'user', content: '<<say:hello>>' }];
    return (await openai.chat.completions.create({ model: MODEL, messages })).choices[0].message.content;
  },
  'openai.chat_stream': async () => {
    const messages = [{ role: 'user', content: '<<say:one two>>' }];
    let text = '';
    for await (const chunk of await openai.chat.completions.create({ model: MODEL, messages, stream: true }))
      text += chunk.choices[0]?.delta?.content ?? '';
    return text;
  },
  'openai.responses': async () => (await openai.responses.create({ model: MODEL, input: '<<say:hello>>' })).output_text,
  'openai.responses_stream': async () => {
    const stream = openai.responses.stream({ model: MODEL, input: '<<say:one two>>' });
    for await (const _ of stream);
    return (await stream.finalResponse()).output_text;
  },
  'openai.parse': async () => {
    const format = zodTextFormat(z.object({ city: z.string() }), 'place');
    return (await openai.responses.parse({ model: MODEL, input: '<<say:Oslo>>', text: { format } })).output_parsed;
  },
  'openai.cut': async () => {
    const seen = [];
    try {
      for await (const event of await openai.responses.create({ model: MODEL, input: '<<say:a b c d>>', stream: true }))
        seen.push(event.type);
    } catch (error) {
      seen.push(error.constructor.name);
    }
    return seen.at(-1);
  },
};
for (const [kind, model] of Object.entries(aiModels))
  for (const [what, doIt] of Object.entries(ofAModel)) scenarios[`ai.${kind}.${what}`] = () => doIt(model);

process.stdout.write(JSON.stringify((await scenarios[name]()) ?? null));
process.exit(0); // idle connections would keep it alive
