/** `metawsm plan`: what apply would do now. Writes nothing. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { isFinished, newIdentity, prepare, unknownIdentity } from '../execute/prepare.js';
import { readSavedPlan, type SavedPlan, sealsOf } from '../execute/saved-plan.js';
import type { Intent } from '../manifest/intent.js';
import type { Identity } from '../plan/draft.js';
import { hasChanges, type Plan } from '../plan/plan.js';
import type { RecordedRun } from '../plan/recorded.js';
import type { Refusal } from '../plan/steps.js';
import { paint } from '../report/paint.js';
import { planDocument, plansDocument } from '../report/plan-json.js';
import { planText } from '../report/plan-text.js';
import type { LockHolder } from '../state/locks.js';
import { Store } from '../state/store.js';
import type { CommandModule } from './commands.js';
import type { CommandContext } from './context.js';
import { CommandError } from './errors.js';
import { EXIT, worst } from './exit-codes.js';
import { loadManifests } from './manifests.js';
import { flag, text } from './options.js';
import { impossible, spelledPlan } from './outcome.js';
import { refuseInsideWorkspace, spellingFor, stateFolderOf, storeOptions, writeAsked } from './world.js';

export const run: CommandModule['run'] = async (ctx, files, options) => {
  await refuseInsideWorkspace(ctx);
  const manifests = await loadManifests(ctx, files);
  const out = text(options, 'out');
  if (out !== null && manifests.length !== 1) throw wrongOut('--out saves the plan of one manifest');
  const plans: Plan[] = [];
  const taken = new Map<string, string>();
  for (const { intent, warnings } of manifests) {
    const plan = await planFor(ctx, intent, flag(options, 'offline'), out, taken);
    plans.push({ ...plan, warnings: [...warnings, ...plan.warnings] });
  }

  const failed = plans.some((plan) => plan.problems.length > 0);
  if (ctx.json && failed) throw impossible(plans);
  if (ctx.json) {
    const [only] = plans;
    const document = plans.length === 1 && only !== undefined ? planDocument(only) : plansDocument(plans);
    ctx.stdout(`${JSON.stringify(document)}\n`);
  } else {
    const colours = paint(ctx.color);
    ctx.stdout(plans.map((plan) => planText(plan, colours, { verbose: ctx.verbose })).join('\n'));
  }
  if (out !== null && !ctx.json && plans.every(canBeSaved)) {
    ctx.stderr(`saved in ${out}; metawsm apply ${out} executes exactly this plan\n`);
  }
  if (failed) throw impossible(plans);
  return worst(plans.map((plan) => exitCodeOf(plan, flag(options, 'detailedExitcode'))));
};

/** A plan that would execute nothing is not kept. */
function canBeSaved(plan: Plan): boolean {
  return plan.refused.length === 0 && plan.problems.length === 0;
}

/**
 * The plan of one manifest, from a look at the record that leaves no trace. `taken`: the manifests before it whose
 * runs will be open then, by state folder and ticket.
 */
async function planFor(
  ctx: CommandContext,
  intent: Intent,
  offline: boolean,
  out: string | null,
  taken: Map<string, string>,
): Promise<Plan> {
  const folder = await stateFolderOf(ctx, intent.manifestPath);
  const store = folder.exists ? await Store.openReadOnly(folder.path, storeOptions(ctx)) : null;
  try {
    const { recorded, own, conflict } = await recordedFor(store, intent);
    const holder = store === null || recorded === null ? null : await store.lockOwner(`run:${recorded.id}`);
    // A plan that is to be executed as it is decides its names now.
    const identity = out === null ? unknownIdentity(ctx.now()) : newIdentity(ctx.now());
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
        identity,
      },
    );
    const named = conflict ?? recorded;
    const spell =
      store === null || named === null ? null : await spellingFor(ctx, named, { stateFolder: folder.path });
    const spelled = (plan: Plan): Plan => (spell === null ? plan : spelledPlan(plan, spell));
    const plan = spelled(beside(prepared.plan, holder));
    const place = JSON.stringify([folder.path, intent.ticket.id]);
    const refusal = ticketTaken(intent, own, conflict, taken.get(place) ?? null);
    // Refused whatever is missing besides, as by apply.
    if (refusal !== null) {
      return spelled({ ...plan, steps: [], problems: [], refused: [refusal, ...plan.refused] });
    }
    if (canBeSaved(plan) && (plan.isNew || recorded?.state !== 'closed')) taken.set(place, plan.manifest);
    if (out !== null) await save(ctx, out, plan, recorded, identity, offline, folder.path);
    return plan;
  } finally {
    await store?.close();
  }
}

