/** What a world holds, as lines that do not depend on ids, times, attempt numbers and random names. */
import fs from 'node:fs';
import path from 'node:path';
import sqlite3 from 'sqlite3';

/** Columns that may differ from run to run: identities, times, counts of tries, hashes over names. */
const VARY = new Set([
  'seq',
  'duration_ms',
  'at',
  'attempts',
  'pid',
  'pid_start',
  'boot_id',
  'progress',
  'digest',
  'input_hash',
]);
const TABLES = {
  runs: 'seq',
  repos: 'run_id, ordinal',
  steps: 'run_id, ordinal, id',
  agents: 'run_id, ordinal',
  briefs: 'run_id',
  guidance: 'run_id, ordinal',
  evidence: 'id',
  deliveries: 'run_id, repo',
  locks: 'name',
};

/** Everything that is compared. Throws for a database that is damaged. */
export async function snapshot(world) {
  const db = await readDatabase(world);
  const [run] = db.runs;
  const plain = (text) => normalise(world, run, text);
  const lines = [];
  for (const [table, rows] of Object.entries(db)) {
    if (table === 'events') continue;
    for (const row of rows) lines.push(`db ${table} ${plain(JSON.stringify(rowOf(table, row, rows)))}`);
  }
  lines.push(...journalProblems(db));
  lines.push(...(await gitLines(world)).map(plain));
  // A check that a crash cut off leaves the log of how far it came.
  const files = fileLines(world, plain);
  lines.push(...files.filter((line, index) => !line.includes('/criteria/') || files.indexOf(line) === index));
  lines.push(...attemptLines(world, run));
  lines.push(...processLines(world, db));
  return lines.sort();
}

/** Lines that only one of two snapshots has. */
export function difference(expected, actual) {
  const count = (lines) => lines.reduce((map, line) => map.set(line, (map.get(line) ?? 0) + 1), new Map());
  const [a, b] = [count(expected), count(actual)];
  const lines = [];
  for (const [line, n] of a) for (let i = b.get(line) ?? 0; i < n; i++) lines.push(`- ${line}`);
  for (const [line, n] of b) for (let i = a.get(line) ?? 0; i < n; i++) lines.push(`+ ${line}`);
  return lines;
}

/** The difference for a reader: of a row that both have only the columns that differ. */
export function inWords(lines) {
  const rows = lines.map((line) => /^([-+]) db (\w+) (\{.*\})$/.exec(line));
  const keyOf = (row) => {
    const { run_id, name, id, repo, ordinal } = JSON.parse(row[3]);
    return JSON.stringify([row[2], run_id, name ?? id ?? repo ?? ordinal]);
  };
  return lines.flatMap((line, index) => {
    const row = rows[index];
    if (row === null) return [line];
    const other = rows.find((each) => each !== null && each[1] !== row[1] && keyOf(each) === keyOf(row));
    if (other === undefined) return [line];
    if (row[1] === '+') return [];
    const [a, b] = [JSON.parse(row[3]), JSON.parse(other[3])];
    const changed = Object.keys(a).filter((column) => a[column] !== b[column]);
    return [`! db ${keyOf(row)}: ${changed.map((each) => `${each}: ${a[each]} → ${b[each]}`).join(', ')}`];
  });
}

/** All rows of the database, which is checked first. */
export async function readDatabase(world) {
  const file = path.join(world.state, 'metawsm.db');
  if (!fs.existsSync(file))
    return Object.fromEntries(['events', ...Object.keys(TABLES)].map((name) => [name, []]));
  const db = await new Promise((resolve, reject) => {
    const opened = new sqlite3.Database(file, sqlite3.OPEN_READWRITE, (error) =>
      error === null ? resolve(opened) : reject(error),
    );
    opened.configure('busyTimeout', 5000);
  });
  const all = (sql) =>
    new Promise((resolve, reject) => {
      db.all(sql, (error, rows) => (error === null ? resolve(rows) : reject(error)));
    });
  try {
    const [check] = await all('PRAGMA integrity_check');
    if (check.integrity_check !== 'ok') throw new Error(`the database is damaged: ${check.integrity_check}`);
    const broken = await all('PRAGMA foreign_key_check');
    if (broken.length > 0) throw new Error(`broken references: ${JSON.stringify(broken)}`);
    const tables = { events: await all('SELECT * FROM events ORDER BY id') };
    for (const [table, order] of Object.entries(TABLES)) {
      tables[table] = await all(`SELECT * FROM ${table} ORDER BY ${order}`);
    }
    return tables;
  } finally {
    await new Promise((resolve) => db.close(resolve));
  }
}

