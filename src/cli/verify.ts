/** `metawsm verify`: run the command criteria at HEAD and record what was found. */
import { Warner } from '../execute/look.js';
import { verifyRun } from '../execute/verify.js';
import { appendStepSummary } from '../report/github.js';
import type { CommandModule } from './commands.js';
import { EXIT } from './exit-codes.js';
import { number } from './options.js';
import { endOfVerify, reportEnd, spelledEnd } from './outcome.js';
import { renderingOf } from './rendering.js';
import { endStream, noting, summaryOf, versionEvent } from './summary.js';
import {
  refuseInsideWorkspace,
  reporterOf,
  selectRun,
  spellingFor,
  warnOfBrokenManifest,
  worldOf,
} from './world.js';

export const run: CommandModule['run'] = async (ctx, positionals, options) => {
  await refuseInsideWorkspace(ctx);
  const begun = ctx.now();
  const { store, stateFolder, run: selected } = await selectRun(ctx, positionals, options);
  const reporter = noting(reporterOf(ctx));
  const world = worldOf(ctx, store, stateFolder, reporter);
  try {
    reporter.emit(versionEvent(ctx));
    await warnOfBrokenManifest(ctx, selected, reporter);
    const verified = await verifyRun(selected.id, world, {
      which: 'all',
      concurrency: number(options, 'concurrency'),
      rendering: renderingOf(ctx),
      lockTimeoutMs: ctx.globals.lockTimeoutMs,
      warner: new Warner(reporter),
    });
    const end = spelledEnd(endOfVerify(verified), await spellingFor(ctx, verified.run, world));
    reportEnd(reporter, end);
    const { run: after } = verified;
    const words = verified.outcome.criteria.filter(
      ({ kind, state }) => kind === 'worded' && state !== 'passed',
    );
    if (end.exitCode === EXIT.done && words.length > 0) {
      const text = `not attested: ${words.map(({ id, voidReason }) => (voidReason === null ? id : `${id} (${voidReason})`)).join(', ')}`;
      reporter.emit({ type: 'note', runId: after.id, text });
    }
    const summary = await summaryOf(ctx, {
      world,
      run: after,
      outcome: verified.outcome,
      ticket: after.ticketId,
      manifest: after.intent.manifestPath,
      exitCode: end.exitCode,
      changed: end.changed,
      error: end.error,
    });
    const problem = await appendStepSummary(ctx.env, [summary]);
    if (problem !== null) {
      reporter.emit({
        type: 'warning',
        runId: null,
        code: 'step_summary',
        message: problem,
        file: null,
      });
    }
    reporter.emit({
      type: 'summary',
      exitCode: end.exitCode,
      durationMs: ctx.now() - begun,
      runs: [summary],
    });
    return end.exitCode;
  } catch (error) {
    return await endStream(ctx, reporter, error, { run: selected, world, begun });
  } finally {
    await store.close();
  }
};
