import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.js';
import { EXIT, EXIT_MEANINGS } from '../../src/cli/exit-codes.js';
import { start } from '../support/processes.js';
import { checkout, main, type Rig, test } from '../support/rig.js';
import { consoleBlocks, fencedBlocks, matches, type Shown } from './console.js';

const readme = readFileSync(path.join(checkout, 'README.md'), 'utf8');

describe('what the README shows is what one sees', () => {
  for (const [heading, commands] of consoleBlocks(readme)) {
    test(heading === '' ? 'the run at its top' : heading, async ({ rig }) => {
      const { clone, env } = await operator(rig);
      let code: number | null = 0;
      for (const shown of commands) code = await type(rig, shown, { clone, env, code });
    });
  }
});

describe('the tables of the README are those of the source', () => {
  test('commands', () => {
    const rows = tableAfter('## Commands').map(([typed = '', does = '']) => {
      return [unquoted(typed).split(' ')[0], unquoted(typed), does];
    });
    const wanted = COMMANDS.map(({ name, usage, description }) => {
      return [name, `${name} ${usage}`.replace(/ ?\[options\]$/, ''), description];
    });
    expect(rows).toEqual(wanted);
  });

  test('exit codes', () => {
    const at = readme.indexOf('| Exit code |');
    const rows = rowsOf(readme.slice(at));
    expect(rows).toEqual(EXIT_MEANINGS.map(([code, meaning]) => [String(code), meaning]));
    expect(EXIT_MEANINGS.map(([code]) => code)).toEqual(Object.values(EXIT));
  });

  test('manifest reference', async () => {
    const generator = `${checkout}schemas/generate.mjs`;
    const { referenceTable, withReference } = (await import(generator)) as {
      referenceTable(schema: unknown): string;
      withReference(readme: string, table: string): string | null;
    };
    const schema = JSON.parse(readFileSync(path.join(checkout, 'schemas/manifest.schema.json'), 'utf8'));
    expect(withReference(readme, referenceTable(schema)), 'run `npm run generate`').toBe(readme);
  });

  test('folders of the source', () => {
    const rows = tableAfter('## How it is built').map(([folder = '']) => unquoted(folder));
    const folders = readdirSync(path.join(checkout, 'src'), { withFileTypes: true })
      .filter(
        (entry) => entry.isDirectory() && readdirSync(path.join(checkout, 'src', entry.name)).length > 0,
      )
      .map((entry) => `src/${entry.name}`);
    expect(rows.toSorted()).toEqual(folders.toSorted());
  });

  test('npm scripts', () => {
    const { scripts } = JSON.parse(readFileSync(path.join(checkout, 'package.json'), 'utf8'));
    const named = [...readme.matchAll(/npm run (\w+)/g)].map((found) => found[1]);
    for (const name of named) expect(scripts).toHaveProperty(name ?? '');
  });
});

