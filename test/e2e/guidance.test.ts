import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { agent, hasTmux, type Rig, test } from '../support/rig.js';

const guide = (answer: string, ...flags: string[]) => ['guide', 'run.yaml', '--answer', answer, ...flags];

describe.each(['process', 'tmux'] as const)('with %s sessions', (session) => {
  test.skipIf(session === 'tmux' && !hasTmux)(
    'a question ends the wait, is answered, and the agent goes on',
    async ({ rig }) => {
      await rig.repo('api');
      rig.manifest({ session, agent: { command: agent('ask', 'Redis or memory?') } });

      const waited = await rig.run('apply run.yaml --wait', { code: 3 });
      expect(waited.text).toContain('Redis or memory?');

      const asked = await rig.status();
      expect(asked.run.state).toBe('awaiting_guidance');
      expect(asked.guidance).toMatchObject([{ agent: 'agent', question: 'Redis or memory?' }]);
      expect((await rig.run('status run.yaml')).stdout).toContain('Redis or memory?');
      await rig.run('status run.yaml --exit-code', { code: 3 });
      await rig.run('apply run.yaml --wait', { code: 3 });

      const guided = await rig.run(guide('memory'));
      expect(guided.stdout).toContain('Redis or memory?');

      await rig.run('apply run.yaml --wait');
      expect(rig.read('answers-agent')).toBe('Redis or memory? => memory\n');
      expect((await rig.status()).guidance).toEqual([]);
      expect(rig.starts()).toBe(1);
    },
  );
});

test('two questions in a row get their own answers', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: agent('ask', 'First?', 'Second?', 'First?') } });
  for (const [question, answer] of [
    ['First?', 'one'],
    ['Second?', 'two'],
    ['First?', 'three'],
  ] as const) {
    await rig.run('apply run.yaml --wait', { code: 3 });
    expect((await rig.status()).guidance.map((each) => each.question)).toEqual([question]);
    await rig.run(guide(answer));
  }
  await rig.run('apply run.yaml --wait');
  expect(rig.read('answers-agent')).toBe('First? => one\nSecond? => two\nFirst? => three\n');
});

test('an agent that asked and ended is started again with the answer, free of budget', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    agent: { command: agent('ask-and-exit', 'Which port?') },
    policy: { start_grace: '200ms', restart_budget: 0 },
  });
  await rig.run('apply run.yaml --wait', { code: 3 });
  const [asked] = (await rig.status()).guidance;
  expect(asked).toMatchObject({ question: 'Which port?', context: { files: ['a.ts', 2] } });

  await rig.run(guide('8080'));
  expect(rig.starts()).toBe(1);
  await rig.run('apply run.yaml --wait');

  expect(await rig.agentNamed()).toMatchObject({ state: 'completed', attempt: 2, restarts_left: 0 });
  expect(JSON.parse(rig.read('response-agent.json'))).toMatchObject({
    guidance_id: asked?.id,
    run_id: (await rig.status()).run.id,
    agent: 'agent',
    question: 'Which port?',
    answer: '8080',
    answered_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
  });
});

test('the same answer does not start an agent for ever', async ({ rig }) => {
  await rig.repo('api');
  // It never takes the answer: each of its starts ends without a word.
  rig.manifest({
    agent: {
      command:
        'echo . >> "$RIG_DIR/starts"; [ "$METAWSM_ATTEMPT" = 1 ] || exit 0; ' +
        'echo \'{"question": "Why?"}\' > "$METAWSM_SENTINEL_DIR/guidance-request.json"',
    },
  });
  await rig.run('apply run.yaml --wait', { code: 3 });
  await rig.run(guide('because'));
  await rig.run('apply run.yaml --wait', { code: 4 });
  expect(await rig.state()).toBe('paused (exited_without_signal)');
  await rig.run('apply run.yaml', { code: 4 });
  expect(rig.starts()).toBe(2);
});

