/** `metawsm signal`: how an agent speaks. Writes sentinel files by rename; never opens the database. */
import { dirname } from 'node:path';
import { normaliseCriterion } from '../plan/evidence.js';
import { type Answer, ask, awaitAnswer, take } from '../sentinels/ask.js';
import { findPlace, type SignalPlace } from '../sentinels/place.js';
import { sentinelFile, sentinelText, writeSentinel } from '../sentinels/sentinels.js';
import { safeText } from '../tools/files.js';
import { run as git } from '../tools/git.js';
import type { CommandContext } from './context.js';
import { CommandError } from './errors.js';
import { EXIT } from './exit-codes.js';
import { type CommandOptions, flag, number, text, texts } from './options.js';

/** What `signal` needs of a command's context. */
export type SignalIo = Pick<CommandContext, 'cwd' | 'env' | 'stdout' | 'stderr' | 'json' | 'quiet' | 'now'>;

export async function run(
  ctx: CommandContext,
  positionals: readonly string[],
  options: CommandOptions,
): Promise<number> {
  return signalCommand(positionals[0] ?? '', options, ctx);
}

/**
 * Carry out one kind of signal. Gives the exit code, and throws a `CommandError` for wrong use (64), outside a
 * workspace (64), and for a wait that ends without an answer (1, 4, 5).
 */
export async function signalCommand(kind: string, options: CommandOptions, io: SignalIo): Promise<number> {
  switch (kind) {
    case 'complete':
      return complete(options, io);
    case 'guidance':
      return guidance(options, io);
    case 'validation':
      return validation(options, io);
    default:
      throw wrongUse(`"${kind}" is no kind of signal`, 'it is guidance, complete or validation');
  }
}

async function complete(options: CommandOptions, io: SignalIo): Promise<number> {
  const place = await placeOfAgent(options, io);
  const summary = text(options, 'summary');
  const file = await write(place, 'implementation-complete', { ...speaker(place), summary });
  report(io, place, 'complete', { file, summary }, `completion of ${place.agent} recorded in ${file}`);
  return EXIT.done;
}

async function guidance(options: CommandOptions, io: SignalIo): Promise<number> {
  const question = text(options, 'question') ?? '';
  if (question.trim() === '') {
    throw wrongUse('the question is empty', "ask something: --question 'Which cache?'");
  }
  const requestId = text(options, 'requestId');
  if (requestId !== null && !/^[^\s\p{C}]{1,200}$/u.test(requestId)) {
    throw wrongUse('--request-id is not an id', 'give 1 to 200 characters without white space');
  }
  const timeoutMs = number(options, 'timeout');
  if (timeoutMs !== null && !flag(options, 'wait'))
    throw wrongUse('--timeout goes with --wait', 'add --wait');
  const asking = { question, context: contextOf(text(options, 'context')), requestId };
  checked('guidance-request', { question, context: asking.context });

  const place = await placeOfAgent(options, io);
  const asked = await ask(place, asking, io.now());
  if (asked.kind === 'answered') return answer(io, place, question, asked.answer);
  if (!flag(options, 'wait')) {
    const how = `metawsm signal guidance --question … --wait`;
    report(
      io,
      place,
      'guidance',
      { file: sentinelFile(place.dir, 'guidance-request'), question, ...pending(asked.requestId) },
      `asked${asked.requestId === null ? '' : ` as ${asked.requestId}`}; the operator answers with metawsm guide\nwait for it: ${how} (the same question)`,
    );
    return EXIT.done;
  }

  if (!io.quiet) io.stderr('waiting for the operator to answer (metawsm guide)\n');
  const waited = await awaitAnswer(place, question, asked.requestId, timeoutMs);
  switch (waited.kind) {
    case 'answered':
      return answer(io, place, question, waited.answer);
    case 'timeout':
      throw new CommandError({
        exitCode: EXIT.timedOut,
        code: 'timed_out',
        message: 'no answer yet',
        hint: 'the question stays: run the same command again to go on waiting',
      });
    case 'replaced':
      throw new CommandError({
        exitCode: EXIT.refused,
        code: 'question_replaced',
        message: `another question took its place: ${waited.question}`,
        hint: 'an agent has one question at a time; ask again once that one is answered',
      });
    case 'gone':
      throw new CommandError({
        exitCode: EXIT.failed,
        code: 'workspace_gone',
        message: `cannot wait for the answer: ${waited.reason}`,
      });
  }
}

/** Print an answer, and only then mark it as read. */
async function answer(io: SignalIo, place: SignalPlace, question: string, found: Answer): Promise<number> {
  const { value } = found;
  const words = value.answer ?? '';
  const fields = {
    file: sentinelFile(place.dir, 'guidance-response'),
    question,
    state: 'answered',
    request_id: value.request_id ?? null,
    guidance_id: value.guidance_id ?? null,
    answer: words,
    answered_at: value.answered_at ?? null,
  };
  if (io.json) io.stdout(document(place, 'guidance', fields));
  else io.stdout(`${safeText(words).replace(/\n$/, '')}\n`);
  await take(place, found, io.now());
  return EXIT.done;
}

