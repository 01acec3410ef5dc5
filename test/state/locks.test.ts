import { expect, onTestFinished, test } from 'vitest';
import { Store } from '../../src/state/store.js';
import { newRun, options, race, startWorker, storeWithRun } from './support.js';

async function holder(state: string, name: string) {
  const worker = startWorker('hold', { state, name });
  await worker.line();
  worker.go();
  expect(await worker.line()).toBe('"held"');
  return worker;
}

test('a lock that somebody holds names its owner when the time is over', async () => {
  const { store, state } = await storeWithRun();
  const worker = await holder(state, 'run:run-1');
  await expect(store.acquireLock('run:run-1', { timeoutMs: 200 })).rejects.toMatchObject({
    name: 'LockHeld',
    liveness: 'alive',
    owner: { pid: worker.child.pid, command: 'apply worker.yaml' },
    message: expect.stringMatching(
      new RegExp(
        `^run run-1 is held by process ${worker.child.pid} on \\S+ \\(metawsm apply worker.yaml\\) since 2`,
      ),
    ),
  });
  await expect(store.acquireLock('run:run-1', { timeoutMs: 0 })).rejects.toMatchObject({ name: 'LockHeld' });
  const other = await store.acquireLock('repo:/x/.git', { timeoutMs: 0 });
  await other.release();
});

test('a lock of a killed process is taken over, and the journal says so', async () => {
  const { store, state } = await storeWithRun();
  const worker = await holder(state, 'run:run-1');
  const waiting = store.acquireLock('run:run-1', { timeoutMs: 30_000 });
  worker.child.kill('SIGKILL');
  await worker.ended;
  const lock = await waiting;
  expect((await store.events('run-1')).at(-1)).toMatchObject({
    type: 'lock',
    data: { name: 'run:run-1', takenFrom: { pid: worker.child.pid, command: 'apply worker.yaml' } },
  });
  await lock.release();
  await lock.release();
});

test('a lock whose owner cannot be looked at is not taken over', async () => {
  const { store, state } = await storeWithRun({ owner: { ...options().owner, host: 'elsewhere' } });
  await store.acquireLock('run:run-1', { timeoutMs: 0 });
  const here = await Store.open(state, options());
  onTestFinished(() => here?.close());
  await expect(here?.acquireLock('run:run-1', { timeoutMs: 0 })).rejects.toMatchObject({
    liveness: 'unknown',
    hint: expect.stringContaining('look on elsewhere'),
  });
});

test('a lock is not re-entrant, is given back once, and waiting for it can be broken off', async () => {
  const { store } = await storeWithRun();
  const first = await store.acquireLock('repo:/x/.git', { timeoutMs: 0 });
  await expect(store.acquireLock('repo:/x/.git', { timeoutMs: 0 })).rejects.toMatchObject({
    name: 'LockHeld',
  });
  const abort = new AbortController();
  const waiting = store.acquireLock('repo:/x/.git', { timeoutMs: 30_000, signal: abort.signal });
  abort.abort();
  await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
  await first.release();
  const second = await store.acquireLock('repo:/x/.git', { timeoutMs: 0 });
  await first.release();
  await expect(store.acquireLock('repo:/x/.git', { timeoutMs: 0 })).rejects.toMatchObject({
    name: 'LockHeld',
  });
  await second.release();
});

test('a run is born locked', async () => {
  const { store, top } = await storeWithRun();
  const created = await store.createRun(newRun('run-2', `${top}/b.yaml`, 'T-2'), { beside: false });
  await expect(store.acquireLock('run:run-2', { timeoutMs: 0 })).rejects.toMatchObject({ name: 'LockHeld' });
  if (created.kind === 'created') await created.lock.release();
  await (await store.acquireLock('run:run-2', { timeoutMs: 0 })).release();
});

test('under a lock nothing is lost between reading and writing', async () => {
  const { store, state } = await storeWithRun();
  await race(4, 'count', () => ({ state, times: 10 }));
  expect((await store.loadRun('run-1')).detail).toBe('40');
});
