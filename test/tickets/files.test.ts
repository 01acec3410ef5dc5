import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { parse } from 'yaml';
import { FilesTickets } from '../../src/tickets/files.js';
import { splitDocument } from '../../src/tickets/frontmatter.js';
import {
  documentName,
  documentSlug,
  localDate,
  nextNumber,
  slugify,
  ticketSlug,
} from '../../src/tickets/layout.js';
import { TicketProblem } from '../../src/tickets/ticket.js';
import { test } from './temporary.js';

const at = new Date(2026, 10, 23, 12, 9, 34);
const later = new Date(2026, 10, 24, 8);
const ABC_12 = { id: 'ABC-12', title: 'Rate limit the login', topics: ['api'] };
const KEYS = [
  'Title',
  'Ticket',
  'Status',
  'Topics',
  'DocType',
  'Intent',
  'Owners',
  'RelatedFiles',
  'ExternalSources',
  'Summary',
  'LastUpdated',
  'WhatFor',
  'WhenToUse',
];

describe('names', () => {
  test.each([
    ['a `id` $(id) "q"', 'a-id-id-q'],
    ['Rate limit the login', 'rate-limit-the-login'],
    ['  --Weird__chars!!  ', 'weird-chars'],
    ['zürich 日本語', 'z-rich'],
    ['日本語', 'document'],
    ['', 'document'],
    ['UPPER 123', 'upper-123'],
  ])('slug of %j is %s', (title, slug) => {
    expect(slugify(title)).toBe(slug);
  });

  test.each([
    ['ABC-12: Rate limit', 'rate-limit'],
    ['abc-12 – rate limit', 'rate-limit'],
    ['ABC-12', 'abc-12'],
    ['ABC-123 is another', 'abc-123-is-another'],
    ['Fix ABC-12', 'fix-abc-12'],
    ['', 'abc-12'],
  ])('folder slug of ABC-12 titled %j is %s', (title, slug) => {
    expect(ticketSlug({ id: 'ABC-12', title })).toBe(slug);
  });

  test('documents are numbered from the highest, with three digits from 100', () => {
    expect(nextNumber([])).toBe(1);
    expect(nextNumber(['01-a.md', '07-b.md', 'notes.md', '99-x.txt', '2026-plan.md'])).toBe(8);
    expect(nextNumber(['99-a.md'])).toBe(100);
    expect(nextNumber(['99-a.md', '100-b.md'])).toBe(101);
    expect(documentName(7, 'Run brief run-1')).toBe('07-run-brief-run-1.md');
    expect(documentName(100, 'x')).toBe('100-x.md');
    expect(documentSlug('02 second try')).toBe('second-try');
  });

  test('a long title makes a name that file systems take', () => {
    expect(ticketSlug({ id: 'A', title: 'word '.repeat(100) }).length).toBeLessThanOrEqual(120);
  });
});

