/**
 * How long the commands take, in units of `node -e 0`, and what they cost. No test: it asserts nothing.
 *
 *   npm run bench [-- --runs N]         measures dist/ (after `npm run build`)
 *
 * Each round runs every command once, so that a busy machine slows all of them alike; a number is the median
 * of the rounds divided by that of `node -e 0`. Programs and memory are measured in rounds of their own.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { runs: { type: 'string', default: '15' } } });
const runs = Number(values.runs);
if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs takes a number, not ${values.runs}`);
const WARM_UP = 2;
const COUNTED = 3;

const main = process.env.METAWSM_TEST_MAIN ?? fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const hook = new URL('./count.mjs', import.meta.url).href;
const dir = mkdtempSync(path.join(os.tmpdir(), 'mw-bench-'));
const at = (...names) => path.join(dir, ...names);
// As it is for whoever runs this, less what would change what metawsm or git does.
const inherited = Object.entries(process.env).filter(
  ([name]) =>
    !/^(GIT_|METAWSM_|XDG_|npm_|NODE_OPTIONS$|NO_COLOR$|FORCE_COLOR$|GITHUB_STEP_SUMMARY$)/.test(name),
);
const env = {
  ...Object.fromEntries(inherited),
  HOME: at('home'),
  LANG: 'C.UTF-8',
  GIT_CONFIG_NOSYSTEM: '1',
  METAWSM_BENCH_COUNT: at('count.json'),
};
const output = at('output.txt');

/** Runs a program to its end. Gives milliseconds; throws where it fails. */
function run(file, args, cwd = dir) {
  const fd = openSync(output, 'w');
  const begun = process.hrtime.bigint();
  const { status, error } = spawnSync(file, args, { cwd, env, stdio: ['ignore', fd, fd] });
  const ms = Number(process.hrtime.bigint() - begun) / 1e6;
  if (error) throw error;
  if (status !== 0) {
    throw new Error(`${file} ${args.join(' ')}: exit ${status}\n${readFileSync(output, 'utf8')}`);
  }
  return ms;
}

function repository(folder) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'README.md'), '# Bench\n');
  run('git', ['init', '-q', '-b', 'main'], folder);
  run('git', ['add', '.'], folder);
  run('git', ['commit', '-q', '-m', 'Begin'], folder);
}

/** A project with a manifest of its own for a new run: one repo, an agent that ends at once. */
let projects = 0;
function project() {
  projects += 1;
  const folder = at(`project-${projects}`);
  repository(path.join(folder, 'api'));
  writeFileSync(
    path.join(folder, 'run.yaml'),
    [
      'version: 1',
      `ticket: { id: BENCH-${projects}, title: Measure it }`,
      'repos: [{ name: api, path: api }]',
      'workspace: { root: workspaces }',
      'intake: { goal: Be quick, scope: Everything, constraints: None }',
      'done_criteria: [It is quick]',
      "agent: { command: ['true'] }",
      'session: process',
      'policy: { start_grace: 0s }',
      '',
    ].join('\n'),
  );
  return folder;
}

const metawsm =
  (...args) =>
  (cwd) => [main, ...args, ...(cwd === undefined ? [] : ['--state', path.join(cwd, 'state')])];

mkdirSync(at('home'));
writeFileSync(at('home/.gitconfig'), '[user]\n\tname = Bench\n\temail = bench@example.com\n');

try {
  const fresh = project();
  const known = project();
  const apply = metawsm('apply', 'run.yaml');
  run(process.execPath, apply(known), known);

  const cases = [
    { name: 'node -e 0', args: () => ['-e', '0'], where: () => dir, time: null, memory: null },
    { name: '--version', args: () => metawsm('--version')(), where: () => dir, time: 1.2, memory: null },
    {
      name: 'validate',
      args: () => metawsm('validate', 'run.yaml')(),
      where: () => fresh,
      time: 2,
      memory: null,
    },
    { name: 'plan', args: metawsm('plan', 'run.yaml'), where: () => fresh, time: 3, memory: null },
    { name: 'status', args: metawsm('status', 'run.yaml'), where: () => known, time: 3, memory: 2 },
    { name: 'apply', args: apply, where: project, time: 5, memory: null },
  ];

  const times = new Map(cases.map(({ name }) => [name, []]));
  for (let round = -WARM_UP; round < runs; round++) {
    for (const { name, args, where } of cases) {
      const cwd = where();
      const ms = run(process.execPath, args(cwd), cwd);
      if (round >= 0) times.get(name).push(ms);
    }
  }
  const costs = new Map(cases.map(({ name }) => [name, []]));
  for (let round = 0; round < COUNTED; round++) {
    for (const { name, args, where } of cases) {
      const cwd = where();
      run(process.execPath, ['--import', hook, ...args(cwd)], cwd);
      costs.get(name).push(JSON.parse(readFileSync(env.METAWSM_BENCH_COUNT, 'utf8')));
    }
  }
  print(cases, times, costs);
} finally {
  rmSync(dir, { recursive: true, force: true });
}

function print(cases, times, costs) {
  const unit = {
    ms: median(times.get('node -e 0')),
    peak: median(costs.get('node -e 0').map((c) => c.peak)),
  };
  const rows = cases.map(({ name, time, memory }) => {
    const ms = median(times.get(name));
    const peak = median(costs.get(name).map((cost) => cost.peak));
    const { programs } = costs.get(name)[0];
    return [
      name,
      `${ms.toFixed(0)} ms`,
      aimed(ms / unit.ms, time),
      `${(peak / 1024).toFixed(0)} MB`,
      aimed(peak / unit.peak, memory),
      programs.length === 0 ? '0' : `${programs.length}: ${tally(programs)}`,
    ];
  });
  const head = ['', 'time', 'ratio (aim)', 'memory', 'ratio (aim)', 'programs it starts'];
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column].length)));
  for (const row of [head, ...rows]) {
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    );
  }
  console.log(
    `\nmedians of ${runs} rounds; Node ${process.version}, ${os.availableParallelism()} processors`,
  );
  if (env.NODE_EXTRA_CA_CERTS !== undefined) {
    console.log('NODE_EXTRA_CA_CERTS is set: each start of node reads it, the unit too');
  }
  console.log('programs: its own children; the session wrapper (node) then starts the agent');
}

function aimed(ratio, aim) {
  return `${ratio.toFixed(2)}${aim === null ? '' : ` (≤ ${aim})`}`;
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** `git, git, node` → `2 git, 1 node`. */
function tally(programs) {
  const counts = new Map();
  for (const program of programs) counts.set(program, (counts.get(program) ?? 0) + 1);
  return [...counts].map(([program, count]) => `${count} ${program}`).join(', ');
}
