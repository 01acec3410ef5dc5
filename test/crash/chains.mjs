/** The commands that a run is led through. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { readDatabase } from './snapshot.mjs';
import { main } from './world.mjs';

/** Every recorded attempt is at work. */
async function alive(world, count) {
  await world.until('working agents', () => {
    const living = world.agents();
    return (
      living.length === count &&
      living.every(({ name, attempt }) => world.has(`alive-${name}-${attempt}`) || !world.has('answered'))
    );
  });
}

const apply = {
  name: 'apply',
  argv: ['apply', 'run.yaml'],
  settle: async (world) => {
    await alive(world, 2);
    const asked = () => world.processes().length > 0 && /guidance-request/.test(requests(world));
    await world.until('a question', asked);
  },
};

const guide = {
  name: 'guide',
  // Killed after the last of its work: nothing is left to be answered.
  isDone: ({ code, stdout, stderr }) => code === 4 && /no open question/.test(stdout + stderr),
  argv: ['guide', 'run.yaml', '--answer', '- blue 007'],
  settle: (world) =>
    world.until(
      'a taken answer',
      () => (world.has('answered') && world.has('alive-first-1')) || aliveFirst(world),
    ),
};

const restart = { name: 'restart', argv: ['restart', 'run.yaml'], settle: (world) => alive(world, 2) };
const stop = { name: 'stop', argv: ['stop', 'run.yaml'] };
const resume = { name: 'resume', argv: ['resume', 'run.yaml'], settle: (world) => alive(world, 2) };
const cleanup = { name: 'cleanup', argv: ['cleanup', 'run.yaml'] };

/** All that the agents were told. */
function feedbackOf(agents) {
  const files = agents.map(({ sentinel_dir }) => path.join(sentinel_dir, 'operator-feedback.md'));
  return files.map((file) => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '')).join('\n');
}

function aliveFirst(world) {
  return (
    world.has('answered') &&
    world.agents().some(({ name, attempt }) => name === 'first' && world.has(`alive-first-${attempt}`))
  );
}

function requests(world) {
  const [agent] = world.processes().filter(({ env }) => env.includes('METAWSM_AGENT=first'));
  const folder = agent?.env.find((each) => each.startsWith('METAWSM_SENTINEL_DIR='))?.slice(21);
  if (folder === undefined) return '';
  return world.has(`${folder.slice(world.dir.length + 1)}/guidance-request.json`) ? 'guidance-request' : '';
}

/** The agents finish: `apply --wait` sees it through. */
const wait = {
  name: 'wait',
  argv: ['apply', 'run.yaml', '--wait'],
  before: (world) => world.write('release', ''),
};
const close = { name: 'close', argv: ['close', 'run.yaml'] };

/** The manifest changes: its intake, a new repo and criterion in place, one agent by restart. */
const change = {
  name: 'change',
  argv: ['apply', 'run.yaml', '--yes'],
  before: async (world) => {
    await world.repo('repos/extra', { 'README.md': '# extra\n' });
    const manifest = JSON.parse(world.read('project/run.yaml'));
    manifest.intake.goal = 'Limit logins, and say so';
    manifest.repos.push({ name: 'extra', path: '../repos/extra' });
    manifest.done_criteria.push('The README documents it');
    manifest.agents[1].env = { CHANGED: 'yes' };
    world.write('project/run.yaml', JSON.stringify(manifest));
  },
  settle: (world) => alive(world, 2),
};
const iterate = {
  name: 'iterate',
  argv: ['iterate', 'run.yaml', '--feedback', '- make it blue'],
  // Said once: what was recorded of it is gone on with.
  again: async (world) => {
    const { agents, steps } = await readDatabase(world);
    const said =
      agents.some(({ feedback }) => feedback !== null) || steps.some(({ state }) => state !== 'done');
    return said || /make it blue/.test(feedbackOf(agents)) ? ['resume', 'run.yaml'] : null;
  },
  settle: (world) => alive(world, 2),
};
/** Work that exists nowhere else is saved first. */
const force = {
  name: 'force',
  argv: ['cleanup', 'run.yaml', '--force'],
  before: async (world) => {
    const [tree] = (await world.git('repos/api', 'worktree', 'list', '--porcelain')).split('\n\n').slice(1);
    world.write(`${tree.split('\n')[0].slice(`worktree ${world.dir}/`.length)}/untracked.txt`, 'work\n');
  },
};

/** An apply that nobody goes on with: whatever it left, cleanup takes away. */
const halfApply = { ...apply, name: 'half an apply', leave: true };
const abandon = {
  ...cleanup,
  name: 'abandon',
  // It died before anything was recorded.
  isDone: ({ code, stdout, stderr }) => code === 64 && /no run|no state|nothing/i.test(stdout + stderr),
};

export const CHAINS = [
  { name: 'operate', phases: [apply, guide, restart, stop, resume, cleanup] },
  { name: 'rework', phases: [apply, guide, change, iterate, force] },
  { name: 'give up', phases: [halfApply, abandon], compare: isLeftover },
  ...(offers('close') ? [{ name: 'deliver', phases: [apply, guide, wait, close] }] : []),
];

/** Lines of a snapshot that tell of something that should be gone, however far the run came. */
function isLeftover(line) {
  // Where nothing was recorded there is nothing to clean up: the next apply removes what is left of this one file.
  if (/\/\.metawsm\/\.\.gitignore\./.test(line)) return false;
  return /^process|^db locks|^file workspaces|^git \S+\/(api|web) (worktree|holds)|\.tmp\b|_metawsm|metawsm-copy/.test(
    line,
  );
}

/** Whether metawsm has a command. */
function offers(command) {
  const help = execFileSync(process.execPath, [main, '--help'], { encoding: 'utf8' });
  return new RegExp(`^ {2}${command} `, 'm').test(help);
}
