/** `metawsm report <sel>`: the run as Markdown on stdout, as a page in a file, or as a document. Only reads. */
import { resolve } from 'node:path';
import { gatherReport } from '../execute/report-data.js';
import { appendReport } from '../report/github.js';
import { reportHtml } from '../report/report-html.js';
import { reportDocument } from '../report/report-json.js';
import { reportMarkdown } from '../report/report-markdown.js';
import { reportOf } from '../report/report-model.js';
import type { CommandModule } from './commands.js';
import { wrongUsage } from './errors.js';
import { EXIT } from './exit-codes.js';
import { flag, text } from './options.js';
import { refuseInsideWorkspace, selectRun, warnOfNamedManifest, writeAsked } from './world.js';

export const run: CommandModule['run'] = async (ctx, positionals, options) => {
  const page = text(options, 'html');
  const markdown = flag(options, 'markdown');
  if (page !== null && markdown) throw wrongUsage('report', 'either --html or --markdown');
  if (ctx.json && markdown) throw wrongUsage('report', 'either --json or --markdown');
  if (page === '' || page === '-') throw wrongUsage('report', '--html takes the name of a file');
  await refuseInsideWorkspace(ctx);

  const { store, stateFolder, run: selected } = await selectRun(ctx, positionals, options, 'read');
  try {
    await warnOfNamedManifest(ctx, positionals, selected);
    const { env, now, version } = ctx;
    const report = reportOf(
      await gatherReport(selected, { store, stateFolder, env: { ...env }, now, version }),
    );
    if (page !== null) {
      const file = resolve(ctx.cwd, page);
      await writeAsked('report', file, reportHtml(report));
      if (!ctx.json && !ctx.quiet) ctx.stdout(`${file}\n`);
    }
    if (ctx.json) ctx.stdout(`${JSON.stringify(reportDocument(report))}\n`);
    // The shortest is a few hundred lines at most: without a limit there always is one.
    else if (page === null) ctx.stdout(reportMarkdown(report) ?? reportMarkdown(report, Infinity) ?? '');
    const problem = await appendReport(env, (mostBytes) => reportMarkdown(report, mostBytes));
    if (problem !== null) ctx.stderr(`warning: ${problem}\n`);
    return EXIT.done;
  } finally {
    await store.close();
  }
};
