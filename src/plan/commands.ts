/** The exact commands behind a step, as plan shows them. Pure; nothing here runs anything. */
import type { Command } from '../manifest/intent.js';
import type { RecordedRun } from './recorded.js';
import type { PlannedCommand, Step, StepAction } from './steps.js';

/** The programs that a step starts; empty where metawsm does the work itself. */
export function commandsOf(step: Step, run: RecordedRun, action: StepAction): readonly PlannedCommand[] {
  switch (step.kind) {
    case 'repo.clone':
      return [argv(['git', 'clone', step.url, step.path], parent(step.path))];
    case 'repo.fetch':
      return [
        argv(
          [
            'git',
            'fetch',
            '--no-tags',
            'origin',
            `+refs/heads/${step.branch}:refs/remotes/origin/${step.branch}`,
          ],
          step.source,
        ),
      ];
    case 'worktree.create': {
      const start = step.base?.commit ?? step.base?.ref ?? step.baseBranch;
      return [
        step.existing
          ? argv(['git', 'worktree', 'add', step.path, step.branch], step.source)
          : argv(['git', 'worktree', 'add', '--no-track', '-b', step.branch, step.path, start], step.source),
      ];
    }
    case 'worktree.remove': {
      const remove = argv(['git', 'worktree', 'remove', '--force', step.path], step.source);
      if (step.backup === null) return [remove];
      return [argv(['git', 'update-ref', step.backup, '<commit of the worktree>', ''], step.source), remove];
    }
    case 'deliver.merge':
      return step.merges.flatMap(({ base, branch, source }) => [
        argv(['git', 'merge-tree', '--write-tree', base, branch], source),
        argv(['git', 'update-ref', `refs/heads/${base}`, '<what is merged>', `<${base} now>`], source),
      ]);
    case 'deliver.push':
      return [argv(['git', 'push', 'origin', `${step.branch}:refs/heads/${step.branch}`], step.source)];
    case 'deliver.pull-request':
      return [
        argv(
          ['gh', 'pr', 'create', '--base', step.base, '--head', step.branch, '--title', step.title],
          step.source,
        ),
      ];
    case 'branch.delete':
      return [argv(['git', 'update-ref', '--no-deref', '-d', `refs/heads/${step.branch}`], step.source)];
    case 'setup.run':
      return [declared(step.command, step.cwd, [])];
    case 'agent.start':
      return [declared(step.command, step.cwd, Object.keys(step.env).sort())];
    case 'ticket.create': {
      // As docmgr takes them: separated by commas, so no topic can hold one.
      const topics = step.topics.map((topic) => topic.replace(/[",\s]+/g, ' ').trim()).filter(Boolean);
      const words = ['ticket', 'create-ticket', '--ticket', step.ticket, '--title', step.title];
      return docmgr([...words, ...(topics.length === 0 ? [] : ['--topics', topics.join(',')])], run);
    }
    case 'ticket.brief':
      // One that is there is rewritten by metawsm itself.
      if (action === 'update') return [];
      return docmgr(
        ['doc', 'add', '--ticket', step.ticket, '--doc-type', 'reference', '--title', step.title],
        run,
      );
    default:
      return [];
  }
}

/** What the docmgr driver starts to write; without that driver metawsm writes by itself. */
function docmgr(words: readonly string[], run: RecordedRun): readonly PlannedCommand[] {
  const { ticketRoot: root } = run;
  if (run.intent.tickets.driver !== 'docmgr' || root === null) return [];
  return [argv(['docmgr', ...words, '--root', root, '--with-glaze-output', '--output', 'json'], root)];
}

function argv(words: readonly string[], cwd: string): PlannedCommand {
  return { argv: words, shell: null, cwd, envNames: [] };
}

/** A command as the manifest declares it: a string goes to a shell, a list does not. */
function declared(command: Command, cwd: string, envNames: readonly string[]): PlannedCommand {
  return typeof command === 'string'
    ? { argv: null, shell: command, cwd, envNames }
    : { argv: command, shell: null, cwd, envNames };
}

function parent(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}
