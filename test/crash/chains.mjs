/** The commands that a run is led through. */
import { execFileSync } from 'node:child_process';
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

export const CHAINS = [
  { name: 'operate', phases: [apply, guide, restart, stop, resume, cleanup] },
  ...(offers('close') ? [{ name: 'deliver', phases: [apply, guide, wait, close] }] : []),
];

/** Whether metawsm has a command. */
function offers(command) {
  const help = execFileSync(process.execPath, [main, '--help'], { encoding: 'utf8' });
  return new RegExp(`^ {2}${command} `, 'm').test(help);
}
