/** The log of one agent, read in pieces and made fit to be shown. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { StringDecoder } from 'node:string_decoder';
import { attemptFolder } from '../execute/paths.js';
import type { RecordedRun } from '../plan/recorded.js';
import { chained, cleaner, lineSplitter, masker } from '../report/log-text.js';
import { logFileOf, readAttempt } from '../sessions/attempt.js';
import { probe } from '../tools/process.js';

const CHUNK_BYTES = 65_536;

/** Prints a text of an agent's log. */
export type PrintLog = (agent: string, text: string) => Promise<void>;

export interface AgentLogOptions {
  readonly stateFolder: string;
  /** Values that are not shown. */
  readonly secrets: readonly string[];
  /** One object a line in place of the text itself. */
  readonly json: boolean;
}

/** Follows an agent from attempt to attempt, beginning with the newest. */
export class AgentLog {
  #attempt: number;
  #reader: LogReader | null = null;
  #isEmpty = true;
  #filter: { write(text: string): string; end(): string };

  constructor(
    private readonly run: RecordedRun,
    readonly name: string,
    private readonly options: AgentLogOptions,
  ) {
    this.#attempt = this.#attemptIn(run);
    this.#filter = this.#newFilter();
  }

  /** The attempt whose log is shown; 0: never started. */
  get attempt(): number {
    return this.#attempt;
  }

  /** Whether nothing has come of the attempt whose log is shown. */
  get isEmpty(): boolean {
    return this.#isEmpty;
  }

  /** Whether the attempt may print more: its process, or the wrapper that is about to start it, lives. */
  isAlive(): boolean {
    if (this.#attempt === 0) return false;
    const { exit, started, claimIdentity } = readAttempt(this.#folder());
    const who = started ?? claimIdentity;
    return exit === null && who !== null && probe(who) !== 'dead';
  }

  /** Prints what has come since the last time, until `stop`. */
  async printNew(print: PrintLog, stop: AbortSignal): Promise<void> {
    if (this.#attempt === 0) return;
    this.#reader ??= new LogReader(logFileOf(this.#folder()));
    while (!stop.aborted) {
      const text = await this.#reader.read();
      if (text === '') return;
      this.#isEmpty = false;
      await print(this.name, this.#filter.write(text));
    }
  }

  /** Goes on with the newest attempt of a run as it is recorded now. Resolves to whether that is another one. */
  async update(run: RecordedRun, print: PrintLog): Promise<boolean> {
    const attempt = this.#attemptIn(run);
    if (attempt === this.#attempt) return false;
    await this.finish(print);
    this.#attempt = attempt;
    this.#isEmpty = true;
    this.#filter = this.#newFilter();
    return true;
  }

  /** Prints what was held back, and closes the file. */
  async finish(print: PrintLog): Promise<void> {
    const rest = this.#filter.write(this.#reader?.rest() ?? '') + this.#filter.end();
    await this.#reader?.close();
    this.#reader = null;
    await print(this.name, rest);
  }

  #attemptIn(run: RecordedRun): number {
    return run.agents.find((agent) => agent.name === this.name)?.attempt ?? 0;
  }

  #folder(): string {
    return attemptFolder(this.options.stateFolder, this.run.id, this.name, this.#attempt);
  }

  #newFilter() {
    const { secrets, json } = this.options;
    // Masked again afterwards: a sequence in the middle of a secret hides it from the first.
    if (!json) return chained(masker(secrets), cleaner(), masker(secrets));
    const mask = masker(secrets);
    const lines = lineSplitter();
    const attempt = this.#attempt;
    const asJson = (texts: readonly string[]): string =>
      texts
        .map((text) => ({ type: 'log', run_id: this.run.id, agent: this.name, attempt, text }))
        .map((line) => `${JSON.stringify(line)}\n`)
        .join('');
    return {
      write: (text: string) => asJson(lines.write(mask.write(text))),
      end: () => asJson([...lines.write(mask.end()), ...lines.end()]),
    };
  }
}

/** Reads a file that grows. Memory is bounded by one piece. */
class LogReader {
  readonly #buffer = Buffer.alloc(CHUNK_BYTES);
  #decoder = new StringDecoder('utf8');
  #handle: FileHandle | null = null;
  #offset = 0;

  constructor(private readonly file: string) {}

  /** The next piece; empty: there is none now. */
  async read(): Promise<string> {
    this.#handle ??= await openLog(this.file);
    if (this.#handle === null) return '';
    // Bytes that end in the middle of a character give no text yet.
    for (;;) {
      const { bytesRead } = await this.#handle.read(this.#buffer, 0, CHUNK_BYTES, this.#offset);
      if (bytesRead === 0) {
        const { size } = await this.#handle.stat();
        if (size >= this.#offset) return '';
        // Somebody emptied it.
        this.#offset = 0;
        this.#decoder = new StringDecoder('utf8');
        continue;
      }
      this.#offset += bytesRead;
      const text = this.#decoder.write(this.#buffer.subarray(0, bytesRead));
      if (text !== '') return text;
    }
  }

  /** What is left of a character that never ended. */
  rest(): string {
    return this.#decoder.end();
  }

  async close(): Promise<void> {
    await this.#handle?.close();
    this.#handle = null;
  }
}

/** null: it is not there (yet), or is no file. */
async function openLog(file: string): Promise<FileHandle | null> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(file, flags).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error.code === 'ELOOP') return null;
    throw error;
  });
  if (handle === null || (await handle.stat()).isFile()) return handle;
  await handle.close();
  return null;
}
