/** Pull requests: what they need, and their text: what was asked for, and the evidence that it was done. */
import { criteriaStates } from '../plan/evidence.js';
import type { Problem } from '../plan/observed.js';
import { missingSteps, type Plan } from '../plan/plan.js';
import type { RecordedRun } from '../plan/recorded.js';
import { ToolFailure } from '../tools/failure.js';
import { safeText } from '../tools/files.js';
import { authProblem, existingPr } from '../tools/gh.js';
import { describeRepo } from '../tools/git-read.js';

/**
 * What keeps a plan's pull requests from being made, found before anything is pushed. Asks GitHub who is logged in,
 * and about each repo. Throws `ToolFailure` where gh was ended before it had answered.
 */
export async function pullRequestProblems(
  plan: Plan,
  env: NodeJS.ProcessEnv,
  signal?: AbortSignal,
): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  const wanted = missingSteps(plan).flatMap(({ step }) =>
    step.kind === 'deliver.pull-request' ? [step] : [],
  );
  for (const { repo, source, base } of wanted) {
    if (!(await describeRepo(source)).hasOrigin) {
      problems.push({
        code: 'no_origin',
        message: `repo ${repo}: ${source} has no remote origin to push to`,
        hint: `git -C ${source} remote add origin URL, or set intake.merge_intent to merge or none`,
      });
    }
    if (base === 'HEAD') {
      problems.push({
        code: 'no_base',
        message: `repo ${repo}: its base is HEAD, and a pull request needs a branch`,
        hint: 'set intake.merge_intent to none and apply, then close again',
      });
    }
  }
  const [first] = wanted;
  if (first === undefined) return problems;
  const auth = await authProblem({ cwd: first.source, env, signal });
  if (auth !== null) return [...problems, auth];
  if (problems.length > 0) return problems;
  for (const { repo, source, branch, base } of wanted) {
    try {
      await existingPr({ cwd: source, branch, base, env, signal });
    } catch (error) {
      if (!(error instanceof ToolFailure) || error.exitCode === null) throw error;
      problems.push({
        code: 'gh_repo',
        message: `repo ${repo}: its pull requests cannot be looked at: ${error.message}`,
        hint: `try gh pr list in ${source}; where its origin is not on GitHub, set intake.merge_intent to merge or none`,
      });
    }
  }
  return problems;
}

/** The text of a repo's pull request, in Markdown. Everything that an agent wrote stands in code, where it is only text. */
export function pullRequestBody(run: RecordedRun, repo: string): string {
  const { intake } = run.intent;
  const row = run.deliveries.find((delivery) => delivery.repo === repo);
  const states = criteriaStates(run, null);
  const lines = states.map((state) => {
    const at = state.commit === null ? '' : ` at ${state.commit.slice(0, 12)}`;
    return `| ${code(state.text)} | ${state.kind === 'command' ? 'command' : 'words'} | ${state.state}${at} |`;
  });
  return [
    quoted(intake.goal),
    '## Scope',
    quoted(intake.scope),
    '## Constraints',
    quoted(intake.constraints),
    '## Evidence',
    ['| criterion | kind | result |', '| --- | --- | --- |', ...lines].join('\n'),
    `Run \`${run.id}\`, commit \`${row?.head ?? ''}\`.`,
  ].join('\n\n');
}

function quoted(text: string): string {
  return safeText(text)
    .trim()
    .split('\n')
    .map((line) => `> ${line}`)
    .join('\n');
}

function code(text: string): string {
  const line = safeText(text).replace(/\s+/g, ' ').replaceAll('|', '\\|').trim();
  const fence = line.includes('`') ? '``' : '`';
  return `${fence}${line}${fence}`;
}
