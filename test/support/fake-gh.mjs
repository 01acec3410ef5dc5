#!/usr/bin/env node
// Stands in for gh: `pr list`, `pr create` and `auth status`. Keeps pull requests in $GH_STAND_IN/prs.json and writes
// one line per call to $GH_STAND_IN/calls.jsonl: argv, cwd, stdin and what of the environment matters.
// GH_STAND_IN_EMPTY: the name of a repository whose branches hold no commit that their base lacks.
// GH_STAND_IN_FAIL: a sentence for stderr; the call then ends with exit 1. GH_STAND_IN_LOGGED_OUT: auth status fails.
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const folder = process.env.GH_STAND_IN;
const argv = process.argv.slice(2);
const store = path.join(folder, 'prs.json');
lock();
const prs = existsSync(store) ? JSON.parse(readFileSync(store, 'utf8')) : [];
const stdin = argv.includes('--body-file') ? readFileSync(0, 'utf8') : '';
const names = [
  'GH_PROMPT_DISABLED',
  'GH_NO_UPDATE_NOTIFIER',
  'NO_COLOR',
  'GH_FORCE_TTY',
  'GIT_DIR',
  'GIT_CONFIG_COUNT',
];
const env = Object.fromEntries(names.map((name) => [name, process.env[name]]));
appendFileSync(
  path.join(folder, 'calls.jsonl'),
  `${JSON.stringify({ argv, cwd: process.cwd(), stdin, env })}\n`,
);

/** One call at a time, until this process ends: several repos are delivered side by side. */
function lock() {
  const place = path.join(folder, 'lock');
  for (;;) {
    try {
      mkdirSync(place);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
  process.on('exit', () => rmdirSync(place));
}

function fail(text, code = 1) {
  process.stderr.write(`${text}\n`);
  process.exit(code);
}

/** Those that a test set are in every repository. */
function isHere(pr) {
  return pr.repo === undefined || pr.repo === path.basename(process.cwd());
}

/** The value of a flag; undefined where it is not given. */
function flag(name) {
  const at = argv.indexOf(name);
  return at < 0 ? undefined : argv[at + 1];
}

if (process.env.GH_STAND_IN_FAIL) fail(process.env.GH_STAND_IN_FAIL);

switch (argv.slice(0, 2).join(' ')) {
  case 'auth status':
    if (process.env.GH_STAND_IN_LOGGED_OUT) fail('You are not logged into any GitHub hosts.');
    break;
  case 'pr list': {
    const fields = flag('--json').split(',');
    const states = flag('--state') === 'all' ? ['OPEN', 'CLOSED', 'MERGED'] : ['OPEN'];
    const found = prs.filter(
      (pr) =>
        isHere(pr) &&
        pr.headRefName === flag('--head') &&
        (flag('--base') === undefined || pr.baseRefName === flag('--base')) &&
        states.includes(pr.state),
    );
    const rows = found.map((pr) => Object.fromEntries(fields.map((name) => [name, pr[name]])));
    process.stdout.write(`${JSON.stringify(rows)}\n`);
    break;
  }
  case 'pr create': {
    const [head, base] = [flag('--head'), flag('--base')];
    const open = prs.find(
      (pr) =>
        isHere(pr) &&
        pr.state === 'OPEN' &&
        pr.headRefName === head &&
        pr.baseRefName === base &&
        !pr.isCrossRepository,
    );
    if (open) {
      fail(`a pull request for branch "${head}" into branch "${base}" already exists:\n${open.url}`);
    }
    if (path.basename(process.cwd()) === process.env.GH_STAND_IN_EMPTY) {
      fail(`pull request create failed: GraphQL: No commits between ${base} and ${head} (createPullRequest)`);
    }
    const number = prs.length + 1;
    const pr = {
      number,
      url: `https://github.com/example/${path.basename(process.cwd())}/pull/${number}`,
      repo: path.basename(process.cwd()),
      state: 'OPEN',
      headRefName: head,
      headRefOid: process.env.GH_STAND_IN_HEAD ?? '0'.repeat(40),
      baseRefName: base,
      isCrossRepository: false,
      isDraft: argv.includes('--draft'),
      title: flag('--title'),
      body: stdin,
    };
    writeFileSync(store, JSON.stringify([...prs, pr], null, 2));
    process.stderr.write(`\nCreating pull request for ${head} into ${base}\n\n`);
    process.stdout.write(`${pr.url}\n`);
    break;
  }
  default:
    fail(`unknown command ${argv.join(' ')}`, 2);
}
