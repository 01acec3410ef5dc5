/** The gates of close (PRODUCT §7): what must hold before anything is delivered. All are judged at once. Pure. */
import type { Intake } from '../manifest/intent.js';
import type { RunState } from './lifecycle.js';

/** In the order in which they are reported. */
export type GateName =
  | 'run_completed'
  | 'brief_and_criteria'
  | 'no_pending_guidance'
  | 'command_evidence'
  | 'worded_evidence'
  | 'worktrees_clean'
  | 'metawsm_not_committed'
  | 'git_config_unchanged'
  | 'base_mergeable';

/** One gate, as it was judged. */
export interface Gate {
  readonly name: GateName;
  readonly ok: boolean;
  /** Why it does not hold and what to do, in full sentences; where it holds, what was found. */
  readonly reason: string;
}

/** All that the gates depend on. */
export interface GatesInput {
  /** How the run is named in commands. */
  readonly selector: string;
  readonly run: {
    readonly state: RunState;
    /** A sentence of the record on its state, such as the last error. */
    readonly detail: string | null;
  };
  /** The run's brief was written. */
  readonly hasBrief: boolean;
  readonly pendingGuidance: readonly {
    readonly id: string;
    readonly agent: string;
    readonly question: string;
  }[];
  readonly criteria: readonly GateCriterion[];
  /** Without repos that were dropped from the run. */
  readonly repos: readonly GateRepo[];
  /** What delivery means for this run; with `none` the base need not be mergeable. */
  readonly mergeIntent: Intake['mergeIntent'];
}

export interface GateCriterion {
  readonly id: string;
  readonly kind: 'command' | 'worded';
  /** The words, or the command as written. */
  readonly text: string;
  /** `void`: there was passing evidence, which does not hold any more. */
  readonly state: 'passed' | 'failed' | 'missing' | 'void';
  /** Why, such as "HEAD of api moved"; null: nothing to add. */
  readonly voidReason: string | null;
}

/** What was seen of a repo that is to be delivered. */
export interface GateRepo {
  readonly name: string;
  /** The worktree. */
  readonly path: string;
  readonly baseBranch: string;
  /** Files that `git status` names, without what metawsm put there. null: it could not be looked at. */
  readonly dirtyFiles: readonly string[] | null;
  /** What would go with the worktree, in words: the same files, and what `git status` does not name. */
  readonly onlyHere: readonly string[];
  /** Files below `.metawsm/` that the branch holds. null: it could not be looked at. */
  readonly metawsmCommitted: readonly string[] | null;
  readonly configChanges: readonly GateConfigChange[];
  /** Why the git configuration could not be looked at; null: it was. */
  readonly configProblem: string | null;
  readonly merge: GateMerge;
}

export interface GateConfigChange {
  readonly key: string;
  readonly change: 'added' | 'changed' | 'removed';
  /** Shell commands that put it back. */
  readonly restore: readonly string[];
  /** Why these are not the whole way back; null: they are. */
  readonly note: string | null;
}

/** What merging a branch into its base would meet. */
export type GateMerge =
  /** Delivery merges nothing in this repo (a `url:` repo, base HEAD, a pull request). */
  | { readonly kind: 'skipped' }
  /** `overlaps`: uncommitted files where the base is checked out; `problems`: what else stands against moving it. */
  | {
      readonly kind: 'mergeable';
      readonly overlaps: readonly string[];
      readonly problems: readonly string[];
    }
  /** `with`: the ref that holds what it conflicts with. */
  | { readonly kind: 'conflict'; readonly files: readonly string[]; readonly with: string }
  /** Diverged, missing, being rebased. */
  | { readonly kind: 'problem'; readonly problem: string };

/** More names than this are counted, not listed. */
const LISTED = 20;

/** Every gate, in order, whether it holds or not. */
export function gatesOf(input: GatesInput): readonly Gate[] {
  return [
    runCompleted(input),
    briefAndCriteria(input),
    noPendingGuidance(input),
    commandEvidence(input),
    wordedEvidence(input),
    worktreesClean(input),
    metawsmNotCommitted(input),
    gitConfigUnchanged(input),
    baseMergeable(input),
  ];
}

function runCompleted({ run, selector }: GatesInput): Gate {
  // A close that was cut off was past this gate.
  if (run.state === 'completed' || run.state === 'closing') {
    return holds('run_completed', `The run is ${run.state}.`);
  }
  const why = run.detail === null ? '' : ` (${run.detail})`;
  return fails(
    'run_completed',
    `The run is ${inWords(run.state)}${why}, not completed.`,
    wayTo(run.state, selector),
  );
}

