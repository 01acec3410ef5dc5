import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { ticketDriver } from '../../src/tickets/index.js';
import { parseRows } from '../../src/tools/docmgr.js';
import { ToolFailure } from '../../src/tools/failure.js';
import { findProgram } from '../../src/tools/process.js';
import { installFakeDocmgr } from '../support/fake-docmgr.js';
import { test } from './temporary.js';

const at = new Date(2026, 10, 23, 12);
const later = new Date(2026, 10, 24, 12);
const ABC_12 = { id: 'ABC-12', title: 'Rate limit the login', topics: ['api', 'security'] };
const title = 'Run brief run-20261123-120000-ab12';
const brief = { ticketId: 'ABC-12', title, topics: ['api'], body: '# Run brief\n\nGoal\n' };

function setUp(folder: string, extra: Record<string, string> = {}) {
  const fake = installFakeDocmgr(folder);
  const root = path.join(folder, 'ttmp');
  return {
    root,
    tickets: ticketDriver('docmgr', root, fake.env(extra)),
    /** The same tree, with the stand-in doing something else. */
    with: (other: Record<string, string>) => ticketDriver('docmgr', root, fake.env(other)),
    /** The commands called so far, without `list tickets`. */
    called: () =>
      fake
        .calls()
        .map((argv) => argv.slice(0, 2).join(' '))
        .filter((name) => name !== 'list tickets'),
    calls: fake.calls,
  };
}