test.for([
  ['a leading dash', '- use tabs'],
  ['digits', '007'],
  ['a flag', '--yes'],
  ['quotes and dollars', '$(id) `id` "x" \'y\' \\n'],
  ['several lines', 'one\ntwo'],
])('an answer is taken to the letter: %s', async ([, answer], { rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: agent('ask', 'How?') } });
  await rig.run('apply run.yaml --wait', { code: 3 });
  await rig.run(guide(answer ?? ''));
  await rig.untilState('completed');
  expect(rig.read('answers-agent')).toBe(`How? => ${answer}\n`);
});

test('an answer can come from a file and from stdin', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: agent('ask', 'One?', 'Two?') } });
  await rig.run('apply run.yaml --wait', { code: 3 });
  rig.write('answer.txt', 'from a file');
  await rig.run('guide run.yaml --answer-file answer.txt');
  await rig.run('apply run.yaml --wait', { code: 3 });
  await rig.run('guide run.yaml --answer-file -', { stdin: 'from stdin' });
  await rig.untilState('completed');
  expect(rig.read('answers-agent')).toBe('One? => from a file\nTwo? => from stdin\n');
});

test('guide refuses what it cannot do', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  // Nothing is pending.
  await rig.run(guide('yes'), { code: 4 });
  // An empty answer is a mistake, however it comes.
  await rig.run(guide(''), { code: 64 });
  await rig.run('guide run.yaml --answer-file -', { stdin: '', code: 64 });
  await rig.run('guide run.yaml', { code: 64 });
  await rig.run('guide run.yaml --answer-file nowhere.txt', { code: 64 });
  // Six bytes each in the response.
  await rig.run('guide run.yaml --answer-file -', { stdin: '\u0001'.repeat(200_000), code: 64 });
});

test('of two questions the one that was meant is answered', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    agents: [
      { name: 'first', cwd: 'api', command: agent('ask', 'From first?') },
      { name: 'second', cwd: 'api', command: agent('ask', 'From second?') },
    ],
  });
  await rig.run('apply run.yaml');
  await rig.until('both questions', async () => (await rig.status()).guidance.length === 2);

  const { stdout } = await rig.run(guide('for second', '--agent', 'second'));
  expect(stdout).toContain('From second?');
  await rig.untilFile('answers-second');
  expect(await rig.state()).toBe('awaiting_guidance');
  const left = (await rig.status()).guidance;
  expect(left).toMatchObject([{ agent: 'first' }]);

  await rig.run(guide('for first', '--id', left[0]?.id ?? ''));
  await rig.untilState('completed');
  expect(rig.read('answers-first')).toBe('From first? => for first\n');
  expect(rig.read('answers-second')).toBe('From second? => for second\n');
});

test('the question that was asked first is answered first, whoever is named first', async ({ rig }) => {
  await rig.repo('api');
  const command = agent('live');
  rig.manifest({ agents: ['first', 'second', 'third'].map((name) => ({ name, cwd: 'api', command })) });
  await rig.run('apply run.yaml');
  const { agents } = await rig.status();
  const ask = (name: string, secondsAgo: number) => {
    const dir = agents.find((each) => each.name === name)?.sentinel_dir ?? '';
    const file = path.join(dir, 'guidance-request.json');
    writeFileSync(file, JSON.stringify({ question: `From ${name}?` }));
    const at = new Date(Date.now() - secondsAgo * 1000);
    utimesSync(file, at, at);
  };
  ask('first', 0);
  ask('second', 20);
  const seen = await rig.status();
  expect(seen.guidance).toMatchObject([
    { id: 'g1', agent: 'second' },
    { id: 'g2', agent: 'first' },
  ]);
  // Seen last, asked before the others.
  ask('third', 60);
  for (const name of ['third', 'second', 'first']) {
    expect((await rig.status()).next?.text).toContain(`--agent ${name}`);
    expect((await rig.run(guide('yes'))).stdout).toContain(`From ${name}?`);
  }
});

test('an answer never goes to a question that has changed meanwhile', async ({ rig }) => {
  const request = await withQuestion(rig, { question: 'Delete the cache?', request_id: 'r1' });
  const [seen] = (await rig.status()).guidance;
  writeFileSync(request, JSON.stringify({ question: 'Delete the database?', request_id: 'r2' }));

  await rig.run(guide('yes', '--id', seen?.id ?? ''), { code: 4 });
  expect(JSON.parse(readFileSync(request, 'utf8'))).toMatchObject({ request_id: 'r2' });
  expect(existsSync(path.join(path.dirname(request), 'guidance-response.json'))).toBe(false);
  expect((await rig.status()).guidance).toMatchObject([{ question: 'Delete the database?' }]);
});

