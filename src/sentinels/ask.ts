/** An agent's side of guidance: ask once, wait for the answer, take it. */
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { normaliseCriterion } from '../plan/evidence.js';
import type { SentinelValue } from '../plan/observed.js';
import {
  ensureRealFolder,
  firstUnrealFolder,
  MAX_DOCUMENT_BYTES,
  readRegular,
  writeExclusive,
} from '../tools/files.js';
import { parseSentinel } from './parse.js';
import type { SignalPlace } from './place.js';
import {
  archiveFolder,
  putBack,
  readSentinel,
  sentinelFile,
  sentinelText,
  setAside,
  writeSentinel,
} from './sentinels.js';

export interface Question {
  readonly question: string;
  /** Any JSON; undefined: none. */
  readonly context: unknown;
  /** null: a fresh one is made. */
  readonly requestId: string | null;
}

/** An answer in the agent's folder. */
export interface Answer {
  readonly value: SentinelValue;
  /** Digest of the file it was read from; null: it was read before, and lies in the archive. */
  readonly digest: string | null;
}

export type Asked =
  | { readonly kind: 'answered'; readonly answer: Answer }
  /** `fresh`: this call wrote the request; else it was pending already. */
  | { readonly kind: 'pending'; readonly requestId: string | null; readonly fresh: boolean };

/**
 * Ask. The same question that is pending stays as it is, and one whose unread answer is there is answered; else
 * an old answer is set aside and the request written, in place of another one that is pending.
 */
export async function ask(place: SignalPlace, question: Question, now: number): Promise<Asked> {
  const { workspace, dir } = place;
  const requestFile = sentinelFile(dir, 'guidance-request');
  await ensureRealFolder(dir, { below: workspace });
  for (let tries = 0; tries < 5; tries += 1) {
    const [request, response] = await Promise.all([
      readValid(place, 'guidance-request'),
      readValid(place, 'guidance-response'),
    ]);
    const pending = isSame(request?.value, question.question) ? request : null;
    if (response !== null && isSame(response.value, question.question)) {
      const wanted = pending?.value.request_id ?? null;
      // Another id: the question was asked anew, by hand, since that answer.
      if (answers(response.value, question.question, wanted)) return { kind: 'answered', answer: response };
    }
    if (pending !== null) {
      const { value } = pending;
      if (value.attempt != null && place.attempt !== null && value.attempt !== place.attempt) {
        // One of an earlier start is nobody's question any more unless it was recorded in time.
        await writeSentinel(workspace, dir, 'guidance-request', { ...value, attempt: place.attempt });
      }
      return { kind: 'pending', requestId: value.request_id ?? null, fresh: false };
    }

    await setAside(workspace, sentinelFile(dir, 'guidance-response'), now);
    const requestId = question.requestId ?? `q-${randomBytes(6).toString('hex')}`;
    const value = {
      request_id: requestId,
      run_id: place.runId,
      agent: place.agent,
      attempt: place.attempt,
      question: question.question,
      ...(question.context === undefined ? {} : { context: question.context }),
    };
    if (request !== null) {
      await writeSentinel(workspace, dir, 'guidance-request', value);
      return { kind: 'pending', requestId, fresh: true };
    }
    // Nothing that counts lies there. What does is kept; two that ask at once must not overwrite one another.
    const text = sentinelText('guidance-request', value);
    const taken = await setAside(workspace, requestFile, now);
    if (taken?.bytes && holdsOwn(place, taken.bytes)) {
      await putBack(workspace, taken);
      continue;
    }
    if (await writeExclusive(requestFile, text)) return { kind: 'pending', requestId, fresh: true };
  }
  throw new Error(`${requestFile} keeps changing: several processes ask different questions at once`);
}

export type Waited =
  | { readonly kind: 'answered'; readonly answer: Answer }
  | { readonly kind: 'timeout' }
  /** Another question took its place. */
  | { readonly kind: 'replaced'; readonly question: string }
  /** The sentinel folder is gone, or is not a real one any more. */
  | { readonly kind: 'gone'; readonly reason: string };

/** How often a waiting agent looks for its answer. */
const POLL_MS = 250;

