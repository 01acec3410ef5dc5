/** `metawsm guide`: answer an agent's oldest open question. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { answerQuestion, type Guided } from '../execute/guide.js';
import { indented } from '../report/stream.js';
import { MAX_DOCUMENT_BYTES, safeText } from '../tools/files.js';
import type { CommandModule } from './commands.js';
import type { CommandContext } from './context.js';
import { CommandError } from './errors.js';
import { EXIT } from './exit-codes.js';
import { namedAgents } from './operate.js';
import { type CommandOptions, text } from './options.js';
import { reportEnd } from './outcome.js';
import { endStream, noting, summaryOf, versionEvent } from './summary.js';
import {
  refuseInsideWorkspace,
  reporterOf,
  selectRun,
  spellingFor,
  warnOfBrokenManifest,
  worldOf,
} from './world.js';

export const run: CommandModule['run'] = async (ctx, positionals, options) => {
  await refuseInsideWorkspace(ctx);
  const begun = ctx.now();
  const answer = await answerOf(ctx, options);
  const { store, stateFolder, run: selected } = await selectRun(ctx, positionals, options);
  const reporter = noting(reporterOf(ctx));
  const world = worldOf(ctx, store, stateFolder, reporter);
  try {
    const agent = namedAgents(selected, options)?.[0] ?? null;
    reporter.emit(versionEvent(ctx));
    await warnOfBrokenManifest(ctx, selected, reporter);
    const request = { text: answer, agent, id: text(options, 'id') };
    const guided = await answerQuestion(selected.id, request, world, ctx.globals.lockTimeoutMs);
    const { run: after, looked } = guided;
    const exitCode = guided.kind === 'answered' ? EXIT.done : EXIT.refused;
    if (guided.kind === 'answered' && !ctx.json && !ctx.quiet) {
      const { id, agent: name, question } = guided.guidance;
      ctx.stdout(`answered ${id} of agent ${safeText(name)}:\n${indented(question)}\n`);
    }
    const error = guided.kind === 'answered' ? null : refusal(guided, request);
    reportEnd(reporter, {
      run: after,
      outcome: looked.outcome,
      exitCode,
      changed: guided.kind === 'answered',
      error,
      hints: guided.kind === 'answered' ? [] : [(await spellingFor(ctx, after, world))(hintFor(guided))],
    });
    const summary = await summaryOf(ctx, {
      world,
      run: after,
      outcome: looked.outcome,
      ticket: after.ticketId,
      manifest: after.intent.manifestPath,
      exitCode,
      changed: guided.kind === 'answered',
      error,
    });
    reporter.emit({ type: 'summary', exitCode, durationMs: ctx.now() - begun, runs: [summary] });
    return exitCode;
  } catch (error) {
    return await endStream(ctx, reporter, error, { run: selected, world, begun });
  } finally {
    await store.close();
  }
};

/** The answer to the letter. Throws `CommandError` (64) for none, both sources, an empty or an unusable one. */
async function answerOf(ctx: CommandContext, options: CommandOptions): Promise<string> {
  const given = text(options, 'answer');
  const file = text(options, 'answerFile');
  if ((given === null) === (file === null)) {
    throw usage(
      given === null ? 'no answer is given' : '--answer and --answer-file are both given',
      "say --answer TEXT, or --answer-file FILE ('-' is stdin)",
    );
  }
  const answer = given ?? (await readAnswer(ctx, file ?? ''));
  if (answer.trim() === '') throw usage('the answer is empty', 'an agent cannot go on with nothing');
  if (answer.includes('\0')) throw usage('the answer holds a NUL character', 'leave it out');
  // As it will stand in the response, beside the question: a control character takes six bytes there.
  if (Buffer.byteLength(JSON.stringify(answer)) > MAX_DOCUMENT_BYTES / 2) {
    throw usage('the answer is larger than 512 KiB', 'put it into a file, and answer with its path');
  }
  return answer;
}

async function readAnswer(ctx: CommandContext, file: string): Promise<string> {
  try {
    if (file !== '-') return await readFile(resolve(ctx.cwd, file), 'utf8');
    const chunks: Buffer[] = [];
    for await (const chunk of ctx.stdin) chunks.push(Buffer.from(chunk as Buffer));
    return Buffer.concat(chunks).toString('utf8');
  } catch (error) {
    throw usage(`the answer cannot be read: ${(error as Error).message}`, 'name a file that can be read');
  }
}

function usage(message: string, hint: string): CommandError {
  return new CommandError({ exitCode: EXIT.usage, code: 'usage', message, hint });
}

function refusal(
  guided: Exclude<Guided, { kind: 'answered' }>,
  request: { readonly agent: string | null; readonly id: string | null },
) {
  const { run } = guided;
  if (guided.kind === 'none') {
    const which =
      request.id !== null ? ` ${request.id}` : request.agent !== null ? ` of agent ${request.agent}` : '';
    return {
      code: 'nothing_pending',
      stepId: null,
      message: `run ${run.id} has no open question${which}`,
      logTail: [],
    };
  }
  const now = guided.now === null ? 'it was taken back' : `now it asks:\n${indented(guided.now)}`;
  return {
    code: 'question_changed',
    stepId: null,
    message: `the question changed while it was answered; nothing was delivered. It was:\n${indented(guided.answered.question)}\n${now}`,
    logTail: [],
  };
}

function hintFor(guided: Exclude<Guided, { kind: 'answered' }>): string {
  return guided.kind === 'none'
    ? `metawsm status ${guided.run.selector} shows where it stands`
    : `look at metawsm status ${guided.run.selector}, then answer again`;
}
