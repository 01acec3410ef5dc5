/**
 * The commands, as data: everything that the command line, its help and its checks know about them.
 * A new command is one entry here and one module beside it, which is loaded only when it is asked for.
 */
import type { CommandContext } from './context.js';
import type { CommandOptions } from './options.js';

/** What a command module exports. Gives the exit code. */
export interface CommandModule {
  run(ctx: CommandContext, positionals: readonly string[], options: CommandOptions): Promise<number>;
}

export interface OptionSpec {
  /** As cac takes it: `--wait`, `-f, --follow`, `--timeout <duration>`. */
  readonly flags: string;
  readonly description: string;
  /** What a value must be; a text of any kind by default. */
  readonly value?: 'duration' | 'count' | 'folder' | readonly string[];
  readonly repeatable?: true;
  /** First words that it goes with; all by default. */
  readonly only?: readonly string[];
}

export interface CommandSpec {
  readonly name: string;
  /** As cac takes them: `<...manifest>`, `[sel]`. */
  readonly args?: string;
  /** How it is typed, after the name. */
  readonly usage: string;
  readonly description: string;
  readonly example: string;
  /** Takes `<sel>`, so also `--run-id` and `--ticket`. */
  readonly selector?: 'required' | 'optional';
  /** What the help says of its arguments, a line each; of `<sel>` it says it by itself. */
  readonly notes?: readonly string[];
  /** The only words that the first argument may be. */
  readonly choices?: readonly string[];
  readonly options: readonly OptionSpec[];
  readonly load: () => Promise<CommandModule>;
}

/** Every command takes these. */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  { flags: '--state <dir>', description: 'The state folder', value: 'folder' },
  { flags: '--lock-timeout <duration>', description: 'How long to wait for a run (10s)', value: 'duration' },
  { flags: '--json', description: 'Print machine-readable results on stdout' },
  { flags: '--quiet', description: 'Print no progress, and nothing of what ends well' },
  { flags: '--verbose', description: 'Print every step and what goes on in it' },
  { flags: '--no-color', description: 'Print without colours' },
];

/** What a command with a `<sel>` takes in its place. */
export const SELECTOR_OPTIONS: readonly OptionSpec[] = [
  { flags: '--run-id <id>', description: 'The run with this id' },
  { flags: '--ticket <id>', description: "The ticket's newest run that is not closed, else its newest" },
];

const DRY_RUN: OptionSpec = { flags: '--dry-run', description: 'Show what would be done, change nothing' };
const AGENT: OptionSpec = { flags: '--agent <name>', description: 'Only this agent' };
const OFFLINE: OptionSpec = {
  flags: '--offline',
  description: 'Do not ask any remote; use what was last fetched',
};

const MANIFESTS =
  '<manifest> is a file, or a folder: every *.yaml and *.yml in it, none that begins with _ or .';