test('a question that is read many times is asked once', async ({ rig }) => {
  await withQuestion(rig, { question: 'Once?' });
  const first = (await rig.status()).guidance;
  for (const command of ['status run.yaml', 'apply run.yaml', 'status run.yaml']) await rig.run(command);
  expect((await rig.status()).guidance).toEqual(first);
});

test('a question that the agent takes back is no longer pending', async ({ rig }) => {
  const request = await withQuestion(rig, { question: 'Never mind?' });
  unlinkSync(request);
  expect(await rig.state()).toBe('running');
  await rig.run(guide('yes'), { code: 4 });
});

test('an answered request lies in the archive, and its answer carries its id', async ({ rig }) => {
  const request = await withQuestion(rig, { question: 'Which?', request_id: 'q-7' });
  await rig.run(guide('that'));
  expect(existsSync(request)).toBe(false);
  const response = path.join(path.dirname(request), 'guidance-response.json');
  expect(JSON.parse(readFileSync(response, 'utf8'))).toMatchObject({ request_id: 'q-7', answer: 'that' });
  expect(existsSync(path.join(path.dirname(request), 'archive'))).toBe(true);
  expect(await rig.state()).toBe('running');
});

test('a question left in a repo is answered there and in the agent’s own folder, and read in either', async ({
  rig,
}) => {
  await rig.repo('api');
  const command = [
    'mkdir -p .metawsm',
    'if [ "$METAWSM_ATTEMPT" = 1 ]; then echo \'{"question": "Where?"}\' > .metawsm/guidance-request.json; exit 0; fi',
    'rm "$METAWSM_SENTINEL_DIR/guidance-response.json"',
  ].join('\n');
  rig.manifest({ agent: { command } });
  await rig.run('apply run.yaml --wait', { code: 3 });
  await rig.run(guide('here'));
  const { repos, agents } = await rig.status();
  const folders = [agents[0]?.sentinel_dir ?? '', path.join(repos[0]?.path ?? '', '.metawsm')];
  for (const folder of folders) {
    const response = readFileSync(path.join(folder, 'guidance-response.json'), 'utf8');
    expect(JSON.parse(response)).toMatchObject({ agent: 'agent', question: 'Where?', answer: 'here' });
  }
  expect((await rig.status()).warnings).toEqual([]);
  // Unread, it starts the agent once; with one of the two removed it is read.
  await rig.run('apply run.yaml --wait', { code: 4 });
  expect(await rig.state()).toBe('paused (exited_without_signal)');
});

test('an answer that cannot be delivered says why and how to go on', async ({ rig }) => {
  const request = await withQuestion(rig, { question: 'Which?' });
  const response = path.join(path.dirname(request), 'guidance-response.json');
  mkdirSync(response);
  const { summary, lines } = await rig.events(guide('first'), { code: 1 });
  expect(lines[0]?.type).toBe('version');
  expect(summary.runs).toMatchObject([{ state: 'awaiting_guidance', guidance_pending: 1, exit_code: 1 }]);
  const again = await rig.run(guide('second'), { code: 1 });
  expect(again.stderr).toContain(`${response} is a folder`);
  expect(again.stderr).toContain('move it away');

  rmdirSync(response);
  await rig.run(guide('third'));
  expect(JSON.parse(readFileSync(response, 'utf8'))).toMatchObject({ answer: 'third' });
  expect(await rig.state()).toBe('running');
});

/** A run with a live agent and its question, written by the test; returns the request's path. */
async function withQuestion(rig: Rig, request: object): Promise<string> {
  await rig.repo('api');
  rig.manifest();
  const { agents } = await rig.applied();
  const file = path.join(agents[0]?.sentinel_dir ?? '', 'guidance-request.json');
  writeFileSync(file, JSON.stringify(request));
  await rig.untilState('awaiting_guidance');
  return file;
}
