/** What close does with the branches, and how that is told. Pure. */
import type { Intent } from '../manifest/intent.js';
import type { RecordedDelivery, RecordedRun } from './recorded.js';

/** What close does with the branches of a run that asks for `intent.intake.mergeIntent`. */
export function deliveryKind(intent: Intent): 'merge' | 'pull_request' | 'none' {
  const { mergeIntent } = intent.intake;
  if (mergeIntent !== 'default') return mergeIntent;
  // A clone in the state folder has no base that anybody looks at, and HEAD is no branch to merge into.
  const nowhere = intent.repos.some((repo) => repo.source.kind === 'url' || repo.baseBranch === 'HEAD');
  return nowhere ? 'none' : 'merge';
}

/** What became of a repo's branch, as a sentence; null: nothing did. */
export function deliverySentence(run: RecordedRun, delivery: RecordedDelivery): string | null {
  const repo = run.repos.find(({ name }) => name === delivery.repo);
  if (repo === undefined) return null;
  const { source, branch, baseBranch } = repo;
  switch (delivery.kind) {
    case 'merge': {
      const at = delivery.after?.slice(0, 12);
      return `${repo.name}: ${branch} is delivered, ${baseBranch} of ${source} is at ${at}; nothing was pushed`;
    }
    case 'pull_request':
      return delivery.url === null
        ? `${repo.name}: there is no pull request, because ${baseBranch} of origin holds all of ${branch} already`
        : `${repo.name}: ${branch} waits in ${delivery.url}`;
    case 'none': {
      const left = delivery.ref?.replace(/^refs\/heads\//, '') ?? null;
      const where = left === null ? branch : `the work is on ${left}, not on ${branch}: it`;
      return `${repo.name}: nothing is delivered (${noneReason(run.intent)}); ${where} stays in ${source}`;
    }
  }
}

/** Why delivery leaves the branches where they are. */
export function noneReason(intent: Intent): string {
  if (intent.intake.mergeIntent !== 'default') return `merge_intent ${intent.intake.mergeIntent}`;
  const url = intent.repos.find((repo) => repo.source.kind === 'url');
  if (url !== undefined) return `repo ${url.name} has a url and no local clone to merge in`;
  const head = intent.repos.find((repo) => repo.baseBranch === 'HEAD');
  return head === undefined ? 'merge_intent default' : `the base of repo ${head.name} is HEAD, no branch`;
}
