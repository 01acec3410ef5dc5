import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, onTestFinished } from 'vitest';
import { Store } from '../../src/state/store.js';
import { probe, selfIdentity } from '../../src/tools/process.js';
import { newRun } from '../state/support.js';
import type { Runs } from '../support/documents.js';
import { checkout, type Rig, test } from '../support/rig.js';

test('lists the newest 20 runs, all of them, or those of a ticket', async ({ rig }) => {
  const store = await record(rig, 22, (number) => (number <= 2 ? 'OLD-1' : 'NEW-1'));
  await store.transitionRun('run-22', 'planning');
  const ids = async (command: string): Promise<string[]> => (await list(rig, command)).map((run) => run.id);
  const all = Array.from({ length: 22 }, (_, index) => `run-${22 - index}`);
  expect(await ids('runs')).toEqual(all.slice(0, 20));
  expect(await ids('runs --all')).toEqual(all);
  expect(await ids('runs --ticket OLD-1')).toEqual(['run-2', 'run-1']);
  expect(await ids('runs --ticket OLD')).toEqual([]);
  const { stdout: newest, stderr } = await rig.run('runs');
  expect(newest.trimEnd().split('\n')).toHaveLength(21);
  expect(stderr).toContain('--all');
  expect((await rig.run('runs --all')).stderr).toBe('');
  // Only those that are not closed.
  expect(await ids('status')).toEqual(['run-22']);

  const { stdout } = await rig.run('runs --all');
  const rows = stdout.trimEnd().split('\n');
  expect(rows).toHaveLength(23);
  expect(rows[0]).toMatch(/^RUN +TICKET +STATE +AGENTS +CRITERIA +AGE +MANIFEST +TITLE$/);
  expect(rows[1]).toMatch(/^run-22 +NEW-1 +planning +0\/1 alive +0\/2 +\S+ +22\.yaml +A title$/);
  expect(rows.at(-1)).toMatch(/^run-1 +OLD-1 +closed \(abandoned\) /);
  expect((await rig.run('runs --ticket OLD')).stdout).toBe('no runs of ticket OLD\n');
  await store.transitionRun('run-22', 'closed', { outcome: 'abandoned' });
  expect((await rig.run('status')).stdout).toBe('no open runs\n');
});

test('where nothing was ever applied there are none', async ({ rig }) => {
  const before = rig.snapshot();
  expect((await rig.run('runs')).stdout).toBe('no runs yet\n');
  expect(await list(rig, 'runs')).toEqual([]);
  expect(rig.snapshot()).toEqual(before);
});

test('which agents live is looked at, not remembered', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { run, agents } = await rig.applied();
  expect(await list(rig, 'runs')).toMatchObject([{ id: run.id, agents_alive: 1, criteria_total: 1 }]);
  process.kill(agents[0]?.pid ?? 0, 'SIGKILL');
  await rig.until('its end', async () => (await list(rig, 'runs'))[0]?.agents_alive === 0);
  expect((await rig.run('runs')).stdout).toMatch(/running +0\/1 alive/);
});

async function list(rig: Rig, command: string): Promise<Runs['runs']> {
  const document = await rig.json<Runs>(command);
  const schema = JSON.parse(readFileSync(path.join(checkout, 'schemas/runs.schema.json'), 'utf8')) as object;
  const validate = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true }).compile(schema);
  validate(document);
  expect(validate.errors ?? []).toEqual([]);
  return document.runs;
}

/** Records runs 1 to `count`, of which all but the last are closed. */
async function record(rig: Rig, count: number, ticketOf: (number: number) => string): Promise<Store> {
  const owner = { ...selfIdentity(), command: 'test' };
  const store = await Store.create(rig.stateFolder, { version: '0', owner, probe });
  onTestFinished(() => store.close());
  for (let number = 1; number <= count; number++) {
    const manifest = path.join(rig.project, `${number}.yaml`);
    const created = await store.createRun(newRun(`run-${number}`, manifest, ticketOf(number)), {
      beside: false,
    });
    if (created.kind !== 'created') throw new Error(`run-${number} was not created`);
    await created.lock.release();
    if (number < count) await store.transitionRun(`run-${number}`, 'closed', { outcome: 'abandoned' });
  }
  return store;
}
