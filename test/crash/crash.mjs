/**
 * `npm run test:crash -- [--count N] [--seed S] [--lanes N] [--only I] [--session process] [--chain operate] [--keep] [--quiet]`: the proof that metawsm survives crashes.
 *
 * Each of the N lives leads a run through its commands. Every command is killed, with SIGKILL, at chosen moments:
 * right before or after a change of a file, a commit of the journal, the start of a program (all of them in turn,
 * over many lives), or after a random time; alone, or with the git and setup processes that it started. It is
 * then run again, and perhaps killed again, until it gets through. What is there then must be what an
 * undisturbed run leaves. A difference is printed with what replays it: `--seed S --only I`.
 */
import { parseArgs } from 'node:util';
import { CHAINS } from './chains.mjs';
import { difference, inWords, snapshot } from './snapshot.mjs';
import { hasTmux, main, World } from './world.mjs';

/** A prime that no number of moments is a multiple of: so that neighbours come far apart, and none twice in a turn. */
const STRIDE = 7919;

/** What is left differs from what an undisturbed run leaves. */
class Divergence extends Error {
  constructor(phase, lines) {
    super(`after ${phase.name} (- undisturbed, + after the crashes):\n${inWords(lines).join('\n')}`);
  }
}

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    chain: { type: 'string' },
    lanes: { type: 'string', default: '2' },
    only: { type: 'string' },
    session: { type: 'string' },
    keep: { type: 'boolean', default: false },
    quiet: { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed);
const all = hasTmux ? ['process', 'tmux'] : ['process'];
const sessions = values.session === undefined ? all : [values.session];
const chains = CHAINS.filter(({ name }) => values.chain === undefined || values.chain === name);
const kinds = chains.flatMap((chain) => sessions.map((session) => ({ chain, session })));
const total = { kills: 0, lives: 0, commands: new Map(), slowest: { ms: 0, what: '' } };
const divergences = [];

if (process.platform !== 'linux') {
  console.error('crash: only Linux shows the processes that are to be killed');
  process.exit(1);
}

const baselines = new Map();
await inLanes(kinds, async ({ chain, session }) => {
  baselines.set(`${chain.name} ${session}`, await baseline(chain, session));
});
await inLanes(
  values.only === undefined ? [...Array(Number(values.count)).keys()] : [Number(values.only)],
  lead,
);

const commands = [...total.commands].map(([name, kills]) => `${name} ${kills}`).join(', ');
console.log(
  `crash: seed ${seed}: ${total.kills} kills in ${total.lives} lives (${commands}); ` +
    `${divergences.length} divergence${divergences.length === 1 ? '' : 's'}` +
    `${divergences.length === 0 ? '' : `: --only ${divergences.join(', ')}`}; ` +
    `longest second try ${(total.slowest.ms / 1000).toFixed(1)} s`,
);
if (!values.quiet) console.log(`slowest: ${total.slowest.what}`);
process.exitCode = divergences.length === 0 ? 0 : 1;

/** A few at a time: each is several processes. */
async function inLanes(things, work) {
  const left = [...things];
  const lane = async () => {
    for (let thing = left.shift(); thing !== undefined; thing = left.shift()) await work(thing);
  };
  await Promise.all([...Array(Number(values.lanes))].map(lane));
}

/** An undisturbed life: what each command leaves, its moments and its duration. */
async function baseline(chain, session) {
  const world = await World.create(session);
  try {
    const phases = new Map();
    for (const phase of chain.phases) {
      await phase.before?.(world);
      const result = await world.run(phase.argv, { count: true });
      if (result.code !== 0) throw new Error(`undisturbed ${phase.name} failed:\n${said(result)}`);
      phases.set(phase.name, {
        moments: result.moments,
        ms: result.ms,
        lines: await settled(world, phase),
      });
    }
    if (!values.quiet) {
      const shown = [...phases].map(([name, { moments }]) => `${name} ${moments.length}`).join(', ');
      console.log(`${chain.name}, ${session}: moments to be killed at: ${shown}`);
    }
    return phases;
  } finally {
    await world.dispose(false);
  }
}

/** What a phase leaves once the agents have done their part. */
async function settled(world, phase) {
  await phase.settle?.(world);
  const status = await world.run(['status', 'run.yaml', '--json']);
  if (isUnknown(status)) return snapshot(world);
  if (status.code !== 0) throw new Error(`status failed:\n${said(status)}`);
  const { run, agents, guidance, warnings, next } = JSON.parse(status.stdout);
  const told = {
    state: run.state,
    reason: run.reason,
    resume: run.resume_at_step,
    agents: agents.map(({ name, state, health, restarts_left }) => [name, state, health, restarts_left]),
    guidance: guidance.map(({ question }) => question),
    warnings: warnings.map(({ code }) => code),
    next: next?.argv.slice(0, 2),
  };
  return [...(await snapshot(world)), `status ${JSON.stringify(told)}`];
}

