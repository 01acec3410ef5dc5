import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { copyTicketFolder, type TicketCopy } from '../../src/tickets/copy.js';
import { FilesTickets } from '../../src/tickets/files.js';
import { sha256 } from '../../src/tools/files.js';
import { test } from './temporary.js';

const at = new Date(2026, 10, 23, 12);

async function setUp(folder: string) {
  const ticketsRoot = path.join(folder, 'repo/docs/ttmp');
  const ticketFolder = await new FilesTickets(ticketsRoot).create(
    { id: 'ABC-12', title: 'Limit', topics: [] },
    at,
  );
  const worktree = path.join(folder, 'worktree');
  mkdirSync(worktree);
  const copy: TicketCopy = { ticketFolder, ticketsRoot, worktree, relativeRoot: 'docs/ttmp', placed: {} };
  const name = (file: string) => `docs/ttmp/2026/11/23/ABC-12--limit/${file}`;
  return { copy, ticketFolder, worktree, name, target: (file: string) => path.join(worktree, name(file)) };
}

test('the folder stands at the same place, with a hash of every file', async ({ folder }) => {
  const { copy, ticketFolder, name, target } = await setUp(folder);
  writeFileSync(path.join(ticketFolder, 'scripts/run.sh'), '#!/bin/sh\n');
  chmodSync(path.join(ticketFolder, 'scripts/run.sh'), 0o755);
  const big = Buffer.alloc(300_000, 'x');
  writeFileSync(path.join(ticketFolder, 'sources/big.bin'), big);
  const { placed, kept } = await copyTicketFolder(copy);
  expect(kept).toEqual([]);
  expect(Object.keys(placed).sort()).toEqual(
    ['README.md', 'changelog.md', 'index.md', 'scripts/run.sh', 'sources/big.bin', 'tasks.md'].map(name),
  );
  for (const [file, hash] of Object.entries(placed)) {
    expect(sha256(readFileSync(path.join(copy.worktree, file)))).toBe(hash);
  }
  expect(readFileSync(target('sources/big.bin')).equals(big)).toBe(true);
  expect(statSync(target('scripts/run.sh')).mode & 0o777).toBe(0o755);
  expect(existsSync(target('reference'))).toBe(true);
  // Done again, as after a crash before it was recorded: the same.
  expect(await copyTicketFolder(copy)).toEqual({ placed, kept });
});

test('only what was placed before is replaced', async ({ folder }) => {
  const { copy, ticketFolder, name, target } = await setUp(folder);
  const first = await copyTicketFolder(copy);
  for (const file of ['index.md', 'tasks.md'])
    writeFileSync(path.join(ticketFolder, file), 'new from the ticket\n');
  writeFileSync(target('tasks.md'), "the agent's\n");
  const second = await copyTicketFolder({ ...copy, placed: first.placed });
  expect(readFileSync(target('index.md'), 'utf8')).toBe('new from the ticket\n');
  expect(second.placed[name('index.md')]).toBe(sha256('new from the ticket\n'));
  expect(readFileSync(target('tasks.md'), 'utf8')).toBe("the agent's\n");
  expect(second.kept).toEqual([name('tasks.md')]);
  expect(second.placed).not.toHaveProperty([name('tasks.md')]);
});

test('a file of the branch itself is left alone, an identical one counts as placed', async ({ folder }) => {
  const { copy, ticketFolder, name, target } = await setUp(folder);
  mkdirSync(path.dirname(target('index.md')), { recursive: true });
  writeFileSync(target('index.md'), 'of the branch\n');
  writeFileSync(target('tasks.md'), readFileSync(path.join(ticketFolder, 'tasks.md')));
  const { placed, kept } = await copyTicketFolder(copy);
  expect(kept).toEqual([name('index.md')]);
  expect(readFileSync(target('index.md'), 'utf8')).toBe('of the branch\n');
  expect(placed).toHaveProperty([name('tasks.md')]);
});

test('no link is followed or copied, on either side', async ({ folder }) => {
  const { copy, ticketFolder, name, target } = await setUp(folder);
  const outside = path.join(folder, 'outside');
  mkdirSync(outside);
  writeFileSync(path.join(outside, 'secret'), 'secret');
  symlinkSync(path.join(outside, 'secret'), path.join(ticketFolder, 'sources/link'));
  symlinkSync(outside, path.join(ticketFolder, 'linked-folder'));
  const first = await copyTicketFolder(copy);
  expect(existsSync(target('sources/link'))).toBe(false);
  expect(existsSync(target('linked-folder'))).toBe(false);

  rmSync(target('tasks.md'));
  symlinkSync(path.join(outside, 'tasks'), target('tasks.md'));
  rmSync(target('reference'), { recursive: true });
  symlinkSync(outside, target('reference'));
  writeFileSync(path.join(ticketFolder, 'reference/01-x.md'), 'x');
  const { kept } = await copyTicketFolder({ ...copy, placed: first.placed });
  expect([...kept].sort()).toEqual([name('reference'), name('tasks.md')]);
  expect(readdirSync(outside)).toEqual(['secret']);
  expect(lstatSync(target('tasks.md')).isSymbolicLink()).toBe(true);
});

test('a swapped parent leads nowhere else', async ({ folder }) => {
  const { copy, worktree } = await setUp(folder);
  const outside = path.join(folder, 'outside');
  mkdirSync(outside);
  symlinkSync(outside, path.join(worktree, 'docs'));
  const { placed, kept } = await copyTicketFolder(copy);
  expect(placed).toEqual({});
  expect(kept).toEqual(['docs/ttmp/2026/11/23/ABC-12--limit']);
  expect(readdirSync(outside)).toEqual([]);
  await expect(copyTicketFolder({ ...copy, relativeRoot: '../..' })).rejects.toThrow(/not inside/);
});