function rowOf(table, row, rows) {
  const out = {};
  // Steps that were begun again may have got new numbers: what counts is their order.
  if (table === 'steps') out.place = rows.filter((each) => each.removed === 0).indexOf(row);
  for (const [key, value] of Object.entries(row)) {
    if (VARY.has(key) || (table === 'steps' && key === 'ordinal')) continue;
    if (/_at$/.test(key)) out[key] = value === null ? null : '<time>';
    else if (table === 'agents' && key === 'attempt') out[key] = value === 0 ? 0 : '<newest>';
    else if (table === 'agents' && key === 'stopped_attempt') {
      out[key] = value === null ? null : value === row.attempt ? '<newest>' : '<earlier>';
    } else if (table === 'guidance' && key === 'attempt') out[key] = '<attempt>';
    else if (table === 'agents' && key === 'ended_at') out[key] = value === null ? null : '<time>';
    else if (key === 'placed') out[key] = Object.entries(JSON.parse(value)).sort().flat().join(' ');
    else out[key] = value;
  }
  return out;
}

/** The journal must say of each thing last what the record says now. */
function journalProblems(db) {
  const last = new Map();
  for (const { run_id, type, data } of db.events) {
    const { id, name, state } = JSON.parse(data);
    if (state !== undefined) last.set(`${type} ${run_id} ${id ?? name ?? ''}`, state);
  }
  const problems = [];
  const check = (key, state) => {
    if (last.has(key) && last.get(key) !== state)
      problems.push(`journal: ${key} is ${state}, last ${last.get(key)}`);
  };
  for (const row of db.runs) check(`run ${row.id} `, row.state);
  for (const row of db.agents) check(`agent ${row.run_id} ${row.name}`, row.state);
  // A step that is planned again waits, which the plan's event says for all of them.
  for (const row of db.steps) if (row.state !== 'pending') check(`step ${row.run_id} ${row.id}`, row.state);
  for (const row of db.guidance) check(`guidance ${row.run_id} ${row.id}`, row.state);
  return problems;
}

