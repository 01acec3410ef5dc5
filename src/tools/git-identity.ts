/** Who metawsm's own commits are by. */
import { run } from './git.js';

/**
 * The environment for a commit of metawsm's own: empty where git knows who the caller is, else
 * `metawsm <metawsm@localhost>`.
 */
export async function commitIdentity(cwd: string): Promise<Readonly<Record<string, string>>> {
  const known = async (role: string) => {
    // Without this git invents an identity from the machine's name.
    const args = ['-c', 'user.useConfigOnly=true', 'var', `GIT_${role}_IDENT`];
    return (await run(cwd, args, { okCodes: [0, 1, 128] })).exitCode === 0;
  };
  const env: Record<string, string> = {};
  for (const role of ['AUTHOR', 'COMMITTER']) {
    if (await known(role)) continue;
    env[`GIT_${role}_NAME`] = 'metawsm';
    env[`GIT_${role}_EMAIL`] = 'metawsm@localhost';
  }
  return env;
}
