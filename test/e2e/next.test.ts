/** The next command that is shown does, as it is typed, to the run that it is shown for what it says. */
import { mkdirSync, renameSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { Status } from '../support/documents.js';
import { agent, type Rig, test } from '../support/rig.js';

test('it finds the run also from a folder that has a state folder of its own, or none', async ({ rig }) => {
  await rig.repo('api');
  const manifest = rig.manifest({ agent: { command: agent('ask', 'So?') } });
  const elsewhere = path.join(rig.dir, 'elsewhere');
  mkdirSync(elsewhere);
  const { summary } = await rig.events(`apply ${manifest} --wait`, { code: 3, cwd: elsewhere });
  const { run, next } = await rig.json<Status>(`status ${manifest}`, { cwd: elsewhere });
  expect(summary.runs[0]?.next).toEqual(next);
  expect(next?.argv).toEqual([
    'metawsm',
    'guide',
    'ABC-1',
    '--answer',
    '…',
    '--state',
    path.relative(elsewhere, rig.stateFolder),
  ]);
  await rig.run(next?.argv.slice(1) ?? [], { cwd: elsewhere });

  // A manifest finds it by itself, and at home nothing has to be added.
  await rig.run(`apply ${manifest} --wait`, { cwd: elsewhere });
  await rig.run(`stop ${manifest}`, { cwd: elsewhere });
  const { next: atHome } = await rig.status(run.id);
  expect(atHome?.argv).not.toContain('--state');
});

test('it names the run where the ticket means a newer one', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { run: older } = await rig.applied();
  await rig.run('apply run.yaml --new-run --yes');
  const newer = await rig.status();
  expect(newer.next?.argv).toEqual(['metawsm', 'apply', 'run.yaml', '--wait']);
  expect((await rig.status(older.id)).next?.argv).toEqual(['metawsm', 'status', older.id, '--watch']);

  await rig.run(`stop ${older.id}`);
  // A refusal, too: its way out would otherwise be that of the newer run.
  expect((await rig.run(`close ${older.id}`, { code: 4 })).text).toContain(`metawsm resume ${older.id}`);
  const argv = await nextOf(rig, older.id);
  expect(argv).toEqual(['metawsm', 'resume', older.id]);
  await rig.run(argv.slice(1));
  expect(await rig.state(older.id)).toBe('running');
  await rig.run('stop run.yaml');
  expect(await nextOf(rig, newer.run.id)).toEqual(['metawsm', 'resume', 'ABC-1']);
});

test('it goes on without a manifest that is gone', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ repos: [{ name: 'api', path: '../repos/api', setup: ['test -e "$RIG_DIR/mended"'] }] });
  await rig.run('apply run.yaml', { code: 1 });
  renameSync(path.join(rig.project, 'run.yaml'), path.join(rig.dir, 'away.yaml'));
  rig.touch('mended');
  const argv = await nextOf(rig, 'ABC-1');
  expect(argv).toEqual(['metawsm', 'resume', 'ABC-1']);
  await rig.run(argv.slice(1));
  expect(await rig.state('ABC-1')).toBe('running');
});

test('it watches what another process is doing', async ({ rig }) => {
  await rig.repo('api');
  const setup = 'touch "$RIG_DIR/held"; until [ -e "$RIG_DIR/go" ]; do sleep 0.05; done';
  rig.manifest({ repos: [{ name: 'api', path: '../repos/api', setup: [setup] }], agents: [] });
  const holder = rig.spawn('apply run.yaml');
  await rig.untilFile('held');
  const argv = await nextOf(rig, 'run.yaml');
  expect(argv).toEqual(['metawsm', 'status', 'ABC-1', '--watch']);
  const watching = rig.spawn(argv.slice(1));
  await rig.until('the page', () => watching.stdout().includes('setup.run/api/1'));
  rig.touch('go');
  expect((await holder.result).code).toBe(0);
  expect((await watching.result).stdout).toContain('completed');
});

test('it does not take a ticket that looks like a manifest for one', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ ticket: 'login.yaml' });
  await rig.applied();
  await rig.run('stop run.yaml');
  const argv = await nextOf(rig, 'run.yaml');
  await rig.run(argv.slice(1));
  expect(await rig.state()).toBe('running');
});

async function nextOf(rig: Rig, selector: string): Promise<readonly string[]> {
  return (await rig.status(selector)).next?.argv ?? [];
}

test('the commands in hints and gates mean the run that they are shown for', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agents: [], done_criteria: ['Reviewed'] });
  await rig.run('apply run.yaml');
  const { run: older } = await rig.status();
  await rig.run('apply run.yaml --new-run --yes');
  rig.at(path.join(older.workspace, 'api')).write({ 'idea.md': 'half an idea' });

  const refused = await rig.run(`cleanup ${older.id}`, { code: 4 });
  expect(refused.text).toContain(`metawsm cleanup ${older.id} --force`);
  expect((await rig.run(`close ${older.id}`, { code: 4 })).text).toContain(
    `metawsm iterate ${older.id} --feedback`,
  );
  expect((await rig.run(`cleanup ${older.id} --dry-run`, { code: 4 })).text).toContain(
    `metawsm cleanup ${older.id} --force`,
  );

  await rig.run('cleanup run.yaml');
  const elsewhere = path.join(rig.dir, 'elsewhere');
  mkdirSync(elsewhere);
  const { text } = await rig.run(`cleanup ${older.id} --state ${rig.stateFolder}`, {
    cwd: elsewhere,
    code: 4,
  });
  const [, words] = /metawsm (cleanup ABC-1 .*--force)/.exec(text) ?? [];
  expect(words).toBe(`cleanup ABC-1 --state ${rig.stateFolder} --force`);
  await rig.run(words ?? '', { cwd: elsewhere });
  expect((await rig.status(older.id)).run.state).toBe('closed');
});

test('what the manifest may not ask for comes first, told of the ticket that the run is for', async ({
  rig,
}) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  const expected = ['metawsm', 'plan', 'run.yaml'];
  rig.manifest({ ticket: 'ABC-2' });
  const moved = await rig.events('apply run.yaml', { code: 4 });
  expect(moved.summary.runs[0]).toMatchObject({ ticket: 'ABC-1', next: { argv: expected } });
  expect(moved.result.text).toContain('metawsm cleanup ABC-1 ');

  rig.manifest({ agent: { command: 'echo another' } });
  const asked = await rig.events('apply run.yaml', { code: 4 });
  expect(asked.summary.runs[0]?.next?.argv).toEqual(expected);
});
