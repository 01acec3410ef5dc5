/**
 * Whether git accepts a name for a branch: the rules of git-check-ref-format(1) and of `git branch`, and no part too
 * long for a file name (git keeps refs as files, and locks them as `<name>.lock`).
 */
export function isValidBranchName(name: string): boolean {
  if (name === '' || name === '@' || name === 'HEAD' || name.startsWith('-')) return false;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: git refuses them
  if (/[\u0000-\u0020\u007f~^:?*[\\]|\.\.|@\{|\p{Cs}/u.test(name) || name.endsWith('.')) return false;
  if (Buffer.byteLength(name) > 1000) return false;
  return name
    .split('/')
    .every(
      (part) =>
        part !== '' && !part.startsWith('.') && !part.endsWith('.lock') && Buffer.byteLength(part) <= 250,
    );
}

/** What a branch template is filled in with. */
export interface BranchValues {
  readonly workspace: string;
  readonly ticket: string;
  readonly token: string;
  readonly repo: string;
}

export const BRANCH_PLACEHOLDERS: readonly (keyof BranchValues)[] = ['workspace', 'ticket', 'token', 'repo'];

/** The branch that a template (`task/{workspace}`) yields. The template has been validated. */
export function fillBranch(template: string, values: BranchValues): string {
  return template.replace(/\{(\w+)\}/g, (text, name: string) =>
    Object.hasOwn(values, name) ? values[name as keyof BranchValues] : text,
  );
}
