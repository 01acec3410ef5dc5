/** The environment of an agent: the caller's, then the manifest's, then metawsm's own. */
import { chmod, mkdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expandEnvValue } from '../manifest/expand.js';
import type { RecordedAgent, RecordedRun } from '../plan/recorded.js';
import { logFileOf, readExit } from '../sessions/attempt.js';
import { END_OF_LOG } from '../sessions/records.js';
import { readRegular, tailLines, writeAtomic } from '../tools/files.js';
import { removeLeftovers } from '../tools/temporary.js';
import { shimFolder } from './paths.js';
import { manifestFolder, StepFailed, type World } from './world.js';

/**
 * Everything an attempt of an agent finds in its environment. Throws `StepFailed` where a `${NAME}` of the
 * manifest is not set here and now.
 */
export function agentEnv(
  world: Pick<World, 'env' | 'stateFolder'>,
  run: RecordedRun,
  agent: RecordedAgent,
  declared: Readonly<Record<string, string>>,
  attempt: number,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(world.env)) if (value !== undefined) env[name] = value;
  for (const [name, text] of Object.entries(declared)) {
    const expanded = expandEnvValue(text, world.env);
    if (!expanded.ok) {
      throw new StepFailed(`env ${name} of agent ${agent.name}: ${expanded.message}`, expanded.suggestion);
    }
    env[name] = expanded.value;
  }
  const own: Record<string, string> = {
    METAWSM_RUN_ID: run.id,
    METAWSM_TICKET: run.ticketId,
    METAWSM_AGENT: agent.name,
    METAWSM_ATTEMPT: String(attempt),
    METAWSM_WORKSPACE: run.workspace,
    METAWSM_SENTINEL_DIR: agent.sentinelDir,
    METAWSM_BRIEF: join(agent.sentinelDir, 'brief.md'),
    METAWSM_MANIFEST_DIR: manifestFolder(run),
    METAWSM_STATE_DIR: world.stateFolder,
    PWD: agent.cwd,
    PATH: [shimFolder(world.stateFolder), env.PATH ?? ''].filter((part) => part !== '').join(delimiter),
  };
  return { ...env, ...own };
}

/**
 * Values that came from `${NAME}` and are long enough to be secrets: masked in what metawsm prints of logs. Each
 * as it may stand in a log, the longest first, for one may be a part of another.
 */
export function secretsOf(env: NodeJS.ProcessEnv, run: RecordedRun): readonly string[] {
  const secrets = run.intent.agents
    .flatMap((agent) => Object.values(agent.env))
    .map((text) => expandEnvValue(text, env))
    .flatMap((expanded) => (expanded.ok && expanded.fromEnv ? formsOf(expanded.value) : []));
  return [...new Set(secrets)].sort((a, b) => b.length - a.length);
}

const SHORTEST_SECRET = 8;

/** Without the line break that a shell drops at the end, and with the line ends of a terminal. */
function formsOf(value: string): string[] {
  if (value.length < SHORTEST_SECRET) return [];
  const bare = value.trim();
  const text = bare.length < SHORTEST_SECRET ? value : bare;
  return [text, text.replace(/\r?\n/g, '\r\n')];
}

/** The last lines of a log, with every secret replaced. */
export async function maskedTail(log: string, count: number, secrets: readonly string[]): Promise<string[]> {
  // A secret of several lines may begin above the first line that is shown.
  const longest = Math.max(1, ...secrets.map((secret) => secret.split('\n').length));
  const lines = await tailLines(log, count + longest - 1);
  return lines.length === 0 ? [] : masked(lines.join('\n'), secrets).split('\n').slice(-count);
}

/** How long the last output of a pane may take to the log: the end of the agent is recorded before that. */
const PANE_WAIT_MS = 1_000;

/** The end of what an agent printed in an attempt that has ended, with every secret replaced. */
export async function lastWords(
  attemptDir: string,
  count: number,
  secrets: readonly string[],
): Promise<string[]> {
  const log = logFileOf(attemptDir);
  const begun = performance.now();
  while (
    readExit(attemptDir) !== null &&
    (await tailLines(log, 1))[0]?.startsWith(END_OF_LOG) !== true &&
    performance.now() - begun < PANE_WAIT_MS
  )
    await delay(20);
  return maskedTail(log, count, secrets);
}

/** A text with every secret replaced. */
export function masked(text: string, secrets: readonly string[]): string {
  let out = text;
  for (const secret of secrets) out = out.replaceAll(secret, '***');
  return out;
}

/** Put a `metawsm` into the state folder that calls this very program, whatever is installed otherwise. */
export async function writeShim(world: Pick<World, 'stateFolder' | 'self'>): Promise<void> {
  const folder = shimFolder(world.stateFolder);
  const file = join(folder, 'metawsm');
  const text = `#!/bin/sh\nexec ${quote(world.self.node)} ${quote(world.self.main)} "$@"\n`;
  const there = await readRegular(file, 65_536);
  if (there.kind === 'file' && there.bytes.toString('utf8') === text) {
    // Agents start side by side: one may have died over its file after another's was in place.
    removeLeftovers(folder);
    return;
  }
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeAtomic(file, text, { mode: 0o755 });
  await chmod(file, 0o755);
}

function quote(path: string): string {
  return `'${path.replaceAll("'", `'\\''`)}'`;
}

/** What only the processes of this attempt have in their environment. */
export function agentMark(run: RecordedRun, agent: RecordedAgent, attempt: number): string[] {
  return [`METAWSM_RUN_ID=${run.id}`, `METAWSM_AGENT=${agent.name}`, `METAWSM_ATTEMPT=${attempt}`];
}
