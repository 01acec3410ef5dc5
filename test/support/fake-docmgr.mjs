#!/usr/bin/env node
// Stands in for docmgr, which cannot be installed from a package registry. It does what the real program was
// seen to do: data as one JSON array on stdout or nothing at all, log lines on stderr, exit 0 for an unknown
// ticket, a second folder for a second title, a second entry for a second close.
//
// DOCMGR_STAND_IN_LOG      a file to which each call's argv is appended as a line of JSON
// DOCMGR_STAND_IN_PREFIX   set: `--ticket` also resolves by unique prefix, as newer versions do
// DOCMGR_STAND_IN_IDLE     a command ("doc add") that exits 0 without doing anything
// DOCMGR_STAND_IN_CRASH    a command that does its work halfway and is then killed
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { parse, stringify } from 'yaml';

const argv = process.argv.slice(2);
if (process.env.DOCMGR_STAND_IN_LOG) {
  appendFileSync(process.env.DOCMGR_STAND_IN_LOG, `${JSON.stringify({ cwd: process.cwd(), argv })}\n`);
}
console.error('{"level":"debug","time":"2026-11-23T12:00:00Z","message":"resolving workspace root"}');

const firstFlag = argv.findIndex((word) => word.startsWith('--'));
const command = argv.slice(0, firstFlag < 0 ? argv.length : firstFlag).join(' ');
const flags = {};
for (let index = firstFlag; index >= 0 && index < argv.length; index++) {
  const [name, joined] = argv[index].slice(2).split(/=(.*)/s);
  if (['with-glaze-output', 'all'].includes(name)) flags[name] = true;
  else flags[name] = joined ?? argv[++index];
}
const root = rootFolder(flags.root ?? 'ttmp');

const commands = {
  'list tickets': listTickets,
  'ticket create-ticket': createTicket,
  'doc add': addDocument,
  'changelog update': updateChangelog,
  'ticket close': closeTicket,
  doctor,
};
const run = commands[command];
if (!run) fail(`unknown command "${command}" for "docmgr"`);
if (process.env.DOCMGR_STAND_IN_IDLE === command) process.exit(0);
const rows = run();
if (rows.length > 0) {
  process.stdout.write(
    flags['with-glaze-output'] ? `${JSON.stringify(rows, null, 2)}\n` : `${rows.length} rows\n`,
  );
}

function listTickets() {
  if (!existsSync(root)) fail(`root directory does not exist: ${root}`);
  return tickets()
    .filter((ticket) => flags.ticket === undefined || ticket.head.Ticket === flags.ticket)
    .map(({ folder, head }) => ({
      ticket: head.Ticket,
      title: head.Title,
      status: head.Status,
      topics: (head.Topics ?? []).join(', '),
      tasks_open: 1,
      tasks_done: 0,
      path: relative(root, folder),
      last_updated: '2026-11-23 12:00',
    }));
}

function createTicket() {
  const [ticket, title] = [need('ticket'), need('title')];
  const topics = flags.topics ? flags.topics.split(',') : [];
  const stripped = title.toLowerCase().startsWith(ticket.toLowerCase())
    ? title.slice(ticket.length).replace(/^[\s\-–—:_]+/, '')
    : title;
  const folder = join(root, today().replaceAll('-', '/'), `${ticket}--${slug(stripped || ticket)}`);
  const names = ['design', 'reference', 'playbooks', 'scripts', 'sources', '.meta', 'various', 'archive'];
  for (const name of names) mkdirSync(join(folder, name), { recursive: true });
  const head = documentHead({ Title: title, Ticket: ticket, Topics: topics, DocType: 'index' });
  create(join(folder, 'index.md'), document(head, `# ${title}\n`));
  create(join(folder, 'README.md'), `# ${title}\n`);
  create(join(folder, 'tasks.md'), '# Tasks\n\n## TODO\n\n- [ ] Add tasks here\n');
  create(join(folder, 'changelog.md'), `# Changelog\n\n## ${today()}\n\n- Initial workspace created\n\n`);
  return [{ ticket, path: folder, title, status: 'created' }];
}

function addDocument() {
  const { folder, head } = resolveTicket(need('ticket'));
  const [type, title] = [need('doc-type'), need('title')];
  mkdirSync(join(folder, type), { recursive: true });
  const numbers = readdirSync(join(folder, type)).map((name) =>
    Number(/^(\d{2,3})-.*\.md$/.exec(name)?.[1] ?? 0),
  );
  const number = Math.max(0, ...numbers) + 1;
  const path = join(folder, type, `${String(number).padStart(2, '0')}-${slug(title)}.md`);
  const own = documentHead({ Title: title, Ticket: head.Ticket, Topics: head.Topics, DocType: type });
  writeFileSync(
    path,
    document(own, `# ${title}\n\n## Goal\n\n<!-- What is the purpose of this document? -->\n`),
  );
  dieHere();
  return [{ ticket: head.Ticket, doc_type: type, title, path, status: 'created' }];
}

