import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * What the model does next: the command that codex is to run, given what each command so far printed; null: it has
 * nothing left to do.
 */
export type Model = (printed: readonly string[]) => string | null;

export interface CodexServer {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  /** What else codex asked for: other addresses here, other hosts through the proxy that this is, too. */
  readonly foreign: readonly string[];
  close(): Promise<void>;
}

/**
 * Stands in for the model behind a real codex, on the loopback interface: answers `POST /v1/responses` as the
 * Responses API does, one command after the other. A request holds the whole conversation, so nothing is kept here
 * and a request that is sent twice is answered twice alike.
 */
export async function startCodexServer(model: Model): Promise<CodexServer> {
  const foreign: string[] = [];
  const server = createServer((request, response) => {
    if (request.method === 'POST' && request.url === '/v1/responses') {
      answer(request, response, model).catch((error: unknown) => response.destroy(error as Error));
      return;
    }
    foreign.push(`${request.method} ${request.url}`);
    response.writeHead(404).end();
  });
  server.on('connect', (request, socket) => {
    foreign.push(`CONNECT ${request.url}`);
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    foreign,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The file `config.toml` of a codex that asks this server and nobody else. */
export function codexConfig(url: string): string {
  return `model = "scripted"
model_provider = "loopback"
check_for_update_on_startup = false

[model_providers.loopback]
name = "loopback"
base_url = "${url}/v1"
wire_api = "responses"

[analytics]
enabled = false

[features]
plugins = false
`;
}

async function answer(request: IncomingMessage, response: ServerResponse, model: Model): Promise<void> {
  const printed = outputsOf(JSON.parse(await textOf(request)));
  const number = printed.length + 1;
  const command = model(printed);
  const item =
    command === null
      ? { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'That is all.' }] }
      : {
          type: 'function_call',
          call_id: `call-${number}`,
          name: 'exec_command',
          arguments: JSON.stringify({ cmd: command }),
        };
  const id = `response-${number}`;
  const usage = { input_tokens: 1, output_tokens: 1, total_tokens: 2 };
  const events = [
    { type: 'response.created', response: { id } },
    { type: 'response.output_item.done', output_index: 0, item },
    { type: 'response.completed', response: { id, usage } },
  ];
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(''));
}

/** What the commands of a conversation printed, as codex reports it. */
function outputsOf(conversation: { readonly input: readonly Record<string, unknown>[] }): string[] {
  return conversation.input
    .filter((item) => item.type === 'function_call_output')
    .map(({ output }) => (typeof output === 'string' ? output : JSON.stringify(output)));
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