function wayTo(state: RunState, selector: string): string {
  switch (state) {
    case 'awaiting_guidance':
      return `Answer with metawsm guide ${selector} --answer TEXT.`;
    case 'paused':
    case 'stopped':
      return `Go on with metawsm resume ${selector}.`;
    case 'stopping':
      return `End what was begun with metawsm stop ${selector}, then go on with metawsm resume ${selector}.`;
    case 'failed':
      return `See metawsm logs ${selector}, then start again with metawsm restart ${selector}.`;
    case 'closed':
      return 'There is nothing left to close.';
    default:
      return `See metawsm status ${selector}; its agents are not done.`;
  }
}

function briefAndCriteria({ hasBrief, criteria, selector }: GatesInput): Gate {
  const missing = [
    ...(hasBrief ? [] : ['The run has no brief.']),
    ...(criteria.length > 0 ? [] : ['The run has no done criterion.']),
  ];
  if (missing.length === 0) {
    return holds(
      'brief_and_criteria',
      `There are the brief and ${counted(criteria.length, 'criterion', 'criteria')}.`,
    );
  }
  return fails(
    'brief_and_criteria',
    ...missing,
    `Apply the manifest of ${selector} again, with done_criteria.`,
  );
}

function noPendingGuidance({ pendingGuidance, selector }: GatesInput): Gate {
  if (pendingGuidance.length === 0) return holds('no_pending_guidance', 'No question is open.');
  const open = pendingGuidance.map(({ id, agent, question }) => `${agent} asks (${id}): ${question}`);
  const id = pendingGuidance.length > 1 ? ' --id ID' : '';
  return fails(
    'no_pending_guidance',
    ...open.map(sentence),
    `Answer with metawsm guide ${selector}${id} --answer TEXT.`,
  );
}

function commandEvidence({ criteria, selector }: GatesInput): Gate {
  const commands = criteria.filter((criterion) => criterion.kind === 'command');
  const open = commands.filter((criterion) => criterion.state !== 'passed');
  if (open.length === 0) {
    return holds(
      'command_evidence',
      summary(commands.length, 'command criterion', 'command criteria', 'passed'),
    );
  }
  const failed = open.some((criterion) => criterion.state === 'failed');
  const fix = failed
    ? `Have it fixed with metawsm iterate ${selector} --feedback TEXT, then run metawsm verify ${selector}.`
    : `Run metawsm verify ${selector}.`;
  return fails('command_evidence', ...open.map(criterionSentence), fix);
}

function wordedEvidence({ criteria, selector }: GatesInput): Gate {
  const worded = criteria.filter((criterion) => criterion.kind === 'worded');
  const open = worded.filter((criterion) => criterion.state !== 'passed');
  if (open.length === 0) {
    return holds(
      'worded_evidence',
      summary(worded.length, 'worded criterion', 'worded criteria', 'attested'),
    );
  }
  return fails(
    'worded_evidence',
    ...open.map(criterionSentence),
    `Look, and attest each in the workspace with metawsm signal validation, or have the agent do it with metawsm iterate ${selector} --feedback TEXT.`,
  );
}

function criterionSentence({ kind, text, state, voidReason }: GateCriterion): string {
  const why = voidReason === null ? '' : `: ${voidReason}`;
  const name = `${kind === 'command' ? 'Command' : 'Criterion'} ${JSON.stringify(text)}`;
  switch (state) {
    case 'failed':
      return sentence(`${name} failed${why}`);
    case 'void':
      return sentence(
        `${name} was ${kind === 'command' ? 'passed' : 'attested'}, but that does not hold any more${why}`,
      );
    default:
      return sentence(`${name} ${kind === 'command' ? 'was not run' : 'is not attested'}${why}`);
  }
}

function worktreesClean({ repos, selector }: GatesInput): Gate {
  const unclean = repos.flatMap(({ name, path, dirtyFiles, onlyHere }) => {
    if (dirtyFiles === null) {
      return [
        `The worktree of ${name} (${path}) cannot be looked at.`,
        `See metawsm status ${selector}; one that is gone is made again by metawsm resume ${selector}.`,
      ];
    }
    const files =
      dirtyFiles.length === 0
        ? []
        : [
            `${name} has ${counted(dirtyFiles.length, 'file', 'files')} not committed in ${path}: ${listed(dirtyFiles)}.`,
            'Commit them, remove them, or have git ignore them.',
          ];
    // Told once: what `git status` names is among it.
    const beyond = dirtyFiles.length === 0 ? onlyHere : [];
    const work =
      beyond.length === 0
        ? []
        : [
            `${name} holds what would be lost with ${path}: ${beyond.join('; ')}.`,
            'Bring commits onto a branch, end what is in progress, push what submodules hold.',
          ];
    return [...files, ...work];
  });
  if (unclean.length === 0) return holds('worktrees_clean', 'All worktrees are clean.');
  return fails('worktrees_clean', ...unclean);
}

