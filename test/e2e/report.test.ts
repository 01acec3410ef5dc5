import { readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect } from 'vitest';
import { checkout, type Rig, test } from '../support/rig.js';

const QUESTION = 'Keep the <b>old</b> limit, @octocat?';
const lib = path.join(checkout, 'test/support/agents/lib.sh');

/** Asks, commits the answer, says it is done; started again it adds what was missing. */
const WORK = `. ${lib}
echo "token is $API_TOKEN"
printf 'bad \\033[31mred\\033[0m </pre><script>alert(1)</script>\\n'
if [ "$METAWSM_ATTEMPT" = 1 ]; then
  answer="$(metawsm signal guidance --question '${QUESTION}' --wait)" || exit 6
  commit notes.txt "$answer"
else
  commit good yes
fi
metawsm signal validation --status passed --done 'The README documents it' || exit 7
metawsm signal complete --summary "attempt $METAWSM_ATTEMPT" || exit 7`;

const SECRET = 'hunter2-hunter2';
const env = { RIG_TOKEN: SECRET };

interface Doc {
  readonly [name: string]: unknown;
  readonly run: { readonly state: string; readonly outcome: string | null };
  readonly criteria: readonly {
    readonly state: string;
    readonly checks: readonly { readonly state: string; readonly log: { readonly text: string } | null }[];
  }[];
  readonly guidance: readonly Readonly<Record<string, unknown>>[];
  readonly repos: readonly (Readonly<Record<string, unknown>> & {
    readonly commits: readonly { readonly subject: string }[];
    readonly delivery: Readonly<Record<string, unknown>> | null;
  })[];
  readonly gates: readonly { readonly name: string; readonly ok: boolean }[];
  readonly timeline: readonly { readonly kind: string; readonly text: string }[];
  readonly agents: readonly { readonly attempt: number; readonly log: { readonly text: string } }[];
}

/** A run that asked, failed a check, and passed it in its second attempt. */
async function worked(rig: Rig): Promise<void> {
  await rig.repo('api');
  rig.manifest({
    agent: { command: ['sh', '-c', WORK], env: { API_TOKEN: '${RIG_TOKEN}' } },
    done_criteria: [
      { run: 'echo looking for it; echo token hunter2-hunter2; test -e good' },
      'The README documents it',
    ],
  });
  await rig.run('apply run.yaml --wait', { code: 3, env });
  await rig.run(['guide', 'run.yaml', '--answer', 'Keep it.\n- but per user'], { env });
  await rig.run('apply run.yaml --wait', { code: 4, env });
  await rig.run(['iterate', 'run.yaml', '--feedback', 'The file good is missing'], { env });
  await rig.run('apply run.yaml --wait', { env });
}

const documented = (rig: Rig): Promise<Doc> => rig.json<Doc>('report run.yaml', { env });

test('a run that asked, failed, was mended and closed is told from its beginning to its end', async ({
  rig,
}) => {
  await worked(rig);

  const before = await documented(rig);
  follows(before);
  expect(before.run.state).toBe('completed');
  expect(before.gates.length).toBeGreaterThan(5);
  expect(before.gates.filter(({ ok }) => !ok)).toEqual([]);
  expect(before.criteria.map(({ state }) => state)).toEqual(['passed', 'passed']);
  expect(before.criteria[0]?.checks.map(({ state }) => state)).toEqual(['passed', 'failed']);
  expect(before.guidance).toMatchObject([
    { id: 'g1', question: QUESTION, answer: 'Keep it.\n- but per user', state: 'delivered' },
  ]);
  expect(before.repos).toMatchObject([
    { name: 'api', seen_in: 'worktree', files_changed: 2, dirty_files: [] },
  ]);
  expect(before.repos[0]?.commits.map(({ subject }) => subject)).toEqual(['Add notes.txt', 'Add good']);
  expect(before.agents).toMatchObject([{ attempt: 2 }]);

  await rig.run('close run.yaml', { env });
  const after = await documented(rig);
  follows(after);
  expect(after.run).toMatchObject({ state: 'closed', outcome: 'delivered' });
  // As they were when it was closed: now there is nothing left to judge.
  expect(after.gates).toEqual(before.gates);
  expect(after.repos).toMatchObject([
    {
      seen_in: 'delivery',
      files_changed: 2,
      insertions: 3,
      commit_count: 2,
      delivery: { kind: 'merge', state: 'done' },
    },
  ]);
  const story = after.timeline.map(({ text }) => text).join('\n');
  for (const part of [
    'Run: running',
    'attempt 1 started',
    'g1: agent asked',
    'g1 answered',
    'Criterion c1 failed',
    'attempt 2 started',
    'Criterion c1 passed',
    'api delivered',
    'Run: closed (delivered)',
  ])
    expect(story).toContain(part);

  // Both views tell the same, and neither tells a secret or speaks for the agent.
  const markdown = (await rig.run('report run.yaml', { env })).stdout;
  const { stdout } = await rig.run('report run.yaml --html report.html', { env });
  const file = path.join(rig.project, 'report.html');
  expect(stdout).toBe(`${file}\n`);
  const page = readFileSync(file, 'utf8');
  for (const view of [markdown, page, JSON.stringify(after)]) {
    expect(view).toContain('looking for it');
    expect(view).toContain('***');
    expect(view).not.toContain(SECRET);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
    expect(view).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f]/);
    expect(view).toContain('Add notes.txt');
    expect(view).toMatch(/[Cc]losed and delivered/);
  }
  expect(page).toContain('Keep the &lt;b&gt;old&lt;/b&gt; limit, @octocat?');
  expect(page).not.toMatch(/<script|<b>old|<img/i);
  expect(markdown).not.toContain('@octocat');
  expect(markdown).not.toMatch(/<b>old/);
});