async function gitLines(world) {
  const clones = path.join(world.state, 'clones');
  const cloned = fs.existsSync(clones)
    ? fs.readdirSync(clones).map((name) => path.join('project/.metawsm/clones', name))
    : [];
  const lines = [];
  const extra = fs.existsSync(path.join(world.dir, 'repos/extra/.git')) ? ['repos/extra'] : [];
  for (const folder of ['repos/api', 'repos/web', ...extra, 'origin/api.git', 'origin/lib.git', ...cloned]) {
    const say = (text) => lines.push(`git ${folder} ${text}`);
    const git = (...args) => world.git(folder, ...args);
    for (const ref of split(await git('for-each-ref', '--format=%(refname) %(tree) %(subject) %(upstream)')))
      say(ref);
    if (!folder.endsWith('.git')) {
      for (const tree of (await git('worktree', 'list', '--porcelain')).split('\n\n'))
        say(tree.replaceAll('\n', ' '));
      say(`status ${(await git('status', '--porcelain', '--branch')).replaceAll('\n', ' ')}`);
    }
    const dotGit = folder.endsWith('.git') ? '.' : '.git';
    say(`config ${world.read(path.join(folder, dotGit, 'config')).replaceAll(/\s+/g, ' ')}`);
    const inner = walk(path.join(world.dir, folder, dotGit))
      .filter((file) => !/^(objects|logs)\//.test(file))
      .filter((file) => /\.lock$|^worktrees\/[^/]+\/?$|tmp/.test(file));
    for (const file of inner) say(`holds ${file}`);
  }
  return lines;
}

/** Everything outside of git's own data, with the text of what metawsm writes for people and agents. */
function fileLines(world, plain) {
  const lines = [];
  for (const root of ['project', 'repos', 'workspaces', 'origin', 'tmp']) {
    const base = path.join(world.dir, root);
    if (!fs.existsSync(base)) continue;
    for (const file of walk(base)) {
      if (/(^|\/)\.git\/./.test(file) || /^(api|lib)\.git\/./.test(file)) continue;
      // SQLite's own, and the attempts of agents, which are looked at by themselves.
      if (/metawsm\.db-(wal|shm)$/.test(file) || /\.metawsm\/runs\/[^/]+\/agents\/[^/]+\/./.test(file))
        continue;
      const full = path.join(base, file);
      const stats = fs.lstatSync(full);
      const mode = (stats.mode & 0o777).toString(8);
      const shown = `file ${root}/${file} ${mode}`;
      if (stats.isSymbolicLink()) lines.push(plain(`${shown} -> ${fs.readlinkSync(full)}`));
      else if (stats.isDirectory()) lines.push(plain(shown));
      else if (/\.(db|log)$/.test(file)) lines.push(plain(`${shown} ${stats.size > 0 ? 'text' : 'empty'}`));
      else lines.push(plain(`${shown} ${JSON.stringify(textOf(full))}`));
    }
  }
  return lines;
}

/** Entries of agents that were started side by side come in any order. */
function textOf(file) {
  const text = fs.readFileSync(file, 'utf8');
  return file.endsWith('/changelog.md')
    ? text
        .split(/\n(?=## )/)
        .sort()
        .join('\n')
    : text;
}

/** Attempts by what became of them: those given up left nothing but the claim, those that ran their records. */
function attemptLines(world, run) {
  const lines = [];
  const base = path.join(world.state, 'runs', run?.id ?? '', 'agents');
  if (run === undefined || !fs.existsSync(base)) return lines;
  for (const agent of fs.readdirSync(base)) {
    const seen = [];
    const attempts = fs
      .readdirSync(path.join(base, agent))
      .sort((a, b) => Number(a.slice(8)) - Number(b.slice(8)));
    for (const attempt of attempts) {
      const folder = path.join(base, agent, attempt);
      const names = fs.readdirSync(folder).sort();
      const claim = world.read(path.relative(world.dir, path.join(folder, 'claim')));
      const by = claim === '' ? 'nobody' : JSON.parse(claim).by;
      if (by === 'void') {
        const extra = names.filter((name) => !['claim', 'agent.log', 'wrapper.log'].includes(name));
        if (extra.length > 0) lines.push(`attempt ${agent}: given up, but holds ${extra.join(' ')}`);
        continue;
      }
      seen.push(`claimed by ${by}: ${names.join(' ')}`);
    }
    const newest = seen.pop();
    for (const earlier of new Set(seen)) lines.push(`attempt ${agent} earlier ${earlier}`);
    lines.push(`attempt ${agent} newest ${newest ?? 'none'}`);
  }
  return lines;
}

/** Who lives, and how often each attempt ran. */
function processLines(world, db) {
  const lines = [];
  const living = world.agents();
  for (const { name, attempt } of living) {
    const recorded = db.agents.find((agent) => agent.name === name);
    lines.push(
      `process agent ${name} ${recorded?.attempt === attempt ? '<newest>' : `attempt ${attempt}, not the recorded ${recorded?.attempt}`}`,
    );
  }
  for (const { name, state, pid } of db.agents) {
    const own = living.find((agent) => agent.name === name);
    if (state === 'running' && own?.pid !== pid)
      lines.push(`process agent ${name} is recorded with another pid`);
  }
  const starts = split(world.read('starts')).map((line) => line.split(' ').slice(0, 2).join(' '));
  for (const start of new Set(starts)) {
    const times = starts.filter((each) => each === start).length;
    if (times > 1) lines.push(`process agent ${start} ran ${times} times`);
  }
  for (const { argv, env } of world.processes()) {
    const own = env.some((each) => each.startsWith('METAWSM_ATTEMPT='));
    if (own || /tmux/.test(argv[0] ?? '')) continue;
    const what = argv.map((each) => path.basename(each)).filter((each) => !/^attempt-\d+$/.test(each));
    lines.push(
      `process ${what
        .join(' ')
        .replaceAll(/attempt-\d+/g, 'attempt-N')
        .slice(0, 120)}`,
    );
  }
  return lines;
}

function normalise(world, run, text) {
  let out = text.replaceAll(world.dir, '<dir>');
  if (run !== undefined) out = out.replaceAll(run.id, '<run>').replaceAll(run.token, '<token>');
  return (
    out
      .replaceAll(/attempt-\d+/g, 'attempt-N')
      .replaceAll(/<!-- brief [0-9a-f]+ -->/g, '<brief>')
      // The clone's name has a hash of its url, which is in this world's folder.
      .replaceAll(/\blib-[0-9a-f]{10}\b/g, 'lib-<url>')
      .replaceAll(/\b\d{8}T\d{9}Z-[0-9a-f]{8}-/g, '<stamp>-')
      .replaceAll(/-\d{8}T\d{9}Z-[0-9a-f]{6}\.log\b/g, '-<stamp>.log')
      .replaceAll(/(\\?"(attempt|duration_ms)\\?": ?)\d+/g, '$1N')
      .replaceAll(/\b\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>')
      .replaceAll(/\b\d{4}-\d\d-\d\d\b/g, '<day>')
      .replaceAll(/\b\d{4}\/\d\d\/\d\d\b/g, '<day>')
      .replaceAll(/\b[0-9a-f]{64}\b/g, '<hash>')
  );
}

/** Paths below a folder, folders too. Links are not followed. */
function walk(folder, prefix = '') {
  return fs.readdirSync(path.join(folder, prefix), { withFileTypes: true }).flatMap((entry) => {
    const name = path.join(prefix, entry.name);
    return entry.isDirectory() ? [name, ...walk(folder, name)] : [name];
  });
}

function split(text) {
  return text.split('\n').filter((line) => line !== '');
}