describe('docmgr', () => {
  test('looks, creates, writes the brief, closes: each once', async ({ folder }) => {
    const { tickets, root, called, calls } = setUp(folder);
    expect(await tickets.find('ABC-12')).toBeNull();
    // It would fail on a root that does not exist: it is not asked.
    expect(calls()).toEqual([]);

    const made = await tickets.create(ABC_12, at);
    expect(path.dirname(path.dirname(path.dirname(path.dirname(made))))).toBe(root);
    expect(await tickets.create({ ...ABC_12, title: 'Another title' }, at)).toBe(made);
    expect(await tickets.find('ABC-12')).toBe(made);

    expect(await tickets.findBrief('ABC-12', title)).toBeNull();
    const written = await tickets.writeBrief(brief, null, at);
    expect(written).toMatchObject({
      path: path.join(made, 'reference', '01-run-brief-run-20261123-120000-ab12.md'),
    });
    expect(readFileSync(written.path, 'utf8')).toMatch(
      /^---\nTitle: Run brief [\s\S]*\n---\n\n# Run brief\n\nGoal\n$/,
    );
    expect(await tickets.writeBrief(brief, written.hash, at)).toMatchObject({ result: 'unchanged' });
    const second = await tickets.writeBrief({ ...brief, body: '# New\n' }, written.hash, later);
    expect(second).toMatchObject({ path: written.path, result: 'written' });
    appendFileSync(written.path, 'mine\n');
    expect(await tickets.writeBrief(brief, second.hash, later)).toMatchObject({
      result: 'kept',
      hash: second.hash,
    });

    expect(await tickets.addChangelog('ABC-12', 'Run run-1 started', at)).toBe('added');
    expect(await tickets.addChangelog('ABC-12', 'Run run-1 started', at)).toBe('unchanged');
    expect(await tickets.close('ABC-12', 'Run run-1 closed', at)).toBe('closed');
    expect(await tickets.close('ABC-12', 'Run run-1 closed', at)).toBe('unchanged');
    expect(readFileSync(path.join(made, 'index.md'), 'utf8')).toContain('\nStatus: complete\n');
    expect(readFileSync(path.join(made, 'changelog.md'), 'utf8').match(/Run run-1/g)).toHaveLength(2);

    expect(called()).toEqual(['ticket create-ticket', 'doc add', 'changelog update', 'ticket close']);
    for (const argv of calls()) {
      expect(argv.join(' ')).toContain(`--root ${root} --with-glaze-output --output json`);
    }
    expect(readdirSync(root).filter((name) => name.startsWith('_'))).toEqual([]);
  });

  test('an id that begins another one is never taken for it', async ({ folder }) => {
    const { tickets, called } = setUp(folder, { DOCMGR_STAND_IN_PREFIX: '1' });
    await tickets.create(ABC_12, at);
    expect(await tickets.find('ABC-1')).toBeNull();
    for (const call of [
      () => tickets.writeBrief({ ...brief, ticketId: 'ABC-1' }, null, at),
      () => tickets.addChangelog('ABC-1', 'x', at),
      () => tickets.close('ABC-1', 'x', at),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: 'ticket_missing' });
    }
    expect(called()).toEqual(['ticket create-ticket']);
    expect(await tickets.create({ ...ABC_12, id: 'ABC-1' }, at)).toContain('/ABC-1--');
  });

  test('two folders of one ticket are an error that names both', async ({ folder }) => {
    const { tickets, called, root } = setUp(folder);
    const made = await tickets.create(ABC_12, at);
    const second = path.join(root, '2020/01/02/ABC-12--older');
    mkdirSync(second, { recursive: true });
    writeFileSync(path.join(second, 'index.md'), readFileSync(path.join(made, 'index.md')));
    for (const call of [
      () => tickets.find('ABC-12'),
      () => tickets.create(ABC_12, at),
      () => tickets.writeBrief(brief, null, at),
      () => tickets.close('ABC-12', 'x', at),
    ]) {
      const error = (await call().catch((reason: unknown) => reason)) as Error;
      expect(error).toMatchObject({ code: 'ticket_ambiguous' });
      expect(error.message).toContain(made);
      expect(error.message).toContain(second);
    }
    expect(called()).toEqual(['ticket create-ticket']);
  });

  test('eight creators and eight writers at once make one', async ({ folder }) => {
    const { tickets, called } = setUp(folder);
    const made = await Promise.all(
      Array.from({ length: 8 }, (_, index) => tickets.create({ ...ABC_12, title: `Title ${index}` }, at)),
    );
    expect(new Set(made).size).toBe(1);
    const written = await Promise.all(Array.from({ length: 8 }, () => tickets.writeBrief(brief, null, at)));
    expect(new Set(written.map((one) => one.path)).size).toBe(1);
    expect(called()).toEqual(['ticket create-ticket', 'doc add']);
  });

  test('titles and entries reach the program as they are, and no shell', async ({ folder }) => {
    const { tickets, calls } = setUp(folder);
    const marker = path.join(folder, 'ran');
    const nasty = `--x \`touch ${marker}\` $(touch ${marker}) ; "q" 'p' \\ 日本`;
    const made = await tickets.create({ id: 'T-1', title: nasty, topics: ['a,b', '"c"', ' '] }, at);
    expect(readFileSync(path.join(made, 'index.md'), 'utf8')).toContain('touch');
    await tickets.addChangelog('T-1', nasty, at);
    expect(existsSync(marker)).toBe(false);
    const [create] = calls().filter((argv) => argv[1] === 'create-ticket');
    expect(create?.[create.indexOf('--title') + 1]).toBe(nasty);
    expect(create?.[create.indexOf('--topics') + 1]).toBe('a b,c');
  });

  test('a brief whose body was never written after a crash gets it', async ({ folder }) => {
    const set = setUp(folder);
    const made = await set.tickets.create(ABC_12, at);
    await expect(set.with({ DOCMGR_STAND_IN_CRASH: 'doc add' }).writeBrief(brief, null, at)).rejects.toThrow(
      ToolFailure,
    );
    const written = await set.tickets.writeBrief(brief, null, at);
    expect(written.result).toBe('written');
    expect(readdirSync(path.join(made, 'reference'))).toHaveLength(1);
    expect(readFileSync(written.path, 'utf8')).toMatch(/---\n\n# Run brief\n\nGoal\n$/);
  });

  test('a close that a crash cut short before its entry is finished', async ({ folder }) => {
    const set = setUp(folder);
    const made = await set.tickets.create(ABC_12, at);
    const crash = set.with({ DOCMGR_STAND_IN_CRASH: 'ticket close' }).close('ABC-12', 'Run closed', at);
    await expect(crash).rejects.toMatchObject({ name: 'ToolFailure', exitCode: null });
    expect(await set.tickets.close('ABC-12', 'Run closed', at)).toBe('closed');
    expect(await set.tickets.close('ABC-12', 'Run closed', at)).toBe('unchanged');
    expect(readFileSync(path.join(made, 'changelog.md'), 'utf8').match(/Run closed/g)).toHaveLength(1);
  });

  test.for([
    ['ticket create-ticket', 'not listed afterwards'],
    ['doc add', 'no document of that title'],
    ['changelog update', 'lacks the entry'],
    ['ticket close', 'not complete afterwards'],
  ] as const)('exit 0 of "%s" without an effect is a failure', async ([command, message], { folder }) => {
    const set = setUp(folder);
    const idle = set.with({ DOCMGR_STAND_IN_IDLE: command });
    if (command !== 'ticket create-ticket') await set.tickets.create(ABC_12, at);
    const call = {
      'ticket create-ticket': () => idle.create(ABC_12, at),
      'doc add': () => idle.writeBrief(brief, null, at),
      'changelog update': () => idle.addChangelog('ABC-12', 'x', at),
      'ticket close': () => idle.close('ABC-12', 'x', at),
    }[command];
    const error = (await call().catch((reason: unknown) => reason)) as ToolFailure;
    expect(error).toBeInstanceOf(ToolFailure);
    expect(error.message).toContain(message);
  });

  test('a failure says program, arguments, folder, exit code and the error without the log', async ({
    folder,
  }) => {
    const { tickets, root } = setUp(folder);
    await tickets.create(ABC_12, at);
    writeFileSync(path.join(root, 'not-a-folder'), '');
    const inside = ticketDriver('docmgr', root, installFakeDocmgr(path.join(folder, 'b')).env());
    const failing = inside.addChangelog('ABC-12', 'x', at);
    await expect(failing).resolves.toBe('added');
    const broken = ticketDriver('docmgr', root, {
      ...installFakeDocmgr(path.join(folder, 'c')).env(),
      PATH: fails(path.join(folder, 'd')),
    });
    const error = (await broken.find('ABC-12').catch((reason: unknown) => reason)) as ToolFailure;
    expect(error.message).toMatch(/^docmgr list tickets --root .* \(in .*ttmp\): exit 1: Error: it broke$/);
  });

  test('a program that is not there says how to get it', async ({ folder }) => {
    mkdirSync(path.join(folder, 'ttmp'));
    const env = { PATH: path.join(folder, 'empty') };
    const error = (await ticketDriver('docmgr', path.join(folder, 'ttmp'), env)
      .find('ABC-12')
      .catch((reason: unknown) => reason)) as ToolFailure;
    expect(error).toBeInstanceOf(ToolFailure);
    expect(error.message).toMatch(/is not on PATH; install it with "go install .*tickets\.driver to files/);
  });
});

test('rows are one array, or nothing at all', () => {
  expect(parseRows('')).toEqual([]);
  expect(parseRows('\n')).toEqual([]);
  expect(parseRows('[\n{"ticket":"A"}]\n')).toEqual([{ ticket: 'A' }]);
  expect(parseRows('{"level":"debug","m":"[x]"}\n[{"ticket":"A"}]\n')).toEqual([{ ticket: 'A' }]);
  for (const other of ['created ABC-1', '[1]', '[{"ticket":', '{"ticket":"A"}'])
    expect(parseRows(other)).toBeNull();
});

test('none keeps nothing', async () => {
  const none = ticketDriver('none', null);
  expect(await none.find('A')).toBeNull();
  expect(await none.findBrief('A', 'x')).toBeNull();
  expect(await none.close('A', 'x', at)).toBe('unchanged');
  await expect(none.create(ABC_12, at)).rejects.toThrow(/"none"/);
  expect(() => ticketDriver('files', null)).toThrow(/needs a tickets root/);
});

test.for(['files', 'docmgr'] as const)(
  'what %s makes passes the checks of docmgr',
  async (kind, { folder }) => {
    const { root } = setUp(folder);
    const env = installFakeDocmgr(path.join(folder, 'own')).env();
    const tickets = ticketDriver(kind, root, env);
    for (const [id, words] of [
      ['ABC-12', 'a: "b" # c'],
      ['0123', '- 日本語'],
    ] as const) {
      await tickets.create({ id, title: words, topics: [] }, at);
      await tickets.writeBrief({ ...brief, ticketId: id }, null, at);
      await tickets.close(id, 'Closed', at);
    }
    execFileSync('docmgr', ['doctor', '--all', '--root', root, '--fail-on', 'error'], {
      env,
      stdio: 'ignore',
    });
    // Each driver sees the other's tickets.
    const other = ticketDriver(kind === 'files' ? 'docmgr' : 'files', root, env);
    for (const id of ['ABC-12', '0123']) {
      expect(await other.find(id)).toBe(await tickets.find(id));
      expect(await other.findBrief(id, title)).toEqual(await tickets.findBrief(id, title));
      expect(await other.close(id, 'Closed', later)).toBe('unchanged');
    }
  },
);

const hasDocmgr = findProgram('docmgr', process.env) !== null;

test.skipIf(!hasDocmgr)(
  `the real docmgr accepts what files makes${hasDocmgr ? '' : ' (skipped: docmgr is not on PATH)'}`,
  async ({ folder }) => {
    const root = path.join(folder, 'ttmp');
    const tickets = ticketDriver('files', root);
    const made = await tickets.create({ ...ABC_12, title: 'a: "b" # c' }, at);
    await tickets.writeBrief(brief, null, at);
    await tickets.close('ABC-12', 'Closed', at);
    execFileSync('docmgr', ['doctor', '--all', '--root', root, '--fail-on', 'error'], { cwd: folder });
    const real = ticketDriver('docmgr', root);
    expect(await real.find('ABC-12')).toBe(made);
    expect(await real.close('ABC-12', 'Closed', at)).toBe('unchanged');
  },
);

/** A folder with a docmgr that only fails. */
function fails(folder: string): string {
  mkdirSync(folder, { recursive: true });
  const script = `#!/bin/sh\necho '{"level":"debug","message":"x"}' >&2\necho 'Error: it broke' >&2\nexit 1\n`;
  writeFileSync(path.join(folder, 'docmgr'), script, { mode: 0o755 });
  return `${folder}${path.delimiter}${process.env.PATH ?? ''}`;
}
