/** The options of one command line, as a command reads them. */

/**
 * The given options by their camelCase name: a flag is `true`, a text is as typed, a duration is in
 * milliseconds, a repeatable one is a list. What was not given is absent.
 */
export type CommandOptions = Readonly<Record<string, string | number | true | readonly string[]>>;

/** How a command names its run: as typed, or by one of the two flags. */
export type Selector =
  | { readonly kind: 'any'; readonly text: string }
  | { readonly kind: 'run'; readonly id: string }
  | { readonly kind: 'ticket'; readonly id: string };

/** The run that a command line names; null: none. */
export function selectorOf(positionals: readonly string[], options: CommandOptions): Selector | null {
  if (typeof options.runId === 'string') return { kind: 'run', id: options.runId };
  if (typeof options.ticket === 'string') return { kind: 'ticket', id: options.ticket };
  const [text] = positionals;
  return text === undefined ? null : { kind: 'any', text };
}

/** Whether a flag was given. */
export function flag(options: CommandOptions, name: string): boolean {
  return options[name] === true;
}

/** The text of an option, or null. */
export function text(options: CommandOptions, name: string): string | null {
  const value = options[name];
  return typeof value === 'string' ? value : null;
}

/** The number of an option (a duration: milliseconds), or null. */
export function number(options: CommandOptions, name: string): number | null {
  const value = options[name];
  return typeof value === 'number' ? value : null;
}

/** The texts of a repeatable option. */
export function texts(options: CommandOptions, name: string): readonly string[] {
  const value = options[name];
  return Array.isArray(value) ? value : [];
}
