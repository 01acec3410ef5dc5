/**
 * `metawsm logs <sel> [-f] [--agent NAME]`: what the newest attempt of each agent printed. With `--json` one
 * object a line, one for each line of the log: `{type: "log", run_id, agent, attempt, text}`.
 */
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { secretsOf } from '../execute/agent-env.js';
import type { RecordedAgent, RecordedRun } from '../plan/recorded.js';
import { paint } from '../report/paint.js';
import { AgentLog, type PrintLog } from './agent-log.js';
import type { CommandContext } from './context.js';
import { interruptedBy, wrongUsage } from './errors.js';
import { EXIT } from './exit-codes.js';
import { selectOrHere } from './looking.js';
import { type CommandOptions, flag, text } from './options.js';
import { type Selected, warnOfNamedManifest } from './world.js';

/** How often a log is looked at for more. */
const LOG_INTERVAL_MS = 100;
/** How often it is looked at whether an agent was started again, or the run is over. */
const RUN_INTERVAL_MS = 500;

export async function run(
  ctx: CommandContext,
  positionals: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const selected = await selectOrHere(ctx, positionals, options);
  if (selected === null) throw wrongUsage('logs', 'which run? Give a manifest, a run id or a ticket id');
  const { run: found, stateFolder, store } = selected;
  try {
    await warnOfNamedManifest(ctx, positionals, found);
    const agents = chosenAgents('logs', found, text(options, 'agent'));
    if (agents.length === 0) ctx.stderr(`run ${found.id} has no agents, so there is no log\n`);
    const how = { stateFolder, secrets: secretsOf({ ...ctx.env }, found), json: ctx.json };
    const logs = agents.map((agent) => new AgentLog(found, agent.name, how));
    const print = printer(ctx, logs.length > 1 && !ctx.json);
    const exitCode = flag(options, 'follow')
      ? await follow(ctx, selected, logs, print)
      : await printAll(ctx, logs, print);
    for (const { name, attempt, isEmpty } of logs) {
      if (attempt === 0) ctx.stderr(`agent ${name} was never started, so there is no log\n`);
      else if (isEmpty) ctx.stderr(`agent ${name} has printed nothing in attempt ${attempt}\n`);
    }
    return exitCode;
  } finally {
    await store.close();
  }
}

/** The agents that `--agent` names, or all. Throws `CommandError` (64) for one that is not there. */
export function chosenAgents(
  command: string,
  run: RecordedRun,
  name: string | null,
): readonly RecordedAgent[] {
  const current = run.agents.filter((agent) => !agent.removed);
  if (name === null) return current;
  // One that the manifest dropped still has its log.
  const found = run.agents.find((agent) => agent.name === name);
  if (found !== undefined) return [found];
  const names =
    current.length === 0 ? 'it has none' : `its agents: ${current.map((each) => each.name).join(', ')}`;
  throw wrongUsage(command, `run ${run.id} has no agent ${JSON.stringify(name)}; ${names}`);
}

async function printAll(ctx: CommandContext, logs: readonly AgentLog[], print: PrintLog): Promise<number> {
  for (const log of logs) {
    await log.printNew(print, ctx.outputClosed);
    await log.finish(print);
  }
  return EXIT.done;
}

/** Prints what comes, also of attempts to come, until an interrupt, the end of whoever reads, or of the run. */
async function follow(
  ctx: CommandContext,
  { store, stateFolder, run }: Selected,
  logs: readonly AgentLog[],
  print: PrintLog,
): Promise<number> {
  const stop = AbortSignal.any([ctx.signal, ctx.outputClosed]);
  const printNew = async (): Promise<void> => {
    for (const log of logs) await log.printNew(print, stop);
  };
  const wait = (milliseconds: number) => delay(milliseconds, undefined, { signal: stop }).catch(() => {});
  let isOver = logs.length === 0;
  let lookAgain = 0;
  while (!stop.aborted && !isOver) {
    await printNew();
    if (performance.now() >= lookAgain) {
      const now = await store.loadRun(run.id);
      for (const log of logs) {
        if (await log.update(now, print)) ctx.stderr(`agent ${log.name}: attempt ${log.attempt}\n`);
      }
      isOver = !logs.some((log) => log.isAlive()) && (await isDone(ctx, stateFolder, now));
      lookAgain = performance.now() + RUN_INTERVAL_MS;
    }
    // Also after the end: tmux writes the last words of a session a moment later.
    await wait(LOG_INTERVAL_MS);
  }
  await printNew();
  for (const log of logs) await log.finish(print);
  const interrupted = interruptedBy(ctx.signal);
  if (interrupted === null) return EXIT.done;
  return interrupted === 'SIGINT' ? EXIT.sigint : EXIT.sigterm;
}

/** Whether nobody is about to start an agent of a run that has none alive. Looks, and records nothing. */
async function isDone(ctx: CommandContext, stateFolder: string, run: RecordedRun): Promise<boolean> {
  if (run.state === 'created' || run.state === 'planning') return false;
  if (run.state !== 'running') return true;
  const { lookAt } = await import('../execute/look.js');
  const { outcome } = await lookAt(run, { stateFolder, env: { ...ctx.env }, now: ctx.now });
  return outcome.run !== null && outcome.run.state !== 'running';
}

/** Writes to stdout; `withHeaders` says whose text it is whenever that changes, as `tail` does. */
function printer(ctx: CommandContext, withHeaders: boolean): PrintLog {
  let last: string | null = null;
  let midLine = false;
  return async (agent, shown) => {
    if (shown === '') return;
    if (withHeaders && last !== agent) {
      const gap = last === null ? '' : midLine ? '\n\n' : '\n';
      ctx.stdout(`${gap}${paint(ctx.color).bold(`==> ${agent} <==`)}\n`);
    }
    last = agent;
    midLine = !shown.endsWith('\n');
    ctx.stdout(shown);
    // A reader that is slower than the disk must not fill the memory.
    if (process.stdout.writableNeedDrain) {
      await once(process.stdout, 'drain', { signal: ctx.outputClosed }).catch(() => {});
    }
  };
}