async function lead(life) {
  const { chain, session } = kinds[life % kinds.length];
  const phases = baselines.get(`${chain.name} ${session}`);
  const turn = Math.floor(life / kinds.length);
  const random = generator(seed * 1_000_003 + life);
  const world = await World.create(session);
  const history = [];
  total.lives += 1;
  let failed = false;
  try {
    for (const phase of chain.phases) {
      const undisturbed = phases.get(phase.name);
      await through(world, chain, phase, undisturbed, turn, random, history);
      if (phase.leave) continue;
      const { compare = () => true } = chain;
      const left = await settled(world, phase);
      const lines = difference(undisturbed.lines.filter(compare), left.filter(compare));
      if (lines.length > 0) throw new Divergence(phase, lines);
    }
  } catch (error) {
    failed = true;
    divergences.push(life);
    const where = history.map((each) => `  ${each}`).join('\n');
    const why = error instanceof Divergence ? error.message : error.stack;
    console.log(
      `--- life ${life} (${chain.name}, ${session}) diverges; --seed ${seed} --only ${life}\n${where}\n${why}` +
        `${values.keep ? `\nkept: ${world.dir}` : ''}\n---`,
    );
  } finally {
    await world.dispose(failed && values.keep);
  }
}

/** Runs a command until it gets through, killing it up to a few times. */
async function through(world, chain, phase, undisturbed, turn, random, history) {
  const kills = 1 + Math.floor(random() * 3);
  await phase.before?.(world);
  for (let tries = 0; ; tries++) {
    const kill = tries < kills ? choose(undisturbed, tries === 0 ? turn : null, random) : null;
    // The command that goes on may be another one.
    const argv = (tries > 0 && (await phase.again?.(world))) || phase.argv;
    const looks = random() < 0.25;
    const result = await world.run(argv, { kill });
    if (result.killed) {
      total.kills += 1;
      total.commands.set(phase.name, (total.commands.get(phase.name) ?? 0) + 1);
      history.push(`${phase.name}: killed ${kill?.tree ? 'with its children' : 'alone'} ${result.where}`);
      if (looks) await look(world, history);
      if (phase.leave) return;
      continue;
    }
    if (result.hung) throw new Error(`${argv.join(' ')} hangs\n${said(result)}`);
    if (tries > 0 && result.ms - undisturbed.ms > total.slowest.ms) {
      total.slowest = { ms: result.ms - undisturbed.ms, what: history.slice(-1)[0] ?? '' };
    }
    const fine = result.code === 0 || ((tries > 0 || chain.compare) && phase.isDone?.(result) === true);
    if (!fine) throw new Error(`${argv.join(' ')} after ${tries} kills\n${said(result)}`);
    history.push(`${argv[0]}: got through`);
    return;
  }
}

/** The moment of a kill. The first of a command comes at every moment once, over the lives; others anywhere. */
function choose({ moments, ms }, turn, random) {
  const tree = random() < 0.5;
  if (turn === null && random() < 0.5)
    return { kind: 'time', ms: 30 + random() * Math.max(ms - 30, 20), tree };
  const at = turn === null ? Math.floor(random() * moments.length) : (turn * STRIDE) % moments.length;
  const starts = moments[at]?.startsWith('after start') ?? false;
  return { kind: 'moment', moment: at, delay: starts ? Math.floor(random() * 25) : 0, tree };
}

/** Between a crash and the next try: status must answer, and not call dead what lives or living what is dead. */
async function look(world, history) {
  const status = await world.run(['status', 'run.yaml', '--json']);
  if (isUnknown(status)) return;
  if (status.code !== 0) throw new Error(`status between two tries\n${said(status)}`);
  history.push('status: looked');
  const living = world.agents();
  for (const { name, state, attempt } of JSON.parse(status.stdout).agents) {
    const lives = living.some((agent) => agent.name === name && agent.attempt === attempt);
    const settledNow = world.agents().some((agent) => agent.name === name && agent.attempt === attempt);
    if (state === 'running' && !lives && !settledNow)
      throw new Error(`status says that ${name} runs, which it does not`);
    if (['pending', 'dead', 'failed', 'exited'].includes(state) && lives && settledNow) {
      throw new Error(`status says ${name} is ${state}, and it lives`);
    }
  }
}

/** The crash came before anything was recorded. */
function isUnknown({ code, stdout, stderr }) {
  return code === 64 && /no run|nothing|no state|not exist/i.test(stdout + stderr);
}

function said({ argv, code, stdout, stderr }) {
  return `$ metawsm ${argv.join(' ')} → ${code}  (${main})\n${stdout}${stderr}`;
}

/** mulberry32: the same numbers for the same seed. */
function generator(start) {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