test('what is not there yet is not described as being there', () => {
  const [, line = ''] = /^Not yet: (.*)$/m.exec(readme) ?? [];
  const missing = [...line.matchAll(/`(\w+)`/g)].map((found) => found[1]);
  expect(missing.length).toBeGreaterThan(0);
  for (const { name } of COMMANDS) expect(missing).not.toContain(name);
  const typed = [...readme.matchAll(/\bmetawsm ([a-z]+)\b(?= |`|$)/gm)].map((found) => found[1]);
  for (const name of missing) expect(typed).not.toContain(name);
});

test('the manifests that it shows are valid', async ({ rig }) => {
  const manifests = fencedBlocks(readme, 'yaml').filter((block) => /^version: 1$/m.test(block));
  expect(manifests.length).toBeGreaterThan(0);
  for (const [index, text] of manifests.entries()) {
    rig.write(`shown-${index}.yaml`, text);
    await rig.run(`validate shown-${index}.yaml`);
  }
});

test('every file that it names is there', () => {
  const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)].map((found) => found[1] ?? '');
  const words = [...readme.matchAll(/\b((?:src|test|schemas|manifests)\/[\w./-]*\w|\.ci\/\w+)/g)];
  const named = [...links, ...words.map((found) => found[1] ?? '')].filter((name) => !name.includes('://'));
  expect(named.length).toBeGreaterThan(10);
  // The reader's own, one of them made by a command that is shown.
  const own = ['manifests/login.yaml', 'manifests/hello.yaml'];
  const wanted = new Set(named.filter((name) => !own.includes(name)));
  expect([...wanted].filter((name) => !existsSync(path.join(checkout, name)))).toEqual([]);
});

describe('comparing', () => {
  test('ids, times and paths may differ, words may not', () => {
    const printed = 'creating run-20260102-030405-abcd in ~/w/2026-01-02/abc-1-0123wxyz\n✔ setup (12.5s)\n';
    const shown = ['creating run-20251123-173536-1p2s in ~/w/2025-11-23/abc-1-9gm7133t', '✔ setup'];
    expect(matches(printed, shown)).toBe(true);
    expect(matches(printed, ['…', '✔ setup'])).toBe(true);
    expect(matches('50%\r100%\nready\n', ['…', 'ready'])).toBe(true);
    expect(matches(printed, ['creating …', '✔ setup'])).toBe(true);
    expect(matches(printed, ['…', '✔ set up'])).toBe(false);
    expect(matches(printed, shown.slice(0, 1))).toBe(false);
    expect(matches('', [])).toBe(true);
    expect(matches('something\n', [])).toBe(false);
  });
});

/** A fresh clone in the operator's home, and what `npx metawsm` and its alias are there. */
async function operator(rig: Rig) {
  const clone = path.join(rig.home, 'metawsm');
  const bin = path.join(rig.home, 'bin');
  await rig.at(rig.dir).git('clone', '-q', checkout, clone);
  cpSync(path.join(checkout, 'manifests'), path.join(clone, 'manifests'), { recursive: true });
  const repo = rig.at(clone);
  if ((await repo.git('status', '--porcelain')) !== '') await repo.commit('As in the checkout', {});
  mkdirSync(bin, { recursive: true });
  const program = `exec '${process.execPath}' '${main}'`;
  writeFileSync(path.join(bin, 'metawsm'), `#!/bin/sh\n${program} "$@"\n`, { mode: 0o755 });
  writeFileSync(
    path.join(bin, 'npx'),
    `#!/bin/sh\n[ "$1" = metawsm ] || exit 127\nshift\n${program} "$@"\n`,
    { mode: 0o755 },
  );
  const node = path.dirname(process.execPath);
  return { clone, env: { ...rig.env, PATH: `${bin}:${node}:${rig.env.PATH}` } };
}

/** Types a command, and Ctrl-C where that is shown; compares what is printed. Gives the exit code. */
async function type(
  rig: Rig,
  { command, expected }: Shown,
  at: { clone: string; env: Readonly<Record<string, string>>; code: number | null },
): Promise<number | null> {
  const script = `exec 2>&1\n(exit ${at.code ?? 1})\n${command}`;
  const running = start('bash', ['-c', script], { cwd: at.clone, env: at.env, timeout: 60_000 });
  const seen = () => running.stdout().replaceAll(rig.home, '~');
  const cut = expected.indexOf('^C');
  if (cut >= 0) {
    await rig.until(`output before ^C of ${command}`, () => matches(seen(), expected.slice(0, cut)));
    running.interrupt();
  }
  const { code } = await running.result;
  const shown = expected.filter((line) => line !== '^C');
  if (!matches(seen(), shown)) {
    throw new Error(
      `$ ${command}\nexit code ${code}; the README shows\n${shown.join('\n')}\nprinted was\n${seen()}`,
    );
  }
  return code;
}

function tableAfter(heading: string): string[][] {
  return rowsOf(readme.slice(readme.indexOf(`\n${heading}\n`) + heading.length + 2));
}

/** The cells of the first table in a text, without its head. */
function rowsOf(text: string): string[][] {
  const lines = text.split('\n');
  const from = lines.findIndex((line) => line.startsWith('|'));
  const to = lines.findIndex((line, index) => index > from && !line.startsWith('|'));
  return lines
    .slice(from + 2, to)
    .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|')))
    .map((cells) => cells.slice(1, -1));
}

function unquoted(cell: string): string {
  return cell.replace(/^`(.*)`$/, '$1');
}