function pending(requestId: string | null) {
  return { state: 'pending', request_id: requestId, guidance_id: null, answer: null, answered_at: null };
}

async function validation(options: CommandOptions, io: SignalIo): Promise<number> {
  const status = text(options, 'status');
  if (status !== 'passed' && status !== 'failed') {
    throw wrongUse('no status', 'say --status passed or --status failed');
  }
  const given = texts(options, 'done');
  if (given.some((criterion) => criterion.trim() === '')) {
    throw wrongUse('a criterion is empty', 'give its words: --done TEXT');
  }
  const place = await placeOf(options, io, true);
  const { context } = place;
  if (status === 'passed' && given.length === 0 && context === null) {
    throw wrongUse(
      'the criteria of this run are not known here',
      'name those that hold: --done TEXT, once for each',
    );
  }
  const criteria = context?.done_criteria ?? [];
  const worded = criteria
    .filter((criterion) => criterion.kind === 'worded')
    .map((criterion) => criterion.text);
  const done = given.length > 0 ? given : status === 'passed' ? worded : [];
  const known = new Set(criteria.map((criterion) => normaliseCriterion(criterion.text)));
  const unknown = context === null ? [] : done.filter((one) => !known.has(normaliseCriterion(one)));

  const heads: Record<string, string> = {};
  for (const repo of context?.repos ?? []) heads[repo.name] = await headOf(repo.path);
  const file = await write(place, 'validation-result', {
    ...speaker(place),
    status,
    done_criteria: done,
    checks: texts(options, 'check'),
    ...(context === null ? {} : { heads }),
  });
  for (const one of unknown) io.stderr(`warning: no criterion of this run: ${safeText(one)}\n`);
  report(
    io,
    place,
    'validation',
    { file, status, done_criteria: done, heads: context === null ? null : heads },
    `validation ${status}, ${done.length} of ${criteria.length} criteria named${at(heads)}`,
  );
  return EXIT.done;
}

/** The commits a verdict is about, short, for a person. */
function at(heads: Readonly<Record<string, string>>): string {
  const list = Object.entries(heads).map(([repo, commit]) => `${repo} ${commit.slice(0, 8)}`);
  return list.length === 0 ? '' : `, at ${list.join(', ')}`;
}

async function placeOf(options: CommandOptions, io: SignalIo, forRun: boolean): Promise<SignalPlace> {
  const found = await findPlace(io.cwd, io.env, text(options, 'agent'), forRun);
  if (found.kind === 'place') return found.place;
  throw new CommandError({ exitCode: EXIT.usage, code: 'usage', message: found.message, hint: found.hint });
}

/** The same for what only an agent says. */
async function placeOfAgent(options: CommandOptions, io: SignalIo): Promise<SignalPlace> {
  const place = await placeOf(options, io, false);
  if (place.agent === null && place.context !== null) {
    throw wrongUse('this run has no agents', 'only an agent asks and reports completion');
  }
  return place;
}

function speaker(place: SignalPlace) {
  return { run_id: place.runId, agent: place.agent, attempt: place.attempt };
}

async function write(
  place: SignalPlace,
  kind: 'implementation-complete' | 'validation-result',
  value: object,
): Promise<string> {
  checked(kind, value);
  await writeSentinel(place.workspace, place.dir, kind, value);
  return sentinelFile(place.dir, kind);
}

/** What the flags gave must fit into a sentinel: too long a text is wrong use, found before anything is written. */
function checked(kind: Parameters<typeof sentinelText>[0], value: object): void {
  try {
    sentinelText(kind, value);
  } catch (error) {
    throw wrongUse((error as Error).message, 'shorten it, or put it in a file and name the file');
  }
}

/** JSON where it is JSON, else the text itself. */
function contextOf(given: string | null): unknown {
  if (given === null) return undefined;
  try {
    return JSON.parse(given) as unknown;
  } catch {
    return given;
  }
}

/** The commit of a worktree, and of that folder only: not of a repository that the workspace happens to lie in. */
async function headOf(worktree: string): Promise<string> {
  const env = { GIT_CEILING_DIRECTORIES: dirname(worktree) };
  return (await git(worktree, ['rev-parse', '--verify', 'HEAD^{commit}'], { env })).stdout.trim();
}

function report(io: SignalIo, place: SignalPlace, kind: string, fields: object, words: string): void {
  if (io.json) io.stdout(document(place, kind, fields));
  else if (!io.quiet) io.stdout(`${safeText(words)}\n`);
}

function document(place: SignalPlace, kind: string, fields: object): string {
  return `${JSON.stringify({ format_version: 1, kind: 'signal', signal: kind, ...speaker(place), ...fields })}\n`;
}

function wrongUse(message: string, hint: string): CommandError {
  return new CommandError({ exitCode: EXIT.usage, code: 'usage', message: `signal: ${message}`, hint });
}
