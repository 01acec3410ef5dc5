import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { clearCreationLock, withCreationLock } from '../../src/tickets/lock.js';
import { writeAtomic } from '../../src/tools/files.js';
import { gated } from '../../src/tools/process.js';
import {
  isTemporary,
  removeLeftovers,
  temporaryName,
  writerName,
  writerOf,
} from '../../src/tools/temporary.js';

function folder(): string {
  const made = mkdtempSync(path.join(tmpdir(), 'metawsm-temporary-'));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** A name as a process would give it that has ended. */
function ofTheDead(name: string): string {
  const { pid } = spawnSync('true');
  return name.replace(new RegExp(`-${process.pid}-`), `-${pid}-`);
}

test('a name tells whether its writer lives', () => {
  const name = writerName();
  expect(writerName()).not.toBe(name);
  expect(writerOf(name)).toBe('alive');
  expect(writerOf(ofTheDead(name))).toBe('dead');
  // The same number, another process: it began at another time.
  const [, began = ''] = new RegExp(`-${process.pid}-([^-]+)-`).exec(name) ?? [];
  expect(writerOf(name.replace(`-${began}-`, '-1-'))).toBe('dead');
  expect(writerOf(name.replace(/^[^-]+-/, 'elsewhere-'))).toBe('unknown');
  for (const other of ['', 'index.md', '.index.md.tmp', '.a.0123456789ab.tmp']) {
    expect(writerOf(other)).toBe('unknown');
    expect(isTemporary(other)).toBe(false);
  }
});

test('only what the dead left is removed, and only beside the file that is written', async () => {
  const dir = folder();
  const file = path.join(dir, 'brief.md');
  const own = temporaryName(file);
  const dead = ofTheDead(temporaryName(file));
  const deadOfOther = ofTheDead(temporaryName(path.join(dir, 'context.json')));
  const mine = path.join(dir, '.notes.tmp');
  for (const each of [own, dead, deadOfOther, mine]) writeFileSync(each, '');

  await writeAtomic(file, 'text\n');
  expect(existsSync(dead)).toBe(false);
  expect([own, deadOfOther, mine].every(existsSync)).toBe(true);
  removeLeftovers(dir);
  expect(readdirSync(dir).sort()).toEqual([path.basename(own), '.notes.tmp', 'brief.md'].sort());
});

test('the making of a ticket is taken over from the dead at once, and waited for from the living', async () => {
  const root = folder();
  const order: string[] = [];
  await withCreationLock(root, 'ABC-1', async () => {
    const second = withCreationLock(root, 'ABC-1', async () => order.push('second'));
    await withCreationLock(root, 'ABC-2', async () => order.push('another ticket'));
    order.push('first');
    await clearCreationLock(root, 'ABC-1');
    return { second };
  }).then(({ second }) => second);
  expect(order).toEqual(['another ticket', 'first', 'second']);

  // Killed within: its folder is there, with half a ticket in it.
  const script = `
    const { mkdirSync } = require('node:fs');
    mkdirSync(process.argv[1] + '/_metawsm-new-ABC-1/' + process.argv[2] + '/reference', { recursive: true });`;
  spawnSync(process.execPath, ['-e', script, root, ofTheDead(writerName())]);
  await withCreationLock(root, 'ABC-1', async (own) => {
    expect(readdirSync(path.dirname(own))).toEqual([path.basename(own)]);
  });
  expect(readdirSync(root)).toEqual([]);
});

test('a gated command begins when it is told to, and never when its caller dies', async () => {
  const dir = folder();
  const [file = '', ...args] = gated(['sh', '-c', 'cat > "$0"; echo $$ >> "$0"', path.join(dir, 'ran')]);
  const told = spawn(file, args, { stdio: ['pipe', 'ignore', 'inherit'] });
  expect(existsSync(path.join(dir, 'ran'))).toBe(false);
  told.stdin?.end('go\nthe input\n');
  expect(await once(told, 'exit')).toEqual([0, null]);
  // The process that could be recorded is the command's own.
  expect(readFileSync(path.join(dir, 'ran'), 'utf8')).toBe(`the input\n${told.pid}\n`);

  rmSync(path.join(dir, 'ran'));
  const left = spawn(file, args, { stdio: ['pipe', 'ignore', 'inherit'] });
  left.stdin?.end();
  await once(left, 'exit');
  expect(existsSync(path.join(dir, 'ran'))).toBe(false);
});