describe('create', () => {
  test('makes the folder that docmgr accepts', async ({ folder }) => {
    const root = path.join(folder, 'ttmp');
    const made = await new FilesTickets(root).create(ABC_12, at);
    expect(made).toBe(path.join(root, '2026/11/23/ABC-12--rate-limit-the-login'));
    expect(readdirSync(made).sort()).toEqual(
      [
        'index.md README.md tasks.md changelog.md',
        'design reference playbooks scripts sources .meta various archive',
      ]
        .join(' ')
        .split(' ')
        .sort(),
    );
    expect(read(made, 'index.md')).toBe(`---
Title: Rate limit the login
Ticket: ABC-12
Status: active
Topics:
    - api
DocType: index
Intent: long-term
Owners: []
RelatedFiles: []
ExternalSources: []
Summary: ""
LastUpdated: ${at.toISOString()}
WhatFor: ""
WhenToUse: ""
---

# Rate limit the login

Document workspace for ABC-12.
`);
    expect(read(made, 'tasks.md')).toBe('# Tasks\n\n## TODO\n\n- [ ] Add tasks here\n');
    expect(read(made, 'changelog.md')).toBe('# Changelog\n\n## 2026-11-23\n\n- Initial workspace created\n');
    expect(readdirSync(root)).toEqual(['2026']);
  });

  test('again, on another day and with another title, is the same folder untouched', async ({ folder }) => {
    const tickets = new FilesTickets(folder);
    const made = await tickets.create(ABC_12, at);
    writeFileSync(path.join(made, 'index.md'), read(made, 'index.md').replace('# Rate', '# My rate'));
    expect(await tickets.create({ ...ABC_12, title: 'Other' }, later)).toBe(made);
    expect(read(made, 'index.md')).toContain('# My rate');
    expect(readdirSync(path.join(folder, '2026/11'))).toEqual(['23']);
  });

  test('eight at once, with different titles and days, make one', async ({ folder }) => {
    const made = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        new FilesTickets(folder).create({ ...ABC_12, title: `Title ${index}` }, index % 2 ? at : later),
      ),
    );
    expect(new Set(made).size).toBe(1);
    expect(
      execFileSync('find', [folder, '-name', 'index.md'], { encoding: 'utf8' }).trim().split('\n'),
    ).toHaveLength(1);
    expect(readdirSync(folder)).toEqual(['2026']);
  });

  test.for([
    'a: b "c" \'d\' # e',
    '- dash',
    'a `id` $(id) "q"',
    'zürich 日本語 🦀',
    'two\nlines\u0007',
    '0123',
    '---',
  ])('title %j is read back by a YAML parser', async (title, { folder }) => {
    const made = await new FilesTickets(folder).create({ ...ABC_12, title, topics: ['a: b', title] }, at);
    const head = parse(splitDocument(read(made, 'index.md'))?.frontmatter ?? '') as Record<string, unknown>;
    const line = title.replace('\n', ' ').replace('\u0007', '');
    expect(head).toMatchObject({ Title: line, Ticket: 'ABC-12', Topics: ['a: b', line] });
    expect(Object.keys(head)).toEqual(KEYS);
    expect(await new FilesTickets(folder).find('ABC-12')).toBe(made);
  });

  test.for(['../x', 'a/b', '', '-x', 'a..b', 'x'.repeat(65)])(
    'refuses %j as an id',
    async (id, { folder }) => {
      await expect(new FilesTickets(folder).create({ ...ABC_12, id }, at)).rejects.toMatchObject({
        code: 'ticket_id',
      });
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  test('what a crash left half-made is no ticket, and is cleaned away', async ({ folder }) => {
    const lock = path.join(folder, '_metawsm-new-ABC-12');
    mkdirSync(path.join(lock, 'half/reference'), { recursive: true });
    writeFileSync(path.join(lock, 'half/index.md'), '---\nTicket: ABC-12\n---\n');
    const old = new Date(Date.now() - 3_600_000);
    utimesSync(lock, old, old);
    const tickets = new FilesTickets(folder);
    expect(await tickets.find('ABC-12')).toBeNull();
    const made = await tickets.create(ABC_12, at);
    expect(await tickets.find('ABC-12')).toBe(made);
    expect(readdirSync(folder)).toEqual(['2026']);
  });

  test('finishes a folder of its name that has no index yet', async ({ folder }) => {
    const half = path.join(folder, '2026/11/23/ABC-12--rate-limit-the-login');
    mkdirSync(path.join(half, 'reference'), { recursive: true });
    writeFileSync(path.join(half, 'tasks.md'), 'mine');
    expect(await new FilesTickets(folder).create(ABC_12, at)).toBe(half);
    expect(read(half, 'tasks.md')).toBe('mine');
    expect(existsSync(path.join(half, 'changelog.md'))).toBe(true);
    expect(readdirSync(folder)).toEqual(['2026']);
  });

  test('never goes through a link out of the tree', async ({ folder }) => {
    const root = path.join(folder, 'ttmp');
    const outside = path.join(folder, 'outside');
    mkdirSync(root);
    mkdirSync(outside);
    symlinkSync(outside, path.join(root, '2026'));
    await expect(new FilesTickets(root).create(ABC_12, at)).rejects.toThrow(/2026 is a symbolic link/);
    expect(readdirSync(outside)).toEqual([]);
  });
});