/** Wait until the answer to a pending question is there. It is not read until `take`. */
export async function awaitAnswer(
  place: SignalPlace,
  question: string,
  requestId: string | null,
  /** null: no limit. */
  timeoutMs: number | null,
): Promise<Waited> {
  const deadline = timeoutMs === null ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
  for (;;) {
    const unreal = await firstUnrealFolder(place.workspace, place.dir);
    if (unreal !== null) {
      const how = unreal.reason === 'absent' ? 'is gone' : unreal.reason;
      return { kind: 'gone', reason: `${unreal.path} ${how}` };
    }
    const request = await readValid(place, 'guidance-request');
    // After the request: an answer that comes between the two looks is then seen in this round or the next.
    const response = await readValid(place, 'guidance-response');
    if (response !== null && answers(response.value, question, requestId)) {
      return { kind: 'answered', answer: response };
    }
    if (request === null || !isSame(request.value, question)) {
      const value = requestId === null ? null : await findInArchive(place, requestId);
      if (value !== null) return { kind: 'answered', answer: { value, digest: null } };
      if (request !== null) return { kind: 'replaced', question: request.value.question ?? '' };
    }
    const left = deadline - performance.now();
    if (left <= 0) return { kind: 'timeout' };
    await pause(Math.min(POLL_MS, left));
  }
}

/** Mark an answer as read: its file goes to the archive. Another answer that came meanwhile stays. */
export async function take(place: SignalPlace, answer: Answer, now: number): Promise<void> {
  if (answer.digest === null) return;
  const taken = await setAside(place.workspace, sentinelFile(place.dir, 'guidance-response'), now);
  if (taken !== null && taken.digest !== answer.digest) await putBack(place.workspace, taken);
}

/** A request of this question, or the response to it. */
function isSame(value: SentinelValue | undefined, question: string): boolean {
  return value?.question !== undefined && normaliseCriterion(value.question) === normaliseCriterion(question);
}

/** Whether a response answers a question: by the request's id, or by its words where one of the two has no id. */
function answers(response: SentinelValue, question: string, requestId: string | null): boolean {
  const answered = response.request_id ?? null;
  if (requestId !== null && answered !== null) return answered === requestId;
  return isSame(response, question);
}

/** A valid sentinel of this run and agent, or null. */
async function readValid(
  place: SignalPlace,
  kind: 'guidance-request' | 'guidance-response',
): Promise<{ readonly value: SentinelValue; readonly digest: string } | null> {
  const found = await readSentinel(place.dir, kind, { kind: 'workspace' });
  if (found === null || found.content.kind === 'problem') return null;
  return isOwn(place, found.content.value) ? found.content : null;
}

function holdsOwn(place: SignalPlace, bytes: Uint8Array): boolean {
  const parsed = parseSentinel('guidance-request', bytes);
  return parsed.kind === 'valid' && isOwn(place, parsed.value);
}

function isOwn(place: SignalPlace, value: SentinelValue): boolean {
  const ofRun = value.run_id == null || place.runId === null || value.run_id === place.runId;
  return ofRun && (value.agent == null || place.agent === null || value.agent === place.agent);
}

/** How many archived answers are looked through for one that another process of the agent took. */
const ARCHIVE_LOOKED_THROUGH = 20;

/** The answer with a request's id that another waiting process of the same agent has read meanwhile. */
async function findInArchive(place: SignalPlace, requestId: string): Promise<SentinelValue | null> {
  const archive = archiveFolder(place.workspace, place.dir);
  if ((await firstUnrealFolder(place.workspace, archive)) !== null) return null;
  const names = await readdir(archive).catch(() => []);
  const archived = names.filter((name) => name.endsWith('-guidance-response.json')).sort();
  for (const name of archived.slice(-ARCHIVE_LOOKED_THROUGH).reverse()) {
    const read = await readRegular(join(archive, name), MAX_DOCUMENT_BYTES);
    if (read.kind !== 'file') continue;
    const parsed = parseSentinel('guidance-response', read.bytes);
    if (parsed.kind === 'valid' && parsed.value.request_id === requestId && isOwn(place, parsed.value)) {
      return parsed.value;
    }
  }
  return null;
}
