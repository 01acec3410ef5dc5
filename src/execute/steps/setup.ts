/** Setup commands of a repo: run in the fresh worktree, their output kept, their whole process tree ended with them. */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import type { StepOf } from '../../plan/steps.js';
import { shellArgv } from '../../sessions/argv.js';
import { configSnapshot } from '../../tools/git-config.js';
import { gated, processStart, terminateTree } from '../../tools/process.js';
import { maskedTail, secretsOf } from '../agent-env.js';
import { type CommandEnd, howItEnded } from '../command-end.js';
import { stepLog } from '../paths.js';
import { manifestFolder, type StepContext, StepFailed, type StepHandler } from '../world.js';

const TAIL = 10;

export const setupRun: StepHandler<'setup.run'> = {
  /** Never there: it runs at least once. One that an earlier metawsm left running is ended first. */
  async look(_step, ctx) {
    const row = (await ctx.run()).steps.find((r) => r.id === ctx.planned.id);
    const child = row?.child ?? null;
    if (child !== null) await terminateTree(child, { graceMs: 500 });
    return false;
  },
  async do(step, ctx) {
    const { world, runId, planned } = ctx;
    const run = await ctx.run();
    const log = stepLog(world.stateFolder, runId, planned.id);
    mkdirSync(dirname(log), { recursive: true, mode: 0o700 });
    const { execa } = await import('execa');
    const fd = openSync(log, 'w', 0o600);
    const [file = '', ...args] = gated(shellArgv(step.command, world.env));
    try {
      // Its own process group: an interrupt at the terminal reaches metawsm alone, which ends the group itself.
      const child = execa(file, args, {
        cwd: step.cwd,
        env: { ...world.env, PWD: step.cwd, METAWSM_MANIFEST_DIR: manifestFolder(run) },
        extendEnv: false,
        detached: true,
        cleanup: false,
        reject: false,
        stdin: 'pipe',
        stdout: fd as 1,
        stderr: fd as 1,
        buffer: false,
      });
      const end = await whileRunning(child, ctx);
      const how = howItEnded(end);
      if (how !== null) {
        throw new StepFailed(
          `setup command of repo ${step.repo} ${how}: ${text(step.command)} (in ${step.cwd})`,
          `its output is in ${log}`,
          await maskedTail(log, TAIL, secretsOf(ctx.world.env, await ctx.run())),
        );
      }
    } finally {
      closeSync(fd);
    }
    await keepConfig(step, ctx);
  },
};

/**
 * What setup does to git's configuration (husky's hooks, say) is the operator's will: as long as no agent was
 * there, close compares with what setup left.
 */
async function keepConfig(step: StepOf<'setup.run'>, ctx: StepContext): Promise<void> {
  const run = await ctx.run();
  if (run.agents.some((agent) => agent.attempt > 0)) return;
  const configAtCreation = await configSnapshot(step.cwd);
  await ctx.world.store.updateRepo(run.id, step.repo, { configAtCreation });
}

type Child = PromiseLike<CommandEnd> & {
  readonly pid?: number | undefined;
  readonly stdin: { end(text?: string): unknown; on(event: 'error', listener: () => void): unknown };
};

/** Wait for the command; end its whole tree when the operator interrupts, and whatever it left behind at its end. */
async function whileRunning(child: Child, ctx: StepContext): Promise<CommandEnd> {
  const { world, runId, planned } = ctx;
  const pid = child.pid;
  const pidStart = pid === undefined ? null : processStart(pid);
  const identity = pid === undefined || pidStart === null ? null : { pid, pidStart };
  child.stdin.on('error', () => undefined);
  try {
    if (identity !== null) await world.store.stepChild(runId, planned.id, identity);
    // Only now the command begins: one that nobody has recorded could be run beside a second one.
    child.stdin.end('go\n');
  } finally {
    child.stdin.end();
  }
  let abort: (() => void) | undefined;
  const interrupted = new Promise<never>((_resolve, reject) => {
    abort = () => reject(world.signal.reason);
    if (world.signal.aborted) abort();
    else world.signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([child, interrupted]);
  } finally {
    if (abort !== undefined) world.signal.removeEventListener('abort', abort);
    interrupted.catch(() => undefined);
    if (identity !== null) await terminateTree(identity, { graceMs: 500 });
  }
}

function text(command: string | readonly string[]): string {
  return typeof command === 'string' ? command : command.join(' ');
}