describe('find', () => {
  test('goes by the exact Ticket in index.md, not by the folder', async ({ folder }) => {
    const tickets = new FilesTickets(folder);
    const twelve = await tickets.create(ABC_12, at);
    expect(await tickets.find('ABC-1')).toBeNull();
    const one = await tickets.create({ id: 'ABC-1', title: 'ABC-12', topics: [] }, at);
    expect(await tickets.find('ABC-1')).toBe(one);
    expect(await tickets.find('abc-1')).toBeNull();
    const renamed = path.join(path.dirname(twelve), 'something-else');
    renameSync(twelve, renamed);
    expect(await tickets.find('ABC-12')).toBe(renamed);
  });

  test('reads what docmgr writes', async ({ folder }) => {
    const made = path.join(folder, '2025/01/02/7--x');
    mkdirSync(made, { recursive: true });
    for (const ticket of ['7', '"7"', "'7'", '7 # seven']) {
      writeFileSync(
        path.join(made, 'index.md'),
        `---\nTitle: 'a: b'\nTicket: ${ticket}\nDocType: index\n---\n`,
      );
      expect(await new FilesTickets(folder).find('7')).toBe(made);
    }
  });

  test('two folders are an error that names both', async ({ folder }) => {
    const tickets = new FilesTickets(folder);
    const made = await tickets.create(ABC_12, at);
    const second = path.join(folder, '2026/11/24/ABC-12--again');
    mkdirSync(second, { recursive: true });
    writeFileSync(path.join(second, 'index.md'), read(made, 'index.md'));
    for (const call of [
      () => tickets.find('ABC-12'),
      () => tickets.create(ABC_12, at),
      () => tickets.close('ABC-12', 'x', at),
    ]) {
      const error = (await call().catch((reason: unknown) => reason)) as TicketProblem;
      expect(error).toBeInstanceOf(TicketProblem);
      expect(error).toMatchObject({ code: 'ticket_ambiguous' });
      expect(error.message).toContain(made);
      expect(error.message).toContain(second);
    }
  });

  test('a folder named for the ticket with a broken index is an error, others are passed over', async ({
    folder,
  }) => {
    const tickets = new FilesTickets(folder);
    const mine = path.join(folder, '2026/11/23/ABC-12--x');
    const other = path.join(folder, '2026/11/23/XYZ-1--about ABC-12');
    for (const each of [mine, other]) mkdirSync(each, { recursive: true });
    writeFileSync(path.join(other, 'index.md'), 'about ABC-12, without frontmatter');
    expect(await tickets.find('ABC-12')).toBeNull();
    writeFileSync(path.join(mine, 'index.md'), '---\nTitle: x\n---\n');
    await expect(tickets.find('ABC-12')).rejects.toMatchObject({ code: 'ticket_unreadable' });
    rmSync(path.join(mine, 'index.md'));
    execFileSync('mkfifo', [path.join(mine, 'index.md')]);
    await expect(tickets.find('ABC-12')).rejects.toMatchObject({ code: 'ticket_unreadable' });
  });

  test('follows no links, and a missing root has no tickets', async ({ folder }) => {
    const elsewhere = new FilesTickets(path.join(folder, 'elsewhere'));
    const made = await elsewhere.create(ABC_12, at);
    const root = path.join(folder, 'ttmp');
    const tickets = new FilesTickets(root);
    expect(await tickets.find('ABC-12')).toBeNull();
    expect(existsSync(root)).toBe(false);
    mkdirSync(path.join(root, '2026/11/23'), { recursive: true });
    symlinkSync(made, path.join(root, '2026/11/23/ABC-12--linked'));
    expect(await tickets.find('ABC-12')).toBeNull();
  });
});

