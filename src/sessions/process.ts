/** An agent as a detached process, where there is no terminal to attach to: CI, cron, no tmux. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { ToolFailure } from '../tools/failure.js';
import { prepareAttempt, voidAttempt } from './attempt.js';
import { openLog, WRAPPER_LOG_FILE } from './records.js';
import type { Launch, SessionDriver } from './session.js';

export function processDriver(wrapper: string, env: NodeJS.ProcessEnv): SessionDriver {
  return {
    kind: 'process',

    async start(launch: Launch) {
      const { sessionName, attemptDir } = launch;
      prepareAttempt(launch, 'process');
      const log = openLog(join(attemptDir, WRAPPER_LOG_FILE));
      try {
        // A session of its own, no pipe to us, nothing of our environment: it outlives us whatever happens.
        const child = spawn(process.execPath, [wrapper, attemptDir], {
          cwd: '/',
          env: wrapperEnv(env),
          detached: true,
          stdio: ['ignore', log, log],
        });
        await once(child, 'spawn');
        child.unref();
      } catch (cause) {
        voidAttempt(attemptDir);
        const summary = (cause as Error).message;
        throw new ToolFailure(process.execPath, [wrapper, attemptDir], '/', null, '', { cause, summary });
      } finally {
        closeSync(log);
      }
      return { sessionName, tmuxSocket: null };
    },

    find: async (sessionName) => ({ sessionName, tmuxSocket: null }),

    // There is nothing but the processes, and those are in the attempt's record.
    exists: async () => 'gone',
    close: async () => {},
    attachArgv: () => null,
  };
}

/** The agent's environment comes from its launch record; these are only for node itself. */
function wrapperEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const names = ['PATH', 'LD_LIBRARY_PATH'];
  return Object.fromEntries(names.flatMap((name) => (env[name] ? [[name, env[name]]] : [])));
}
