/** `metawsm attach <sel> [--agent NAME]`: joins the live session of an agent. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { RecordedAgent, RecordedRun } from '../plan/recorded.js';
import { sessionDriver } from '../sessions/index.js';
import type { CommandContext } from './context.js';
import { CommandError, wrongUsage } from './errors.js';
import { EXIT } from './exit-codes.js';
import { chosenAgents } from './logs.js';
import { type CommandOptions, text } from './options.js';
import { refuseInsideWorkspace, selectRun, warnOfNamedManifest } from './world.js';

export async function run(
  ctx: CommandContext,
  positionals: readonly string[],
  options: CommandOptions,
): Promise<number> {
  await refuseInsideWorkspace(ctx);
  const { store, run: found } = await selectRun(ctx, positionals, options);
  // The session may last for days: the record is not kept open beside it.
  await store.close();
  await warnOfNamedManifest(ctx, positionals, found);
  const agent = oneAgent(found, text(options, 'agent'));
  const argv = await sessionOf(ctx, found, agent);
  if (!ctx.isTerminal.stdin || !ctx.isTerminal.stdout) {
    throw refused(
      'no_terminal',
      'attach needs a terminal, and this is none',
      `at one, type: ${argv.map(quoted).join(' ')}`,
    );
  }
  return join(argv, ctx);
}

function oneAgent(run: RecordedRun, name: string | null): RecordedAgent {
  const [agent, ...others] = chosenAgents('attach', run, name);
  if (agent === undefined) throw refused('no_session', `run ${run.id} has no agents`, null);
  if (others.length === 0) return agent;
  const names = [agent, ...others].map((each) => each.name).join(', ');
  throw wrongUsage('attach', `run ${run.id} has several agents: say which with --agent (${names})`);
}

/** The command that joins the agent's session. Throws `CommandError` (4) where there is none. */
async function sessionOf(
  ctx: CommandContext,
  run: RecordedRun,
  agent: RecordedAgent,
): Promise<readonly string[]> {
  const state = ctx.globals.state === null ? '' : ` --state ${quoted(ctx.globals.state)}`;
  const logs = `metawsm logs ${run.id}${state}`;
  if (agent.attempt === 0) {
    throw refused('no_session', `agent ${agent.name} was never started`, 'metawsm apply starts it');
  }
  const driver = sessionDriver(agent.session, { env: { ...ctx.env } });
  const argv = driver.attachArgv(agent);
  if (argv === null) {
    const message = `agent ${agent.name} runs as a detached process: there is no session to join`;
    throw refused('no_session', message, `what it prints: ${logs} -f`);
  }
  if ((await driver.exists(agent)) === 'gone') {
    const message = `the session ${agent.sessionName} of agent ${agent.name} is gone`;
    throw refused('no_session', message, `what it printed: ${logs}`);
  }
  return argv;
}

/** Hands the terminal over until the operator detaches. */
async function join(argv: readonly string[], ctx: CommandContext): Promise<number> {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { stdio: 'inherit', env: { ...ctx.env } });
  const [code] = (await once(child, 'close')) as [number | null];
  return code === 0 ? EXIT.done : EXIT.failed;
}

function refused(code: string, message: string, hint: string | null): CommandError {
  return new CommandError({ exitCode: EXIT.refused, code, message, hint });
}

/** A word for a shell. Also `=name` is quoted, which zsh would take for a program. */
function quoted(word: string): string {
  return /^[A-Za-z0-9_./:-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