describe('the brief', () => {
  const title = 'Run brief run-20261123-120000-ab12';
  const brief = { ticketId: 'ABC-12', title, topics: ['api'], body: '# Run brief\n\nGoal\n\n---\n\nrule\n' };

  test('is a reference document, written once', async ({ folder }) => {
    const tickets = new FilesTickets(folder);
    const made = await tickets.create(ABC_12, at);
    expect(await tickets.findBrief('ABC-12', title)).toBeNull();
    const written = await tickets.writeBrief(brief, null, at);
    expect(written).toMatchObject({
      path: path.join(made, 'reference/01-run-brief-run-20261123-120000-ab12.md'),
      result: 'written',
    });
    const text = readFileSync(written.path, 'utf8');
    const split = splitDocument(text);
    expect(Object.keys(parse(split?.frontmatter ?? '') as object)).toEqual(KEYS);
    expect(parse(split?.frontmatter ?? '')).toMatchObject({
      Title: title,
      DocType: 'reference',
      Ticket: 'ABC-12',
    });
    expect(split?.body).toBe(`\n${brief.body}`);
    expect(await tickets.findBrief('ABC-12', title)).toEqual({ path: written.path, hash: written.hash });

    for (const known of [null, written.hash]) {
      expect(await tickets.writeBrief(brief, known, later)).toEqual({ ...written, result: 'unchanged' });
    }
    expect(readFileSync(written.path, 'utf8')).toBe(text);
    expect(readdirSync(path.join(made, 'reference'))).toHaveLength(1);
  });

  test('is rewritten with its frontmatter kept, unless a person edited it', async ({ folder }) => {
    const tickets = new FilesTickets(folder);
    await tickets.create(ABC_12, at);
    const first = await tickets.writeBrief(brief, null, at);
    const second = await tickets.writeBrief({ ...brief, body: '# New\n' }, first.hash, later);
    expect(second).toMatchObject({ path: first.path, result: 'written' });
    const text = readFileSync(first.path, 'utf8');
    expect(text).toContain(`LastUpdated: ${later.toISOString()}\n`);
    expect(text.endsWith('---\n\n# New\n')).toBe(true);

    // Written, but not recorded before a crash.
    expect(await tickets.writeBrief({ ...brief, body: '# New\n' }, first.hash, later)).toMatchObject({
      result: 'unchanged',
      hash: second.hash,
    });

    writeFileSync(first.path, `${text}\nmy remark\n`);
    const kept = await tickets.writeBrief({ ...brief, body: '# Newer\n' }, second.hash, later);
    expect(kept).toEqual({ path: first.path, hash: second.hash, result: 'kept' });
    expect(readFileSync(first.path, 'utf8')).toBe(`${text}\nmy remark\n`);
    // Recording what was given back does not make the edit ours.
    expect(await tickets.writeBrief({ ...brief, body: '# X\n' }, kept.hash, later)).toMatchObject({
      result: 'kept',
    });
  });

  test('takes the number after the highest, by title only', async ({ folder }) => {
    const tickets = new FilesTickets(folder);
    const reference = path.join(await tickets.create(ABC_12, at), 'reference');
    writeFileSync(
      path.join(reference, '99-notes.md'),
      '---\nTitle: Run brief run-20261123-120000-ab1\n---\n',
    );
    writeFileSync(path.join(reference, '05-run-brief-run-20261123-120000-ab12.md'), 'no frontmatter');
    const written = await tickets.writeBrief(brief, null, at);
    expect(path.basename(written.path)).toBe('100-run-brief-run-20261123-120000-ab12.md');
    const next = await tickets.writeBrief({ ...brief, title: 'Run brief other' }, null, at);
    expect(path.basename(next.path)).toBe('101-run-brief-other.md');
  });

  test('of eight writers at once is one document; of eight runs eight', async ({ folder }) => {
    const tickets = new FilesTickets(folder);
    const reference = path.join(await tickets.create(ABC_12, at), 'reference');
    const same = await Promise.all(Array.from({ length: 8 }, () => tickets.writeBrief(brief, null, at)));
    expect(new Set(same.map((one) => one.path)).size).toBe(1);
    expect(readdirSync(reference)).toHaveLength(1);
    await Promise.all(
      Array.from({ length: 7 }, (_, run) =>
        tickets.writeBrief({ ...brief, title: `Run brief ${run}` }, null, at),
      ),
    );
    expect(
      readdirSync(reference)
        .map((name) => name.slice(0, 2))
        .sort(),
    ).toEqual(['01', '02', '03', '04', '05', '06', '07', '08']);
  });

  test('goes through no link', async ({ folder }) => {
    const tickets = new FilesTickets(path.join(folder, 'ttmp'));
    const made = await tickets.create(ABC_12, at);
    const outside = path.join(folder, 'outside');
    mkdirSync(outside);
    rmSync(path.join(made, 'reference'), { recursive: true });
    symlinkSync(outside, path.join(made, 'reference'));
    await expect(tickets.writeBrief(brief, null, at)).rejects.toThrow(/symbolic link/);
    expect(readdirSync(outside)).toEqual([]);
  });

  test('needs the ticket', async ({ folder }) => {
    await expect(new FilesTickets(folder).writeBrief(brief, null, at)).rejects.toMatchObject({
      code: 'ticket_missing',
    });
  });
});

