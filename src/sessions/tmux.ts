/** An agent in a tmux session that an operator can attach to. */
import { attachSessionArgv, killSession, newSession, sessionState, socketOf } from '../tools/tmux.js';
import { logFileOf, prepareAttempt, voidAttempt } from './attempt.js';
import type { Launch, SessionDriver, SessionRef } from './session.js';

export function tmuxDriver(wrapper: string, env: NodeJS.ProcessEnv): SessionDriver {
  const targetOf = (ref: SessionRef) => ({ name: ref.sessionName, socket: ref.tmuxSocket });
  const driver: SessionDriver = {
    kind: 'tmux',

    async start(launch: Launch) {
      const { sessionName, attemptDir } = launch;
      prepareAttempt(launch, 'tmux');
      try {
        const argv = [process.execPath, wrapper, attemptDir];
        const tmuxSocket = await newSession({ name: sessionName, argv, logFile: logFileOf(attemptDir) }, env);
        return { sessionName, tmuxSocket };
      } catch (error) {
        // A wrapper that came up in spite of it would run an agent that was reported as not started.
        if (voidAttempt(attemptDir) === 'already-claimed') {
          await driver.close({ sessionName, tmuxSocket: null }).catch(() => {});
        }
        throw error;
      }
    },

    find: async (sessionName) => ({ sessionName, tmuxSocket: await socketOf(sessionName, env) }),
    exists: (ref) => sessionState(targetOf(ref), env),
    close: (ref) => killSession(targetOf(ref), env),
    attachArgv: (ref) => attachSessionArgv(targetOf(ref)),
  };
  return driver;
}
