/**
 * Preloaded into a metawsm that is to be killed (`node --import hook.mjs main.js …`). It numbers the moments at
 * which a crash can matter: before each change of the file system, before and after each commit of the
 * database, after each start of a program. At the moment of the number that `CRASH_AT` says it kills its own
 * process, as SIGKILL from outside would. `CRASH_REPORT` gets the moment, or the list of all of them.
 */
import childProcess from 'node:child_process';
import fs from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';

const { CRASH_AT: at, CRASH_DELAY: delay, CRASH_REPORT: report = '', RIG_DIR: folder = '' } = process.env;
// What metawsm starts is none of this.
for (const name of ['CRASH_AT', 'CRASH_DELAY', 'CRASH_REPORT']) delete process.env[name];

const target = at === undefined ? Number.POSITIVE_INFINITY : Number(at);
const moments = [];
const write = fs.writeFileSync;

function moment(label) {
  if (moments.length === target) {
    // The program that was just started gets this long, while metawsm itself stands still.
    if (delay !== undefined) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(delay));
    write(report, JSON.stringify({ killedAt: label }));
    process.kill(process.pid, 'SIGKILL');
  }
  moments.push(label);
}

process.on('exit', () => write(report, JSON.stringify({ moments })));

const shown = (value) => String(value).replaceAll(folder, '');
const changes = ['mkdir', 'rename', 'link', 'unlink', 'rmdir', 'rm', 'symlink', 'writeFile', 'appendFile'];
changes.push('copyFile', 'cp', 'chmod', 'truncate', 'ftruncate');
for (const name of changes) {
  for (const [holder, key] of [
    [fs.promises, name],
    [fs, `${name}Sync`],
  ]) {
    const original = holder[key];
    if (original === undefined) continue;
    holder[key] = (...args) => {
      moment(
        `before ${name} ${args
          .slice(0, 2)
          .filter((each) => typeof each === 'string')
          .map(shown)
          .join(' ')}`,
      );
      return original.apply(holder, args);
    };
  }
}

const { O_WRONLY, O_RDWR, O_CREAT } = fs.constants;
const writes = (flags = 'r') =>
  typeof flags === 'number' ? (flags & (O_WRONLY | O_RDWR | O_CREAT)) !== 0 : flags !== 'r';
const openAsync = fs.promises.open;
fs.promises.open = async (file, flags, mode) => {
  if (!writes(flags)) return openAsync(file, flags, mode);
  moment(`before open ${shown(file)}`);
  const handle = await openAsync(file, flags, mode);
  moment(`after open ${shown(file)}`);
  return handle;
};
const openSync = fs.openSync;
fs.openSync = (file, flags, mode) => {
  if (!writes(flags)) return openSync(file, flags, mode);
  moment(`before open ${shown(file)}`);
  const descriptor = openSync(file, flags, mode);
  moment(`after open ${shown(file)}`);
  return descriptor;
};

const spawn = childProcess.spawn;
childProcess.spawn = (file, args, options) => {
  const child = spawn(file, args, options);
  // A git that only looks changes nothing, whenever it ends.
  if (!(Array.isArray(args) && args.includes('--no-optional-locks'))) {
    moment(`after start ${shown([file, ...(Array.isArray(args) ? args : [])].join(' ')).slice(0, 160)}`);
  }
  return child;
};
syncBuiltinESMExports();

const { Database } = createRequire(process.argv[1])('sqlite3');
const open = new WeakSet();
const events = new WeakMap();
for (const name of ['run', 'exec']) {
  const original = Database.prototype[name];
  Database.prototype[name] = function (sql, ...rest) {
    if (/^\s*BEGIN/.test(sql)) open.add(this);
    if (/^\s*ROLLBACK/.test(sql)) open.delete(this);
    if (/INSERT INTO events/.test(sql))
      events.set(this, [...(events.get(this) ?? []), rest[0]?.[2] ?? 'event']);
    const commits = /^\s*COMMIT/.test(sql) || (!open.has(this) && /^\s*(INSERT|UPDATE|DELETE)/.test(sql));
    const done = rest.at(-1);
    if (commits && typeof done === 'function') {
      open.delete(this);
      const journal = (events.get(this) ?? []).join(' ');
      events.delete(this);
      const label = journal === '' ? `commit (${sql.slice(0, 30)})` : `event ${journal}`;
      moment(`before ${label}`);
      rest[rest.length - 1] = function (...result) {
        moment(`after ${label}`);
        return done.apply(this, result);
      };
    }
    return original.call(this, sql, ...rest);
  };
}
