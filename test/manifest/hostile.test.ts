import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatDiagnostic } from '../../src/manifest/diagnostic.js';
import { loadManifest } from '../../src/manifest/load.js';
import { fuzz } from '../support/fuzz.js';
import { minimal } from './minimal.js';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metawsm-hostile-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Loads bytes; whatever they are, the outcome is an intent, or diagnostics that all have a place. */
async function look(bytes: string | Uint8Array): Promise<boolean> {
  const file = join(folder, 'm.yaml');
  await writeFile(file, bytes);
  const loaded = await loadManifest(file, { HOME: '/home/me' });
  if (loaded.ok) return true;
  const lines = Buffer.from(bytes).toString('utf8').split('\n');
  expect(loaded.problems.length).toBeGreaterThan(0);
  let last = 0;
  for (const problem of loaded.problems) {
    expect(problem.line).toBeGreaterThanOrEqual(1);
    expect(problem.line).toBeLessThanOrEqual(lines.length);
    expect(problem.column).toBeGreaterThanOrEqual(1);
    expect(problem.column).toBeLessThanOrEqual((lines[problem.line - 1]?.length ?? 0) + 2);
    const place = problem.line * 1e7 + problem.column;
    expect(place).toBeGreaterThanOrEqual(last);
    expect(problem.message).not.toBe('');
    expect(formatDiagnostic(problem)).not.toMatch(/\p{Cc}|undefined|\[object/u);
    last = place;
  }
  return false;
}

const GOOD = minimal({ workspace: 'workspace: {branch: "x/{token}"}\n' });

test('any bytes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (bytes) => void (await look(bytes))),
    fuzz(),
  );
});

test('any YAML-like text', async () => {
  const bit = fc.constantFrom(
    'version',
    ': ',
    '\n',
    '  ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    '"',
    "'",
    '&a',
    '*a',
    '!t ',
    '|',
    '#',
    '%',
    '---',
    '?',
    '1',
    '~',
    ',',
    '\t',
    '<<',
    'agent',
    'repos',
    'ticket',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(bit, { maxLength: 60 }), async (bits) => void (await look(bits.join('')))),
    fuzz(),
  );
});

test('a good manifest with a piece cut out, repeated or replaced', async () => {
  const change = fc.record({
    from: fc.nat(GOOD.length),
    length: fc.nat(30),
    put: fc.oneof(
      fc.constant(''),
      fc.string({ maxLength: 5 }),
      fc.constantFrom('*x', '{}', '[]', 'null', '..', '${', '\n'),
    ),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
      let text = GOOD;
      for (const { from, length, put } of changes)
        text = text.slice(0, from) + put + text.slice(from + length);
      await look(text);
    }),
    fuzz(),
  );
});

test('any value at any place', async () => {
  const value = fc.jsonValue({ maxDepth: 3 });
  const keys = [
    'version',
    'ticket',
    'base_branch',
    'repos',
    'workspace',
    'intake',
    'done_criteria',
    'agent',
    'agents',
    'session',
    'tickets',
    'policy',
  ];
  await fc.assert(
    fc.asyncProperty(fc.dictionary(fc.constantFrom(...keys), value), async (manifest) => {
      await look(JSON.stringify(manifest));
    }),
    fuzz(),
  );
});
