import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FoundSentinel } from '../../src/plan/observed.js';
import { readContext } from '../../src/sentinels/context.js';
import { parseSentinel } from '../../src/sentinels/parse.js';
import { reconcile } from '../../src/sentinels/reconcile.js';
import {
  appendFeedback,
  readSentinels,
  SENTINEL_KINDS,
  sentinelText,
} from '../../src/sentinels/sentinels.js';
import { safeText } from '../../src/tools/files.js';
import { ACTS, fuzz } from '../support/fuzz.js';
import { look, RUN, recordedRun } from '../support/run-builder.js';

const AGENT = { kind: 'agent', agent: 'agent' } as const;
const OLD = new Date('2020-01-01T00:00:00Z');

let workspace: string;
let dir: string;
beforeAll(() => {
  workspace = mkdtempSync(join(tmpdir(), 'metawsm-hostile-'));
  dir = join(workspace, '.metawsm');
  mkdirSync(dir);
});
afterAll(() => rmSync(workspace, { recursive: true, force: true }));

const FIELDS = [
  'run_id',
  'agent',
  'attempt',
  'request_id',
  'guidance_id',
  'question',
  'answer',
  'answered_at',
  'context',
  'summary',
  'status',
  'done_criteria',
  'checks',
  'heads',
  '__proto__',
  'constructor',
  'toString',
] as const;

const nasty = fc.constantFrom(
  '\u001b]0;owned\u0007',
  '\u001b[2J',
  '\u009b31m',
  '\u202egnp.exe',
  '\u0000',
  '\ud800',
  '../../etc/passwd',
  '$(touch pwned)',
  '`id`',
  '--force',
  'passed',
  RUN,
  'agent',
);
const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 20 }), nasty, fc.string({ maxLength: 20 }));
const value = fc.oneof(
  { weight: 3, arbitrary: text },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
  { weight: 1, arbitrary: fc.array(text, { maxLength: 4 }) },
  { weight: 1, arbitrary: fc.dictionary(text, text, { maxKeys: 3 }) },
  { weight: 1, arbitrary: fc.oneof(fc.integer(), fc.double()) },
);
/** Objects that are nearly right. */
const nearly = fc
  .array(fc.tuple(fc.constantFrom(...FIELDS), value), { maxLength: 8 })
  .map(
    (pairs) =>
      `{${pairs.map(([key, held]) => `${JSON.stringify(key)}:${JSON.stringify(held) ?? 'null'}`).join(',')}}`,
  );
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.json().map((json) => Buffer.from(json)),
  nearly.map((json) => Buffer.from(json)),
  // Cut, or with a byte that is another.
  fc.tuple(nearly, fc.nat(300), fc.nat(255)).map(([json, at, byte]) => {
    const whole = Buffer.from(json);
    if (at >= whole.length) return whole.subarray(0, at % (whole.length + 1));
    whole[at] = byte;
    return whole;
  }),
);

function leave(name: string, content: Uint8Array): string {
  const file = join(dir, name);
  writeFileSync(file, content);
  // Nobody waits for more of it.
  utimesSync(file, OLD, OLD);
  return file;
}

function check(found: FoundSentinel): void {
  if (found.content.kind === 'problem') {
    expect(found.content.reason).not.toBe('');
    expect(found.content.reason).not.toMatch(ACTS);
    expect(found.content.reason).not.toMatch(/undefined|\[object/);
    return;
  }
  const { value: read } = found.content;
  // What is taken can be written again, and comes back the same.
  const again = parseSentinel(found.kind, Buffer.from(sentinelText(found.kind, read)));
  expect(again).toEqual({ kind: 'valid', value: read });
  expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
  if (found.kind === 'guidance-request') expect(read.question?.trim()).not.toBe('');
}

test('any bytes in any sentinel: a value, or a problem with a name', async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...SENTINEL_KINDS), bytes, async (kind, content) => {
      const file = leave(`${kind}.json`, content);
      const found = await readSentinels(workspace, [{ place: AGENT, dir }]);
      rmSync(file);
      expect(found).toMatchObject([{ kind, file }]);
      for (const each of found) check(each);
    }),
    fuzz(),
  );
});

test('whatever all sentinels say together, it means something, and nothing acts on a terminal', async () => {
  const recorded = recordedRun();
  const four = fc.tuple(...SENTINEL_KINDS.map(() => fc.option(bytes)));
  await fc.assert(
    fc.asyncProperty(four, async (contents) => {
      const files = contents.flatMap((content, index) =>
        content === null ? [] : [leave(`${SENTINEL_KINDS[index]}.json`, content)],
      );
      const sentinels = await readSentinels(workspace, [{ place: AGENT, dir }]);
      for (const file of files) rmSync(file);
      const outcome = reconcile(recorded, look(recorded, { sentinels }));
      expect(['running', 'completed', 'awaiting_guidance']).toContain(outcome.run?.state);
      for (const { message } of outcome.warnings) {
        expect(message).not.toBe('');
        expect(safeText(message)).not.toMatch(ACTS);
      }
      // Only a valid completion of this run and attempt completes it.
      const completion = sentinels.find(({ kind }) => kind === 'implementation-complete');
      if (outcome.run?.state === 'completed') expect(completion?.content.kind).toBe('valid');
      // What is recorded must survive the record.
      for (const patch of outcome.agents) expect(JSON.parse(JSON.stringify(patch))).toEqual(patch);
      for (const { question } of outcome.newGuidance) expect(question).not.toContain('\0');
    }),
    fuzz(),
  );
});

test('any bytes in context.json', async () => {
  await fc.assert(
    fc.asyncProperty(bytes, async (content) => {
      const file = leave('context.json', content);
      const found = await readContext(dir);
      rmSync(file);
      expect(found.kind).not.toBe('absent');
      if (found.kind === 'problem') {
        expect(found.reason).not.toBe('');
        expect(found.reason).not.toMatch(ACTS);
      }
    }),
    fuzz(),
  );
});

test('feedback is appended to whatever is there, and said once', async () => {
  await fc.assert(
    fc.asyncProperty(bytes, text, async (content, word) => {
      const file = leave('operator-feedback.md', content);
      await appendFeedback(workspace, dir, `Say ${word}`, 0);
      const once = readFileSync(file, 'utf8');
      expect(once).toContain('## 1970-01-01T00:00:00.000Z');
      await appendFeedback(workspace, dir, `Say ${word}`, 0);
      expect(readFileSync(file, 'utf8')).toBe(once);
      rmSync(file);
    }),
    fuzz(),
  );
});

test('any text is safe to print, and stays so', () => {
  const parts = fc.oneof(
    text,
    fc.constantFrom('\u001b', '[', ']', '0;', '\u0007', 'm', '\u001b\\', '\r', '\n', '\t'),
  );
  fc.assert(
    fc.property(fc.array(parts, { maxLength: 12 }), (all) => {
      const safe = safeText(all.join(''));
      expect(safe).not.toMatch(ACTS);
      expect(safeText(safe)).toBe(safe);
    }),
    fuzz(200),
  );
});
