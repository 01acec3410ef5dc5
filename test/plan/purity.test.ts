import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../src', import.meta.url));
const pure = [
  ...readdirSync(path.join(root, 'plan')).map((name) => `plan/${name}`),
  'sentinels/assign.ts',
  'sentinels/reconcile.ts',
];

/** Every module that a source text names, with whether only its types are used. */
function imports(source: string): { from: string; typesOnly: boolean }[] {
  const found = source.matchAll(/(?:^|\n)\s*(import|export)\s(?:(type)\s)?[^;'"]*?from\s*['"]([^'"]+)['"]/g);
  const bare = source.matchAll(/(?:\bimport\s*\(|\brequire\s*\(|(?:^|\n)\s*import)\s*['"]([^'"]+)['"]/g);
  return [
    ...[...found].map((match) => ({ from: match[3] ?? '', typesOnly: match[2] === 'type' })),
    ...[...bare].map((match) => ({ from: match[1] ?? '', typesOnly: false })),
  ];
}

/** Where an import leads, from src/. */
const target = (file: string, from: string): string =>
  from.startsWith('.') ? path.join(path.dirname(file), from).replace(/\.js$/, '.ts') : from;

describe.each(pure)('src/%s is pure', (file) => {
  const source = readFileSync(path.join(root, file), 'utf8');
  test('it uses plan/ and types of the manifest alone', () => {
    const allowed = file.startsWith('plan/') ? /^plan\// : /^(plan|sentinels)\//;
    const strange = imports(source)
      .map(({ from, typesOnly }) => ({ to: target(file, from), typesOnly }))
      .filter(({ to, typesOnly }) => !(allowed.test(to) && (pure.includes(to) || typesOnly)))
      .filter(({ to, typesOnly }) => !(to.startsWith('manifest/') && typesOnly));
    expect(strange).toEqual([]);
  });

  test('it asks no clock, no chance, no process and no console', () => {
    const code = source.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    const asked = code.match(
      /\b(Date|Math\.random|performance|process|globalThis|console|setTimeout|fetch)\b[.(]/g,
    );
    expect(asked).toBeNull();
  });
});

test('the guard sees what it guards against', () => {
  const source = `
import fs from 'node:fs';
import type { A } from '../manifest/intent.js';
import {
  b,
} from "../tools/files.js";
export * from './plan.js';
import '../state/store.js';
const c = await import('execa');
`;
  expect(
    imports(source)
      .map(({ from }) => from)
      .sort(),
  ).toEqual([
    '../manifest/intent.js',
    '../state/store.js',
    '../tools/files.js',
    './plan.js',
    'execa',
    'node:fs',
  ]);
});
