/** `metawsm plan`: what apply would do now. Writes nothing. */
import { existsSync } from 'node:fs';
import { isFinished, prepare, unknownIdentity } from '../execute/prepare.js';
import type { Intent } from '../manifest/intent.js';
import { hasChanges, type Plan } from '../plan/plan.js';
import type { RecordedRun } from '../plan/recorded.js';
import { paint } from '../report/paint.js';
import { planDocument, plansDocument } from '../report/plan-json.js';
import { planText } from '../report/plan-text.js';
import { Store } from '../state/store.js';
import { safeText } from '../tools/files.js';
import type { CommandModule } from './commands.js';
import type { CommandContext } from './context.js';
import { EXIT, worst } from './exit-codes.js';
import { loadManifests } from './manifests.js';
import { flag } from './options.js';
import { impossible } from './outcome.js';
import { refuseInsideWorkspace, stateFolderOf, storeOptions } from './world.js';

export const run: CommandModule['run'] = async (ctx, files, options) => {
  await refuseInsideWorkspace(ctx);
  const intents = await loadManifests(ctx, files);
  const plans: Plan[] = [];
  for (const intent of intents) plans.push(await planFor(ctx, intent, flag(options, 'offline')));

  if (ctx.json && plans.some((plan) => plan.problems.length > 0)) throw impossible(plans);
  if (ctx.json) {
    const [only] = plans;
    const document = plans.length === 1 && only !== undefined ? planDocument(only) : plansDocument(plans);
    ctx.stdout(`${JSON.stringify(document)}\n`);
  } else {
    const colours = paint(ctx.color);
    ctx.stdout(plans.map((plan) => printable(planText(plan, colours, { verbose: ctx.verbose }))).join('\n'));
  }
  return worst(plans.map((plan) => exitCodeOf(plan, flag(options, 'detailedExitcode'))));
};

/** The plan of one manifest, from a look at the record that leaves no trace. */
async function planFor(ctx: CommandContext, intent: Intent, offline: boolean): Promise<Plan> {
  const folder = await stateFolderOf(ctx, intent.manifestPath);
  const store = folder.exists ? await Store.openReadOnly(folder.path, storeOptions(ctx)) : null;
  try {
    const { recorded, conflict } = await recordedFor(store, intent);
    const prepared = await prepare(
      intent,
      recorded,
      { kind: 'apply' },
      {
        stateFolder: folder.path,
        env: { ...ctx.env },
        now: ctx.now,
        offline,
        signal: ctx.signal,
        identity: unknownIdentity(ctx.now()),
      },
    );
    if (conflict === null) return prepared.plan;
    const refusal = {
      code: 'ticket_taken',
      message: `ticket ${intent.ticket.id} has the open run ${conflict.id} of the manifest ${conflict.manifestPath}`,
      wayOut: 'apply that manifest, end its run with metawsm cleanup, or apply --new-run',
    };
    return { ...prepared.plan, steps: [], refused: [refusal, ...prepared.plan.refused] };
  } finally {
    await store?.close();
  }
}

async function recordedFor(
  store: Store | null,
  intent: Intent,
): Promise<{ readonly recorded: RecordedRun | null; readonly conflict: RecordedRun | null }> {
  if (store === null) return { recorded: null, conflict: null };
  const found = await store.resolveManifestRun(intent.manifestPath, intent.ticket.id, existsSync);
  if (found.kind === 'none') return { recorded: null, conflict: null };
  if (found.kind === 'conflict') return { recorded: null, conflict: found.run };
  const anew = found.run.state === 'closed' && !isFinished(found.run, intent);
  return { recorded: anew ? null : found.run, conflict: found.conflict };
}

function exitCodeOf(plan: Plan, detailed: boolean): number {
  if (plan.problems.length > 0) return EXIT.failed;
  if (plan.refused.length > 0) return EXIT.refused;
  return detailed && hasChanges(plan) ? EXIT.changes : EXIT.done;
}

/** Texts of the manifest may hold anything; the colours are metawsm's own. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: SGR sequences are what is looked for.
  const parts = text.split(/(\x1b\[\d+m)/);
  return parts.map((part, index) => (index % 2 === 1 ? part : safeText(part))).join('');
}