describe('it only reads', () => {
  test('the record, the worktrees and the repositories stay as they are', async ({ rig }) => {
    await worked(rig);
    const before = files(rig);
    for (const command of ['report run.yaml', 'report run.yaml --json', 'report ABC-1 --markdown']) {
      await rig.run(command, { env });
    }
    expect(files(rig)).toEqual(before);
  });

  test('it waits for nobody', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest();
    await rig.applied();
    const holder = rig.spawn('apply run.yaml --wait');
    const page = await rig.run('report run.yaml');
    expect(page.stdout).toContain('**Running**');
    rig.release();
    await holder.result;
  });
});

test('a run whose worktrees are gone is told from its branch, its commits or the record', async ({ rig }) => {
  const api = await rig.repo('api');
  rig.manifest({ agents: [], done_criteria: [{ run: 'echo fine' }] });
  await rig.run('apply run.yaml');
  const [status] = (await rig.status()).repos;
  await rig.at(status?.path ?? '').commit('Do it', { 'a.txt': 'one\ntwo\n' });
  await rig.run('verify run.yaml');
  await rig.run('cleanup run.yaml');
  expect((await documented(rig)).repos).toMatchObject([
    { seen_in: 'branch', insertions: 2, commit_count: 1 },
  ]);
  expect((await rig.run('report run.yaml')).stdout).toContain('Closed without delivering');

  await api.git('branch', '-D', status?.branch ?? '');
  expect((await documented(rig)).repos).toMatchObject([
    { seen_in: 'evidence', insertions: 2, commit_count: 1 },
  ]);
  await api.git('reflog', 'expire', '--expire=now', '--all');
  await api.git('gc', '-q', '--prune=now');
  const [gone] = (await documented(rig)).repos;
  expect(gone).toMatchObject({
    seen_in: 'evidence',
    files_changed: null,
    note: expect.stringContaining('no commit'),
  });
});

test('what cannot be done is refused', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agents: [] });
  await rig.run('report run.yaml', { code: 64 });
  await rig.run('apply run.yaml');
  for (const words of ['--html x.html --markdown', '--json --markdown', '--html -', '--html=']) {
    await rig.run(`report run.yaml ${words}`, { code: 64 });
  }
  const { run } = await rig.status();
  await rig.run(['report', run.id], { code: 4, cwd: run.workspace });
  for (const [command, what] of [
    ['report run.yaml --html nowhere/x.html', 'report'],
    ['report run.yaml --html .', 'report'],
    ['plan run.yaml --out nowhere/x.plan', 'plan'],
  ] as const) {
    const { stderr } = await rig.run(command, { code: 1 });
    expect(stderr).toContain(`metawsm: the ${what} cannot be written: `);
    expect(stderr).toContain('name a file in a folder that is there and may be written to\n');
  }
});

test('a page is replaced as a whole, and a link at its place is not followed', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agents: [] });
  await rig.run('apply run.yaml');
  const precious = rig.write('precious', 'mine');
  symlinkSync(precious, path.join(rig.project, 'page.html'));
  await rig.run('report run.yaml --html page.html');
  expect(readFileSync(precious, 'utf8')).toBe('mine');
  expect(readFileSync(path.join(rig.project, 'page.html'), 'utf8')).toMatch(
    /^<!doctype html>[\s\S]*<\/html>\n$/,
  );
  expect(readdirSync(rig.project).filter((name) => name.includes('page'))).toEqual(['page.html']);
});

describe('in a CI job', () => {
  const job = (rig: Rig) => path.join(rig.dir, 'summary.md');

  test('the report is added to its page', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ agents: [] });
    await rig.run('apply run.yaml');
    writeFileSync(job(rig), 'before\n');
    await rig.run('report run.yaml --html x.html', { env: { GITHUB_STEP_SUMMARY: job(rig) } });
    expect(readFileSync(job(rig), 'utf8')).toMatch(/^before\n## ABC-1: [\s\S]*### Evidence/);
  });

  test('it never makes that page larger than GitHub takes', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ agents: [], done_criteria: [{ run: `printf 'x%.0s' $(seq 30000)` }] });
    await rig.run('apply run.yaml');
    await rig.run('verify run.yaml');
    const limit = 1024 * 1024;
    for (const room of [9_000, 100]) {
      writeFileSync(job(rig), 'x'.repeat(limit - room));
      const { stderr } = await rig.run('report run.yaml', { env: { GITHUB_STEP_SUMMARY: job(rig) } });
      expect(statSync(job(rig)).size).toBeLessThanOrEqual(limit);
      expect(stderr.includes('no room')).toBe(room < 1_000);
    }
  });
});

/** Every file of the test's world, but what the tests and git themselves count in. */
function files(rig: Rig): readonly string[] {
  return (
    readdirSync(rig.dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name))
      .map((file) => path.relative(rig.dir, file))
      // Node keeps its cache of compiled code in the temporary folder.
      .filter((file) => !file.startsWith('tmp/'))
      .map((file) => `${file} ${statSync(path.join(rig.dir, file)).mtimeMs}`)
      .sort()
  );
}

function follows(document: unknown): void {
  const schema = JSON.parse(
    readFileSync(path.join(checkout, 'schemas/report.schema.json'), 'utf8'),
  ) as object;
  const validate = new Ajv2020({ allErrors: true, strict: false }).compile(schema);
  validate(document);
  expect(validate.errors ?? []).toEqual([]);
}
