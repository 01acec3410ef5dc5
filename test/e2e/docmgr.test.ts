/** A run whose ticket docmgr keeps: the stand-in for that program, called by the real metawsm. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { Plan } from '../support/documents.js';
import { installFakeDocmgr } from '../support/fake-docmgr.js';
import { agent, type Rig, test } from '../support/rig.js';
import { filesBelow } from '../support/snapshot.js';

const intake = { goal: 'Limit logins', scope: 'The login endpoint', constraints: 'No new dependencies' };

test('the ticket is made before the agent starts, as plan shows it, and closed with the run', async ({
  rig,
}) => {
  const { manifest, options, wrote } = await setUp(rig);
  manifest();
  const plan = await rig.json<Plan>('plan run.yaml --out saved.plan', options);
  const shown = plan.steps.flatMap(({ commands }) => commands.map(({ argv }) => argv ?? []));
  await rig.run('apply saved.plan', options);
  await rig.run('apply run.yaml --wait', options);
  expect(wrote()).toEqual(shown.filter(([program]) => program === 'docmgr').map(([, ...argv]) => argv));
  expect(wrote()[0]).toEqual(expect.arrayContaining(['--ticket', 'ABC-1', '--topics', 'api,a b']));

  const { run } = await rig.status();
  const brief = path.join(rig.dir, 'ttmp', find(rig, /reference\/01-run-brief-.*\.md$/));
  expect(readFileSync(brief, 'utf8')).toContain(`Title: Run brief ${run.id}\n`);
  expect(readFileSync(brief, 'utf8')).toContain('> Limit logins\n');

  // Rewritten by metawsm itself, and kept once a person has written in it.
  manifest({ intake: { ...intake, goal: 'Limit them hard' } });
  const { steps } = await rig.json<Plan>('plan run.yaml', options);
  expect(steps.find(({ id }) => id === 'ticket.brief')).toMatchObject({ action: 'update', commands: [] });
  await rig.run('apply run.yaml', options);
  expect(readFileSync(brief, 'utf8')).toContain('> Limit them hard\n');
  appendFileSync(brief, 'By hand\n');
  manifest({ intake: { ...intake, goal: 'Limit them softly' } });
  const { lines } = await rig.events('apply run.yaml', options);
  expect(lines.find(({ type }) => type === 'warning')).toMatchObject({ code: 'brief_edited', file: brief });
  expect(readFileSync(brief, 'utf8')).toMatch(/> Limit them hard\n[\s\S]*By hand\n$/);
  expect(wrote()).toHaveLength(2);

  await rig.run('close run.yaml', options);
  expect(wrote().map((argv) => argv.slice(0, 2).join(' '))).toEqual([
    'ticket create-ticket',
    'doc add',
    'ticket close',
  ]);
  expect(rig.read('ttmp', find(rig, /\/index\.md$/))).toContain('Status: complete\n');
  expect(rig.read('ttmp', find(rig, /\/changelog\.md$/))).toContain(`Run ${run.id} delivered\n`);
  await rig.run('close run.yaml', options);
  expect(wrote()).toHaveLength(3);
});

test('without docmgr nothing is begun, and a call of it that does nothing fails its step', async ({
  rig,
}) => {
  const { manifest, options, wrote } = await setUp(rig);
  manifest();
  for (const command of ['plan run.yaml', 'apply run.yaml']) {
    expect((await rig.run(command, { code: 1 })).text).toContain('docmgr is not on PATH');
  }
  expect(existsSync(rig.workspaces)).toBe(false);

  const idle = { env: { ...options.env, DOCMGR_STAND_IN_IDLE: 'ticket create-ticket' } };
  const { summary } = await rig.events('apply run.yaml', { ...idle, code: 1 });
  expect(summary.runs[0]?.error).toMatchObject({
    step_id: 'ticket.create',
    message: expect.stringContaining('the ticket is not listed afterwards'),
  });
  expect(rig.starts()).toBe(0);
  await rig.run('apply run.yaml --wait', options);
  expect(wrote().filter(([first]) => first === 'doc')).toHaveLength(1);
});

test('a file of the agent in the place of a ticket file stays, and is named', async ({ rig }) => {
  const { manifest, options } = await setUp(rig, { 'ttmp/.gitkeep': '' });
  const keys = { tickets: { driver: 'docmgr', root: '../repos/api/ttmp' } };
  manifest({ ...keys, agent: { command: agent('live') } });
  await rig.run('apply run.yaml', options);
  await rig.untilFile('alive-agent-1');
  const { path: worktree } = await rig.repoNamed();
  const copied = filesBelow(path.join(worktree, 'ttmp')).find((file) => /reference\/01-/.test(file)) ?? '';
  const file = path.join(worktree, 'ttmp', copied);
  appendFileSync(file, 'Mine\n');
  manifest({ ...keys, agent: { command: agent('live') }, intake: { ...intake, goal: 'Limit them hard' } });
  const { lines } = await rig.events('apply run.yaml', options);
  expect(lines.filter(({ type }) => type === 'warning')).toMatchObject([{ code: 'ticket_file_kept', file }]);
  expect(readFileSync(file, 'utf8')).toMatch(/Mine\n$/);
});

async function setUp(rig: Rig, files?: Readonly<Record<string, string>>) {
  await rig.repo('api', files === undefined ? {} : { files });
  const docmgr = installFakeDocmgr(rig.dir);
  const { PATH = '', DOCMGR_STAND_IN_LOG = '' } = docmgr.env();
  return {
    options: { env: { PATH, DOCMGR_STAND_IN_LOG } },
    /** What it was asked to write. */
    wrote: () => docmgr.calls().filter(([first]) => first !== 'list'),
    manifest: (keys: Readonly<Record<string, unknown>> = {}) =>
      rig.manifest({
        ticket: { id: 'ABC-1', title: 'Limit "logins"', topics: ['api', 'a, b'] },
        tickets: { driver: 'docmgr', root: '../ttmp' },
        agent: { command: agent('complete') },
        done_criteria: [{ run: 'true' }],
        intake,
        ...keys,
      }),
  };
}

function find(rig: Rig, pattern: RegExp): string {
  return filesBelow(path.join(rig.dir, 'ttmp')).find((file) => pattern.test(file)) ?? 'missing';
}