/** A plan made while another process changes the run shows what that has not done yet, and says so. */
function beside(plan: Plan, holder: LockHolder | null): Plan {
  if (holder === null || !hasChanges(plan)) return plan;
  const message = `process ${holder.pid} on ${holder.host} (metawsm ${holder.command}) is changing this run: this is what it has not finished yet`;
  return { ...plan, warnings: [...plan.warnings, { code: 'busy', message, file: null }] };
}

/** Why a manifest gets no run: its ticket has an open one of another, or will have it by then. */
function ticketTaken(
  { ticket }: Intent,
  own: boolean,
  conflict: RecordedRun | null,
  earlier: string | null,
): Refusal | null {
  const code = 'ticket_taken';
  if (conflict !== null) {
    return {
      code,
      message: `ticket ${ticket.id} has the open run ${conflict.id} of the manifest ${conflict.manifestPath}`,
      wayOut: `apply that manifest, end its run with metawsm cleanup ${conflict.selector}, or say --new-run`,
    };
  }
  if (own || earlier === null) return null;
  return {
    code,
    message: `ticket ${ticket.id} will have an open run of the manifest ${earlier}, which comes first`,
    wayOut: 'apply one manifest for a ticket, or this one with --new-run',
  };
}

/** Write the plan into the one file that plan may write. */
async function save(
  ctx: CommandContext,
  out: string,
  plan: Plan,
  recorded: RecordedRun | null,
  identity: Identity,
  offline: boolean,
  state: string,
): Promise<void> {
  if (!canBeSaved(plan)) return;
  const file = resolve(ctx.cwd, out);
  if (/\.ya?ml$/.test(file)) throw wrongOut(`${out} is the name of a manifest`);
  if (existsSync(file) && (await readSavedPlan(file)) === null) {
    throw wrongOut(`${out} exists and is no saved plan`);
  }
  const saved: SavedPlan = {
    format_version: 1,
    kind: 'saved_plan',
    metawsm: ctx.version,
    created_at: new Date(ctx.now()).toISOString(),
    manifest: plan.manifest,
    state,
    offline,
    identity,
    seals: await sealsOf(plan, recorded),
    plan: planDocument(plan),
  };
  await writeAsked('plan', file, `${JSON.stringify(saved, null, 2)}\n`, 0o600);
}

function wrongOut(message: string): CommandError {
  return new CommandError({
    exitCode: EXIT.usage,
    code: 'usage',
    message,
    hint: 'name one manifest, and a file for its plan, such as --out login.plan',
  });
}

interface Found {
  readonly recorded: RecordedRun | null;
  /** The run is recorded under this manifest's own path. */
  readonly own: boolean;
  /** The open run of another manifest that holds the ticket. */
  readonly conflict: RecordedRun | null;
}

async function recordedFor(store: Store | null, intent: Intent): Promise<Found> {
  const none: Found = { recorded: null, own: false, conflict: null };
  if (store === null) return none;
  const found = await store.resolveManifestRun(intent.manifestPath, intent.ticket.id, existsSync);
  if (found.kind === 'none') return none;
  if (found.kind === 'conflict') return { ...none, conflict: found.run };
  const { run, via, conflict } = found;
  if (isFinished(run, intent)) return { recorded: run, own: true, conflict: null };
  if (run.state === 'closed') return { ...none, conflict };
  return { recorded: run, own: via === 'path', conflict };
}

function exitCodeOf(plan: Plan, detailed: boolean): number {
  if (plan.refused.length > 0) return EXIT.refused;
  return detailed && hasChanges(plan) ? EXIT.changes : EXIT.done;
}
