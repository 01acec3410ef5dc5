/** The help: cac declares the commands and lays the help out, this file gives it its words. */
import { type CAC, type Command, cac } from 'cac';
import { COMMANDS, type CommandSpec, GLOBAL_OPTIONS, type OptionSpec, SELECTOR_OPTIONS } from './commands.js';
import { EXIT_MEANINGS } from './exit-codes.js';

/** The commands as cac knows them. */
export interface Declared {
  readonly cli: CAC;
  readonly specs: ReadonlyMap<Command, CommandSpec>;
}

/** Declares a table of commands with cac. Nothing is parsed, nothing run. */
export function declareCommands(commands: readonly CommandSpec[]): Declared {
  const cli = cac('metawsm');
  const specs = new Map<Command, CommandSpec>();
  for (const spec of commands) {
    const command = cli.command([spec.name, spec.args].filter(Boolean).join(' '), spec.description);
    command.usage(`${spec.name} ${spec.usage}`).example(`  $ ${spec.example}`);
    for (const option of [...spec.options, ...(spec.selector ? SELECTOR_OPTIONS : [])])
      declare(command, option);
    specs.set(command, spec);
  }
  cli.usage('<command> [options]');
  for (const option of GLOBAL_OPTIONS) declare(cli.globalCommand, option);
  cli.help((sections) => reword(sections, commands, cli.matchedCommand && specs.get(cli.matchedCommand)));
  cli.globalCommand.option('--version', 'Print the version');
  return { cli, specs };
}

/** Prints the help of a command on stdout; null: of the program. */
export function printHelp(command: CommandSpec | null): void {
  const { cli, specs } = declareCommands(COMMANDS);
  for (const [declared, spec] of specs) {
    if (spec === command) cli.matchedCommand = declared;
  }
  cli.outputHelp();
}

/** `metawsm guide <sel> …` */
export function usageLine(command: CommandSpec | null): string {
  return command === null ? 'metawsm <command> [options]' : `metawsm ${command.name} ${command.usage}`;
}

function declare(command: Command, option: OptionSpec): void {
  command.option(option.flags, option.description);
}

type Section = Parameters<NonNullable<Parameters<CAC['help']>[0]>>[0][number];

/** cac's sections in metawsm's words and order. */
function reword(
  sections: readonly Section[],
  commands: readonly CommandSpec[],
  asked?: CommandSpec,
): Section[] {
  const find = (title: string): Section[] => sections.filter((section) => section.title === title);
  const options = find('Options').map((section) => ({
    title: 'Options',
    // cac gives every negated option the default true, and words its own option.
    body: section.body
      .split('\n')
      .map((line) =>
        line.replace('(default: true)', '').replace('Display this message', 'Show this help').trimEnd(),
      )
      .join('\n'),
  }));
  if (asked) {
    const notes =
      asked.notes ?? (asked.selector ? ['<sel> is a manifest path, a run id or a ticket id.'] : []);
    const usage = find('Usage').map((section) => ({
      ...section,
      body: [section.body, ...notes.map((note, index) => `${index === 0 ? '\n' : ''}  ${note}`)].join('\n'),
    }));
    return [{ body: asked.description }, ...usage, ...options, ...find('Examples')];
  }
  const width = Math.max(...commands.map((command) => command.name.length));
  const rows = commands.map((command) => `  ${command.name.padEnd(width)}  ${command.description}`);
  const codes = EXIT_MEANINGS.map(([code, meaning]) => `  ${String(code).padStart(3)}  ${meaning}`);
  return [
    { body: 'metawsm: plan and apply for coding-agent work, with evidence before anything closes' },
    ...find('Usage'),
    { title: 'Commands', body: rows.join('\n') },
    ...options,
    { title: 'Exit codes', body: codes.join('\n') },
    { body: 'metawsm <command> --help shows the options of a command and an example.' },
  ];
}