function updateChangelog() {
  const { folder } = resolveTicket(need('ticket'));
  if (!flags.entry?.trim()) fail('--entry is required and must not be empty');
  const file = join(folder, 'changelog.md');
  appendFileSync(file, `\n## ${today()}\n\n${flags.entry}\n\n`);
  return [{ file, status: 'updated', date: today(), files_count: 0 }];
}

function closeTicket() {
  const { folder, head } = resolveTicket(need('ticket'));
  const index = join(folder, 'index.md');
  const body = readFileSync(index, 'utf8')
    .split(/^---\n/m)
    .slice(2)
    .join('---\n')
    .replace(/^\n/, '');
  writeFileSync(index, document({ ...head, Status: 'complete' }, body));
  dieHere();
  appendFileSync(
    join(folder, 'changelog.md'),
    `\n## ${today()}\n\n${flags['changelog-entry'] || 'Ticket closed'}\n\n`,
  );
  return [
    {
      ticket: flags.ticket,
      all_tasks_done: false,
      open_tasks: 1,
      done_tasks: 0,
      status: 'complete',
      changelog_updated: true,
      status_updated: true,
    },
  ];
}

function doctor() {
  const problems = tickets(true).flatMap(({ folder, head }) =>
    head === null || !head.Title || !head.Ticket || !head.DocType
      ? [{ path: folder, severity: 'error' }]
      : [],
  );
  if (problems.length > 0) fail(`${problems.length} errors`);
  return problems;
}

function tickets(broken = false) {
  return walk(root).flatMap((file) => {
    try {
      const head = parse(/^---\n(.*?)^---$/ms.exec(readFileSync(file, 'utf8'))?.[1] ?? '');
      return basename(file) === 'index.md' && (broken || head?.DocType === 'index')
        ? [{ folder: dirname(file), head }]
        : [];
    } catch {
      return broken ? [{ folder: file, head: null }] : [];
    }
  });
}

function walk(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name.startsWith('_') || entry.name === '.meta' ? [] : walk(path);
    return entry.name.endsWith('.md') ? [path] : [];
  });
}

function resolveTicket(id) {
  const all = tickets();
  let found = all.filter((ticket) => ticket.head.Ticket === id);
  if (found.length === 0 && process.env.DOCMGR_STAND_IN_PREFIX) {
    found = all.filter((ticket) => ticket.head.Ticket.startsWith(id));
  }
  const [only] = found;
  if (!only) fail(`failed to find ticket directory: ticket not found: ${id}`);
  if (found.length > 1) {
    fail(`failed to find ticket directory: ambiguous ticket index doc for ${id} (got ${found.length})`);
  }
  return only;
}

function documentHead(own) {
  return {
    Title: own.Title,
    Ticket: own.Ticket,
    Status: 'active',
    Topics: own.Topics ?? [],
    DocType: own.DocType,
    Intent: 'long-term',
    Owners: [],
    RelatedFiles: [],
    ExternalSources: [],
    Summary: '',
    LastUpdated: new Date().toISOString(),
    WhatFor: '',
    WhenToUse: '',
  };
}

function document(head, body) {
  return `---\n${stringify(head, { indent: 4, lineWidth: 0 })}---\n\n${body}`;
}

function create(path, text) {
  if (!existsSync(path)) writeFileSync(path, text);
}

function slug(title) {
  return (
    title
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^-|-$/g, '') || 'document'
  );
}

function today() {
  const now = new Date();
  return [now.getFullYear(), now.getMonth() + 1, now.getDate()]
    .map((part) => String(part).padStart(2, '0'))
    .join('-');
}

function rootFolder(given) {
  if (given !== 'ttmp') return isAbsolute(given) ? given : resolve(given);
  return resolve('ttmp');
}

function need(flag) {
  if (flags[flag] === undefined) fail(`required flag(s) "${flag}" not set`);
  return flags[flag];
}

function dieHere() {
  if (process.env.DOCMGR_STAND_IN_CRASH === command) process.kill(process.pid, 'SIGKILL');
}

function fail(message) {
  console.error(`Error: ${message}`);
  process.exit(1);
}