function metawsmNotCommitted({ repos }: GatesInput): Gate {
  const unseen = repos.filter((repo) => repo.metawsmCommitted === null);
  const holding = repos.filter((repo) => (repo.metawsmCommitted ?? []).length > 0);
  if (holding.length === 0 && unseen.length === 0)
    return holds('metawsm_not_committed', 'No branch holds .metawsm/.');
  return fails(
    'metawsm_not_committed',
    ...unseen.map(({ name }) => `${name}: its worktree cannot be looked at.`),
    ...holding.map(
      ({ name, metawsmCommitted }) => `The branch of ${name} holds ${listed(metawsmCommitted ?? [])}.`,
    ),
    ...holding.map(
      ({ path }) =>
        `Take them out with git -C ${quoted(path)} rm -r --cached .metawsm && git -C ${quoted(path)} commit -m 'Remove .metawsm'.`,
    ),
  );
}

function gitConfigUnchanged({ repos }: GatesInput): Gate {
  const changes = repos.flatMap((repo) => [
    ...(repo.configProblem === null
      ? []
      : [`${repo.name}: the git configuration cannot be looked at: ${sentence(repo.configProblem)}`]),
    ...repo.configChanges.map((change) => configSentences(repo.name, change)),
  ]);
  if (changes.length === 0) {
    return holds(
      'git_config_unchanged',
      'Nothing that runs a program or redirects was changed in the git configuration.',
    );
  }
  return fails('git_config_unchanged', ...changes);
}

function configSentences(repo: string, { key, change, restore, note }: GateConfigChange): string {
  const what = key.startsWith('hook ') ? key : `git config ${key}`;
  const told = `${repo}: ${what} was ${change} since the run began.`;
  if (restore.length === 0) return note === null ? told : `${told} Put it back by hand (${note}).`;
  const more = note === null ? '' : ` (${note})`;
  return `${told} Put it back with ${restore.join(' && ')}${more}.`;
}

function baseMergeable({ repos, mergeIntent }: GatesInput): Gate {
  if (mergeIntent === 'none' || mergeIntent === 'pull_request') {
    return holds('base_mergeable', 'Nothing is merged here.');
  }
  const against = repos.flatMap((repo) => mergeSentences(repo));
  if (against.length > 0) return fails('base_mergeable', ...against);
  const merged = repos.filter((repo) => repo.merge.kind !== 'skipped');
  if (merged.length === 0) return holds('base_mergeable', 'Nothing is merged here.');
  const bases = merged.map(({ name, baseBranch }) => `${name} into ${baseBranch}`);
  return holds('base_mergeable', `Each branch merges: ${bases.join(', ')}.`);
}

function mergeSentences({ name, path, baseBranch, merge }: GateRepo): readonly string[] {
  switch (merge.kind) {
    case 'skipped':
      return [];
    case 'problem':
      return [`${name}: ${sentence(merge.problem)}`];
    case 'conflict':
      return [
        `${name} conflicts with ${merge.with} in ${listed(merge.files)}.`,
        `Resolve it on the branch with git -C ${quoted(path)} merge ${quoted(merge.with)}, and commit.`,
      ];
    case 'mergeable': {
      const overlaps =
        merge.overlaps.length === 0
          ? []
          : [
              `${name}: where ${baseBranch} is checked out, uncommitted work is in the way: ${listed(merge.overlaps)}.`,
              'Commit it or move it away.',
            ];
      return [...overlaps, ...merge.problems.map((problem) => `${name}: ${sentence(problem)}`)];
    }
  }
}

function holds(name: GateName, reason: string): Gate {
  return { name, ok: true, reason };
}

function fails(name: GateName, ...sentences: readonly string[]): Gate {
  return { name, ok: false, reason: sentences.join(' ') };
}

function summary(count: number, one: string, many: string, done: string): string {
  return count === 0 ? `There is no ${one}.` : `${counted(count, one, many)} ${done}.`;
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

function listed(names: readonly string[]): string {
  const more = names.length > LISTED ? `, and ${names.length - LISTED} more` : '';
  return names.slice(0, LISTED).map(shown).join(', ') + more;
}

/** A file name as a person can read it, also one with line breaks or quotes. */
function shown(name: string): string {
  return /[\p{C}"]/u.test(name) ? JSON.stringify(name) : name;
}

function sentence(text: string): string {
  return /[.?!]$/.test(text) ? text : `${text}.`;
}

function inWords(state: RunState): string {
  return state.replaceAll('_', ' ');
}

/** A word as a POSIX shell takes it literally. */
function quoted(word: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
