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
  cli.help((sections) => sections.flatMap((section) => reword(section, commands)));
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
  // A negated option would get the default true from cac, which its help then shows.
  const config = option.flags.startsWith('--no-') ? { default: null } : {};
  command.option(option.flags, option.description, config);
}

type Section = Parameters<NonNullable<Parameters<CAC['help']>[0]>>[0][number];

/** cac's sections in metawsm's words. */
function reword(section: Section, commands: readonly CommandSpec[]): Section[] {
  if (section.title === undefined) {
    return [{ body: 'metawsm: plan and apply for coding-agent work, with evidence before anything closes' }];
  }
  if (section.title === 'Commands') {
    const width = Math.max(...commands.map((command) => command.name.length));
    const rows = commands.map((command) => `  ${command.name.padEnd(width)}  ${command.description}`);
    return [{ title: 'Commands', body: rows.join('\n') }];
  }
  if (section.title.startsWith('For more info')) {
    const rows = EXIT_MEANINGS.map(([code, meaning]) => `  ${String(code).padStart(3)}  ${meaning}`);
    return [
      { title: 'Exit codes', body: rows.join('\n') },
      { body: 'metawsm <command> --help shows the options of a command and an example.' },
    ];
  }
  const body = section.body
    .split('\n')
    .map((line) => line.replace('Display this message', 'Show this help').trimEnd())
    .join('\n');
  return [{ ...section, body }];
}