describe('changelog and close', () => {
  test('entries are appended in docmgr form, the same one once', async ({ folder }) => {
    const tickets = new FilesTickets(folder);
    const made = await tickets.create(ABC_12, at);
    const before = read(made, 'changelog.md');
    expect(await tickets.addChangelog('ABC-12', 'Run run-1: started', later)).toBe('added');
    expect(await tickets.addChangelog('ABC-12', 'Run run-1: started\n', later)).toBe('unchanged');
    expect(await tickets.addChangelog('ABC-12', '## not a heading\nRun\u001b[31m', later)).toBe('added');
    expect(read(made, 'changelog.md')).toBe(
      `${before}\n## 2026-11-24\n\nRun run-1: started\n\n## 2026-11-24\n\n\\## not a heading\nRun\n`,
    );
    await expect(tickets.addChangelog('ABC-12', ' \n', at)).rejects.toThrow(/must not be empty/);
  });

  test('a changelog that is missing or lacks its last line end', async ({ folder }) => {
    const tickets = new FilesTickets(folder);
    const made = await tickets.create(ABC_12, at);
    rmSync(path.join(made, 'changelog.md'));
    await tickets.addChangelog('ABC-12', 'one', at);
    expect(read(made, 'changelog.md')).toBe('# Changelog\n\n## 2026-11-23\n\none\n');
    writeFileSync(path.join(made, 'changelog.md'), '# Changelog');
    await tickets.addChangelog('ABC-12', 'one', at);
    expect(read(made, 'changelog.md')).toBe('# Changelog\n\n## 2026-11-23\n\none\n');
  });

  test('close sets the status and adds the entry, once', async ({ folder }) => {
    const tickets = new FilesTickets(folder);
    const made = await tickets.create(ABC_12, at);
    const index = read(made, 'index.md');
    expect(await tickets.close('ABC-12', 'Run run-1 closed', later)).toBe('closed');
    expect(read(made, 'index.md')).toBe(
      index.replace('Status: active', 'Status: complete').replace(at.toISOString(), later.toISOString()),
    );
    const changelog = read(made, 'changelog.md');
    expect(changelog.match(/Run run-1 closed/g)).toHaveLength(1);
    const time = statSync(path.join(made, 'index.md')).mtimeMs;
    expect(await tickets.close('ABC-12', 'Run run-1 closed', later)).toBe('unchanged');
    expect(read(made, 'changelog.md')).toBe(changelog);
    expect(statSync(path.join(made, 'index.md')).mtimeMs).toBe(time);
    // A second run on the same ticket leaves its own entry.
    expect(await tickets.close('ABC-12', 'Run run-2 closed', later)).toBe('closed');
  });

  test('a close cut short between entry and status is finished', async ({ folder }) => {
    const tickets = new FilesTickets(folder);
    const made = await tickets.create(ABC_12, at);
    await tickets.addChangelog('ABC-12', 'Run run-1 closed', at);
    expect(await tickets.close('ABC-12', 'Run run-1 closed', later)).toBe('closed');
    expect(read(made, 'changelog.md').match(/Run run-1 closed/g)).toHaveLength(1);
    expect(read(made, 'index.md')).toContain('\nStatus: complete\n');
  });
});

test('the day is the one on this machine', () => {
  expect(localDate(new Date(2026, 0, 2, 0, 0, 1))).toBe('2026-01-02');
  expect(localDate(new Date(2026, 11, 31, 23, 59, 59))).toBe('2026-12-31');
});

function read(folder: string, name: string): string {
  return readFileSync(path.join(folder, name), 'utf8');
}
