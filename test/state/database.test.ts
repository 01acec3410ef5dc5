import { appendFile, copyFile, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Database } from '../../src/state/database.js';
import { SCHEMA_VERSION } from '../../src/state/migrations.js';
import { Store } from '../../src/state/store.js';
import { snapshot } from '../support/snapshot.js';
import { folder, newRun, newStore, options, race, startWorker, storeWithRun } from './support.js';

test('many processes make one database at once', async () => {
  const state = path.join(await folder(), '.metawsm');
  expect(await race(8, 'open', () => ({ state }))).toEqual(Array(8).fill('opened'));
  expect((await readdir(state)).sort()).toEqual(['.gitignore', 'metawsm.db']);
  const db = await Database.open(path.join(state, 'metawsm.db'), { create: false });
  onTestFinished(() => db.close());
  expect(await db.get('PRAGMA user_version')).toEqual({ user_version: SCHEMA_VERSION });
  expect(await db.get('SELECT count(*) AS n FROM events')).toEqual({ n: 8 });
  expect(await db.get('PRAGMA journal_mode')).toEqual({ journal_mode: 'wal' });
  expect(await db.get('PRAGMA synchronous')).toEqual({ synchronous: 2 });
  expect(await db.get('PRAGMA foreign_keys')).toEqual({ foreign_keys: 1 });
});

test('many processes make one run of one manifest', async () => {
  const top = await folder();
  const state = path.join(top, '.metawsm');
  const run = (index: number) => newRun(`run-${index}`, path.join(top, 'a.yaml'));
  const results = await race(8, 'create-run', (index) => ({ state, run: run(index) }));
  expect(results.filter((result) => (result as { kind: string }).kind === 'created')).toHaveLength(1);
  const store = await Store.open(state, options());
  onTestFinished(() => store?.close());
  const runs = await store?.findRuns();
  expect(runs).toHaveLength(1);
  for (const result of results as { kind: string; runId?: string }[]) {
    if (result.kind === 'exists') expect(result.runId).toBe(runs?.[0]?.id);
  }
});

test('a journal line is never changed or deleted', async () => {
  const { store, state } = await storeWithRun();
  await store.close();
  const db = await Database.open(path.join(state, 'metawsm.db'), { create: false });
  onTestFinished(() => db.close());
  await expect(db.run("UPDATE events SET type = 'x'")).rejects.toThrow(/append-only/);
  await expect(db.run('DELETE FROM events')).rejects.toThrow(/append-only/);
});

test('a parameter that is missing or undefined is an error, not NULL', async () => {
  const { store, state } = await storeWithRun();
  await store.close();
  const db = await Database.open(path.join(state, 'metawsm.db'), { create: false });
  onTestFinished(() => db.close());
  await expect(db.all('SELECT ?', [])).rejects.toThrow(/parameters/);
  await expect(db.all('SELECT ?', [undefined as unknown as null])).rejects.toThrow(/undefined/);
});

test('a database of a newer metawsm is refused by name and kept', async () => {
  const { store, state } = await storeWithRun();
  await store.close();
  const file = path.join(state, 'metawsm.db');
  const db = await Database.open(file, { create: false });
  await db.exec(`UPDATE meta SET value = '9.9.9'; PRAGMA user_version = 99`);
  await db.close();
  const before = await readFile(file);
  for (const open of [Store.create, Store.open, Store.openReadOnly]) {
    await expect(open.call(Store, state, options())).rejects.toMatchObject({
      code: 'state_newer',
      message: expect.stringContaining('metawsm 9.9.9'),
    });
  }
  expect(await readFile(file)).toEqual(before);
});

test('what is no database, a damaged one, or another program’s is refused by name and kept', async () => {
  const { store, state } = await storeWithRun();
  await store.close();
  const file = path.join(state, 'metawsm.db');
  const good = await readFile(file);
  const other = path.join(await folder(), 'other.db');
  const foreign = await Database.open(other, { create: true });
  await foreign.exec('CREATE TABLE theirs (x)');
  await foreign.close();

  const damaged = Buffer.from(good);
  damaged.fill(0xff, 100, 4096);
  const cases: [string, Buffer][] = [
    ['state_corrupt', Buffer.from('this is no database at all, it is only text. '.repeat(50))],
    ['state_corrupt', damaged],
    ['state_foreign', await readFile(other)],
  ];
  for (const [code, bytes] of cases) {
    await writeFile(file, bytes);
    for (const open of [Store.create, Store.open, Store.openReadOnly]) {
      const problem = {
        code,
        message: expect.stringContaining(file),
        hint: expect.stringMatching(/kept|left as it is/),
      };
      await expect(open.call(Store, state, options())).rejects.toMatchObject(problem);
    }
    expect(await readFile(file)).toEqual(bytes);
    expect((await readdir(state)).sort()).toEqual(['.gitignore', 'metawsm.db']);
  }

  await rm(file);
  await mkdir(file);
  await expect(Store.create(state, options())).rejects.toMatchObject({ code: 'state_denied' });
});

