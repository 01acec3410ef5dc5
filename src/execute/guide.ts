/** Answering a question: recorded first, then the request is archived, compared, and the response written. */
import { dirname } from 'node:path';
import type { RecordedGuidance, RecordedRun } from '../plan/recorded.js';
import { completionsOf } from '../sentinels/assign.js';
import {
  archiveRequest,
  isPrepared,
  putBack,
  setAside,
  writeGuidanceResponse,
  writeSentinel,
} from '../sentinels/sentinels.js';
import type { Store } from '../state/store.js';
import { type Looked, lookAt, recordLook } from './look.js';
import type { World } from './world.js';

/** An operator's answer, and which question it is meant for. */
export interface Answer {
  readonly text: string;
  /** Only this agent's question; null: any. */
  readonly agent: string | null;
  /** Only this question; null: the oldest. */
  readonly id: string | null;
}

/** What came of an answer, with the run as it is recorded then. */
export type Guided =
  | {
      readonly kind: 'answered';
      readonly run: RecordedRun;
      readonly guidance: RecordedGuidance;
      readonly looked: Looked;
    }
  /** There is no such open question. */
  | { readonly kind: 'none'; readonly run: RecordedRun; readonly looked: Looked }
  /** The agent asked something else meanwhile: nothing was delivered. */
  | {
      readonly kind: 'changed';
      readonly run: RecordedRun;
      /** The question that was meant. */
      readonly answered: RecordedGuidance;
      /** What the agent asks instead; null: nothing. */
      readonly now: string | null;
      readonly looked: Looked;
    };

/** Answer an open question of a run. The question must be the one that was recorded: else nothing is delivered. */
export async function answerQuestion(
  runId: string,
  answer: Answer,
  world: World,
  lockTimeoutMs: number,
): Promise<Guided> {
  const { store, reporter, stateFolder, env, now, signal } = world;
  const look = { stateFolder, env, now };
  const lock = await store.acquireLock(`run:${runId}`, { timeoutMs: lockTimeoutMs, signal });
  try {
    const looked = await lookAt(await store.loadRun(runId), look);
    const run = await recordLook(store, reporter, looked);
    const open = run.guidance.filter(
      (g) =>
        (g.state === 'pending' || g.state === 'answered') &&
        (answer.agent === null || g.agent === answer.agent) &&
        (answer.id === null || g.id === answer.id),
    );
    // An answer that was handed over, and whose metawsm did not live to record that.
    const question = await firstUndelivered(run, open, store);
    if (question === undefined) return { kind: 'none', run: await store.loadRun(runId), looked };

    const recorded = await store.answerGuidance(runId, question.id, answer.text, now());
    const moved = await archiveRequest(run.workspace, question.file, now());
    if (moved !== null && moved.digest !== question.digest) {
      await putBack(run.workspace, moved);
      await store.withdrawGuidance(runId, question.id);
      return again('changed', recorded);
    }
    // Gone without having been archived by an earlier, interrupted answer: the agent took it back.
    if (moved === null && question.state === 'pending') {
      await store.withdrawGuidance(runId, question.id);
      return again('changed', recorded);
    }
    await setOldCompletionsAside(run, looked, question, now());
    const response = {
      guidance_id: question.id,
      request_id: question.requestId,
      run_id: run.id,
      agent: question.agent,
      question: question.question,
      answer: answer.text,
      answered_at: new Date(recorded.answeredAt ?? now()).toISOString(),
    };
    // Whoever asked from another folder may look for the answer in either.
    const own = run.agents.find(({ name }) => name === question.agent)?.sentinelDir;
    if (own !== undefined && own !== dirname(question.file))
      await writeSentinel(run.workspace, own, 'guidance-response', response);
    await writeGuidanceResponse(run.workspace, dirname(question.file), response, () =>
      store.appendEvent(runId, ANSWER_READY, { id: question.id }),
    );
    const delivered = await store.markDelivered(runId, question.id);
    reporter.emit({
      type: 'guidance',
      runId,
      id: question.id,
      agent: question.agent,
      question: question.question,
      state: 'delivered',
    });
    const after = await lookAt(await store.loadRun(runId), look);
    return {
      kind: 'answered',
      run: await recordLook(store, reporter, after),
      guidance: delivered,
      looked: after,
    };

    async function again(kind: 'changed', answered: RecordedGuidance): Promise<Guided> {
      const after = await lookAt(await store.loadRun(runId), look);
      const run = await recordLook(store, reporter, after);
      const asked = run.guidance.find((g) => g.agent === answered.agent && g.state === 'pending');
      return { kind, run, answered, now: asked?.question ?? null, looked: after };
    }
  } finally {
    await lock.release();
  }
}

/** In the journal: the answer lies ready beside the archived request. From then on its absence is its delivery. */
const ANSWER_READY = 'answer_ready';

/** The oldest open question without a delivered answer; those delivered before a crash are recorded so. */
async function firstUndelivered(
  run: RecordedRun,
  open: readonly RecordedGuidance[],
  store: Store,
): Promise<RecordedGuidance | undefined> {
  for (const question of open) {
    if (question.state !== 'answered') return question;
    const events = await store.events(run.id);
    const ready = events.some(({ type, data }) => type === ANSWER_READY && data.id === question.id);
    if (!ready || (await isPrepared(run.workspace, dirname(question.file), question.id))) return question;
    await store.markDelivered(run.id, question.id);
  }
  return undefined;
}

/** Completions that are older than the question say nothing about what the answer asks for, wherever they lie. */
async function setOldCompletionsAside(
  run: RecordedRun,
  looked: Looked,
  question: RecordedGuidance,
  at: number,
): Promise<void> {
  for (const { file, mtime } of completionsOf(run, question.agent, looked.observed.sentinels)) {
    if (mtime <= question.askedAt) await setAside(run.workspace, file, at);
  }
}