export const COMMANDS: readonly CommandSpec[] = [
  {
    name: 'plan',
    args: '<...manifest>',
    usage: '<manifest…> [options]',
    description: 'Show what apply would do now, and change nothing',
    example: 'metawsm plan manifests/login.yaml',
    notes: [MANIFESTS],
    options: [
      { flags: '--detailed-exitcode', description: 'Exit 2 when there are changes' },
      OFFLINE,
      { flags: '--out <file>', description: 'Save the plan, so that apply can execute exactly this one' },
    ],
    load: () => import('./plan.js'),
  },
  {
    name: 'apply',
    args: '<...manifest>',
    usage: '<manifest…> [options]',
    description: 'Create or continue the run, execute what is missing, start the agents',
    example: 'metawsm apply manifests/login.yaml --wait --timeout 30m',
    notes: [
      MANIFESTS,
      'The file of plan --out may stand in its place: exactly that plan is executed, or refused.',
    ],
    options: [
      { flags: '--wait', description: 'Wait until the run is completed, fails or needs an answer' },
      { flags: '--timeout <duration>', description: 'How long to wait (no limit)', value: 'duration' },
      { flags: '--yes', description: 'Agree to everything that apply would ask' },
      { flags: '--new-run', description: 'Start a new run beside the recorded one' },
      { flags: '--concurrency <n>', description: 'How many repos at a time', value: 'count' },
      OFFLINE,
      {
        flags: '--on-exit <what>',
        description: 'What becomes of the agents when apply ends: leave (default) or stop',
        value: ['leave', 'stop'],
      },
    ],
    load: () => import('./apply.js'),
  },
  {
    name: 'status',
    args: '[sel]',
    usage: '[<sel>] [options]',
    description: 'Show where a run stands, and the next command to type',
    example: 'metawsm status LOGIN-7 --watch',
    selector: 'optional',
    options: [
      { flags: '--watch', description: 'Look again and again until the run waits for you' },
      {
        flags: '--exit-code',
        description: "Exit with the run's state: 1 failed, 3 needs an answer, 4 paused or stopped",
      },
    ],
    load: () => import('./status.js'),
  },
  {
    name: 'guide',
    args: '[sel]',
    usage: '<sel> (--answer TEXT | --answer-file FILE) [options]',
    description: "Answer an agent's oldest open question",
    example: "metawsm guide LOGIN-7 --answer 'Use the existing token bucket'",
    selector: 'required',
    options: [
      { flags: '--answer <text>', description: 'The answer' },
      { flags: '--answer-file <file>', description: 'Read the answer from a file, - for stdin' },
      { flags: '--agent <name>', description: "Answer this agent's question" },
      { flags: '--id <id>', description: 'Answer this question' },
    ],
    load: () => import('./guide.js'),
  },
  {
    name: 'logs',
    args: '[sel]',
    usage: '[<sel>] [options]',
    description: 'Print what the agent printed',
    example: 'metawsm logs LOGIN-7 --follow',
    selector: 'optional',
    options: [{ flags: '-f, --follow', description: 'Go on as the agent prints more' }, AGENT],
    load: () => import('./logs.js'),
  },
  {
    name: 'attach',
    args: '[sel]',
    usage: '<sel> [options]',
    description: "Join the agent's live session",
    example: 'metawsm attach LOGIN-7',
    selector: 'required',
    options: [AGENT],
    load: () => import('./attach.js'),
  },
  {
    name: 'runs',
    usage: '[options]',
    description: 'List the newest 20 runs',
    example: 'metawsm runs --ticket LOGIN-7 --all',
    options: [
      { flags: '--ticket <id>', description: 'Only the runs of this ticket' },
      { flags: '--all', description: 'All runs' },
    ],
    load: () => import('./runs.js'),
  },
  {
    name: 'resume',
    args: '[sel]',
    usage: '<sel> [options]',
    description: 'Go on from the recorded step, start the agents that neither live nor completed',
    example: 'metawsm resume LOGIN-7',
    selector: 'required',
    options: [DRY_RUN],
    load: () => import('./resume.js'),
  },
  {
    name: 'stop',
    args: '[sel]',
    usage: '<sel> [options]',
    description: 'Stop the agents',
    example: 'metawsm stop LOGIN-7',
    selector: 'required',
    options: [AGENT, DRY_RUN],
    load: () => import('./stop.js'),
  },
  {
    name: 'restart',
    args: '[sel]',
    usage: '<sel> [options]',
    description: 'Start the agents afresh, with a full restart budget',
    example: 'metawsm restart LOGIN-7 --agent api',
    selector: 'required',
    options: [AGENT, DRY_RUN],
    load: () => import('./restart.js'),
  },
  {
    name: 'verify',
    args: '[sel]',
    usage: '<sel> [options]',
    description: 'Run the command criteria at HEAD, record the evidence; 4 when one fails',
    example: 'metawsm verify LOGIN-7 --concurrency 2',
    selector: 'required',
    options: [{ flags: '--concurrency <n>', description: 'How many criteria at a time', value: 'count' }],
    load: () => import('./verify.js'),
  },
  {
    name: 'iterate',
    args: '[sel]',
    usage: '<sel> --feedback TEXT [options]',
    description: 'Hand feedback to the agents and start them again',
    example: "metawsm iterate LOGIN-7 --feedback 'The limit must be per user'",
    selector: 'required',
    options: [{ flags: '--feedback <text>', description: 'What the agents are told' }, AGENT, DRY_RUN],
    load: () => import('./iterate.js'),
  },
  {
    name: 'close',
    args: '[sel]',
    usage: '<sel> [options]',
    description: 'Pass the gates, deliver the branches, close the ticket, remove the worktrees',
    example: 'metawsm close LOGIN-7 --dry-run',
    selector: 'required',
    options: [DRY_RUN],
    load: () => import('./close.js'),
  },
  {
    name: 'cleanup',
    args: '[sel]',
    usage: '<sel> [options]',
    description: 'Stop the agents and remove the workspace; branches stay',
    example: 'metawsm cleanup LOGIN-7 --dry-run',
    selector: 'required',
    options: [
      { flags: '--keep-workspaces', description: 'Only stop the agents' },
      { flags: '--force', description: 'Remove unsaved work too, after saving it under refs/metawsm/backup' },
      DRY_RUN,
    ],
    load: () => import('./cleanup.js'),
  },
  {
    name: 'report',
    args: '[sel]',
    usage: '<sel> [--html FILE | --markdown] [options]',
    description: 'The run for its ticket or pull request: timeline, evidence, changes',
    example: 'metawsm report LOGIN-7 --html login-7.html',
    selector: 'required',
    options: [
      { flags: '--html <file>', description: 'Write it as one page that needs nothing but itself' },
      { flags: '--markdown', description: 'Print it as Markdown (the default)' },
    ],
    load: () => import('./report.js'),
  },
  {
    name: 'validate',
    args: '<...manifest>',
    usage: '<manifest…>',
    description: 'Check manifests, and nothing else',
    example: 'metawsm validate manifests/login.yaml',
    notes: [MANIFESTS],
    options: [],
    load: () => import('./validate.js'),
  },
  {
    name: 'schema',
    args: '[name]',
    usage: '[name]',
    description: 'Print a schema, for an editor or a program',
    example: 'metawsm schema manifest > manifest.schema.json',
    options: [],
    load: () => import('./schema.js'),
  },
  {
    name: 'signal',
    args: '<kind>',
    usage: 'guidance|complete|validation [options]',
    description: 'For agents, inside a workspace: ask, report completion, attest criteria',
    example: "metawsm signal guidance --question 'Which cache?' --wait",
    choices: ['guidance', 'complete', 'validation'],
    options: [
      { flags: '--question <text>', description: 'guidance: the question', only: ['guidance'] },
      { flags: '--context <text>', description: 'guidance: any JSON, or a text', only: ['guidance'] },
      { flags: '--request-id <id>', description: "guidance: the question's own id", only: ['guidance'] },
      { flags: '--wait', description: 'guidance: wait for the answer and print it', only: ['guidance'] },
      {
        flags: '--timeout <duration>',
        description: 'guidance: how long to wait (no limit)',
        value: 'duration',
        only: ['guidance'],
      },
      { flags: '--summary <text>', description: 'complete: what was done', only: ['complete'] },
      {
        flags: '--status <status>',
        description: 'validation: passed or failed',
        value: ['passed', 'failed'],
        only: ['validation'],
      },
      {
        flags: '--done <criterion>',
        description: 'validation: a criterion that holds (repeatable)',
        repeatable: true,
        only: ['validation'],
      },
      {
        flags: '--check <text>',
        description: 'validation: a check that was made (repeatable)',
        repeatable: true,
        only: ['validation'],
      },
      { flags: '--agent <name>', description: 'The agent that speaks' },
    ],
    load: () => import('./signal.js'),
  },
];

/** All options of a command, its own first. */
export function optionsOf(command: CommandSpec): readonly OptionSpec[] {
  return [...command.options, ...(command.selector ? SELECTOR_OPTIONS : []), ...GLOBAL_OPTIONS];
}