test('a look writes nothing: no record, a closed one, one left by a crash, one in use', async () => {
  const top = await folder();
  const state = path.join(top, '.metawsm');
  const look = async () => {
    const before = snapshot(top);
    const store = await Store.openReadOnly(state, options());
    const runs = store === null ? null : (await store.findRuns()).map((run) => run.id);
    await store?.close();
    expect(snapshot(top)).toEqual(before);
    return runs;
  };
  expect(await look()).toBeNull();
  await mkdir(state);
  expect(await look()).toBeNull();

  const store = await Store.create(state, options());
  onTestFinished(() => store.close());
  await store.createRun(newRun('run-1', path.join(top, 'a.yaml')), { beside: false });
  expect(await readdir(state)).toContain('metawsm.db-wal');
  expect(await look()).toEqual(['run-1']);

  // What a killed process leaves behind: everything is in the -wal.
  const crashed = path.join(top, 'crashed');
  await mkdir(crashed);
  for (const end of ['', '-wal', '-shm']) {
    await copyFile(path.join(state, `metawsm.db${end}`), path.join(crashed, `metawsm.db${end}`));
  }
  for (const without of [[], ['-shm']]) {
    for (const end of without) await rm(path.join(crashed, `metawsm.db${end}`));
    const before = snapshot(crashed);
    const left = await Store.openReadOnly(crashed, options());
    expect(await left?.findRuns()).toHaveLength(1);
    await left?.close();
    expect(snapshot(crashed)).toEqual(before);
  }

  await store.close();
  expect((await readdir(state)).sort()).toEqual(['.gitignore', 'metawsm.db']);
  expect(await look()).toEqual(['run-1']);
  await appendFile(path.join(state, 'metawsm.db-wal'), '');
  expect(await look()).toEqual(['run-1']);
  await rm(path.join(state, 'metawsm.db-wal'));

  const readOnly = await Store.openReadOnly(state, options());
  onTestFinished(() => readOnly?.close());
  await expect(readOnly?.appendEvent(null, 'x', {})).rejects.toThrow(/reading only/);

  await truncate(path.join(state, 'metawsm.db'), 0);
  expect(await look()).toBeNull();
});

test('looks beside a busy writer are all whole', async () => {
  const { store, state } = await storeWithRun();
  let writing = true;
  const writer = (async () => {
    while (writing) {
      await store.transaction(async () => {
        await store.appendEvent('run-1', 'left', {});
        await store.appendEvent('run-1', 'right', {});
      });
    }
  })();
  for (let n = 0; n < 20; n++) {
    const seen = await Store.openReadOnly(state, options());
    const events = (await seen?.events('run-1')) ?? [];
    await seen?.close();
    const count = (type: string) => events.filter((event) => event.type === type).length;
    expect(count('left')).toBe(count('right'));
    expect(count('left')).toBeGreaterThan(0);
  }
  writing = false;
  await writer;
});

test('a full disk is said, and what was recorded before stays', async () => {
  const { store, state } = await newStore();
  await store.close();
  const worker = startWorker('fill', { state }, 'ulimit -f 1000');
  await worker.line();
  worker.go();
  const said = JSON.parse(await worker.line());
  expect(said).toMatchObject({ name: 'StateProblem', code: expect.stringMatching(/^state_(io|full)$/) });
  expect(said.written).toBeGreaterThan(10);
  await worker.ended;
  const again = await Store.open(state, options());
  await again?.close();
  const db = await Database.open(path.join(state, 'metawsm.db'), { create: false });
  onTestFinished(() => db.close());
  expect(await db.get('SELECT count(*) AS n FROM events')).toEqual({ n: said.written });
  expect(await db.get('PRAGMA quick_check')).toEqual({ quick_check: 'ok' });
});
