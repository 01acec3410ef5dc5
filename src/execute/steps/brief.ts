/** `brief.md` and `context.json` of every agent, before it starts; an agent that has an older brief is told. */
import { join } from 'node:path';
import type { RecordedAgent, RecordedRun } from '../../plan/recorded.js';
import { writeContext } from '../../sentinels/context.js';
import { appendFeedback, FEEDBACK_FILE } from '../../sentinels/sentinels.js';
import { renderAgentBrief, renderContext } from '../../tickets/brief.js';
import { ensureRealFolder, MAX_DOCUMENT_BYTES, readRegular, sha256, writeAtomic } from '../../tools/files.js';
import { briefInput } from '../brief-input.js';
import { manifestFolder, type StepContext, type StepHandler } from '../world.js';

export const briefWrite: StepHandler<'brief.write'> = {
  // Written by rename, the same text each time: doing it again is as good as looking.
  async look() {
    return false;
  },
  async do(step, ctx) {
    const run = await ctx.run();
    const { stateFolder, now } = ctx.world;
    const text = renderAgentBrief(briefInput(run));
    const agents = run.agents.filter((agent) => !agent.removed);
    const changed = [...(await untold(ctx)), ...step.changed];
    for (const agent of agents) {
      // First: nothing is read or written through a link that took the folder's place.
      await ensureRealFolder(agent.sentinelDir, { below: run.workspace });
      await tellWhatChanged(run, agent.sentinelDir, text, changed, now());
      await writeBrief(run, stateFolder, agent.name, agent.sentinelDir);
    }
    const shared = join(run.workspace, '.metawsm');
    if (!agents.some((agent) => agent.sentinelDir === shared)) {
      await writeBrief(run, stateFolder, null, shared);
    }
  },
};

/** What an agent needs to read, where it or somebody else took that away: nobody starts without a brief. */
export async function restoreBrief(run: RecordedRun, stateFolder: string, agent: RecordedAgent) {
  const files = ['brief.md', 'context.json'].map((name) => join(agent.sentinelDir, name));
  const found = await Promise.all(files.map((file) => readRegular(file, MAX_DOCUMENT_BYTES)));
  if (found.every(({ kind }) => kind === 'file')) return;
  await writeBrief(run, stateFolder, agent.name, agent.sentinelDir);
}

/** Both files of an agent, or with null those of the workspace itself. */
async function writeBrief(run: RecordedRun, stateFolder: string, agent: string | null, sentinelDir: string) {
  const input = briefInput(run);
  await ensureRealFolder(sentinelDir, { below: run.workspace });
  await writeAtomic(join(sentinelDir, 'brief.md'), renderAgentBrief(input));
  const context = { ...input, agent, sentinelDir, manifestDir: manifestFolder(run), stateDir: stateFolder };
  await writeContext(run.workspace, sentinelDir, renderContext(context));
}

/** In the journal: what of the brief is about to change. */
export const BRIEF_CHANGES = 'brief_changes';

/** What changed since the agents were last told; a crash may have come in between. */
async function untold({ world, runId }: StepContext): Promise<string[]> {
  const events = await world.store.events(runId);
  const told = events.findLastIndex(
    ({ type, data }) => type === 'step' && data.id === 'brief.write' && data.state === 'done',
  );
  return events
    .slice(told + 1)
    .flatMap(({ type, data }) => (type === BRIEF_CHANGES ? (data.changed as string[]) : []));
}

/**
 * Before the brief is replaced: the word in operator-feedback.md carries a mark of the new text, so that a
 * crash between the two cannot make it appear twice.
 */
async function tellWhatChanged(
  run: RecordedRun,
  sentinelDir: string,
  text: string,
  changed: readonly string[],
  at: number,
): Promise<void> {
  const old = await readRegular(join(sentinelDir, 'brief.md'), MAX_DOCUMENT_BYTES);
  if (old.kind !== 'file' || old.bytes.toString('utf8') === text) return;
  const mark = `<!-- brief ${sha256(text).slice(0, 16)} -->`;
  const feedback = await readRegular(join(sentinelDir, FEEDBACK_FILE), MAX_DOCUMENT_BYTES);
  if (feedback.kind === 'file' && feedback.bytes.toString('utf8').includes(mark)) return;
  // Lines that follow stay part of their item of the list.
  const items = [...new Set(changed)].map((change) => `- ${change.trimEnd().replaceAll('\n', '\n  ')}`);
  const what = items.length === 0 ? '' : `\n\nWhat changed:\n\n${items.join('\n')}`;
  await appendFeedback(
    run.workspace,
    sentinelDir,
    `The brief changed: read ${join(sentinelDir, 'brief.md')} again.${what}\n\n${mark}`,
    at,
  );
}
