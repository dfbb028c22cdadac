/** The language client: how the server is started, what it is asked, and what happens when it dies. */

import {
  type CancellationToken,
  type InlineCompletionContext,
  type InlineCompletionItem,
  type InlineCompletionList,
  InlineCompletionTriggerKind,
  type LogOutputChannel,
  type Position,
  type TextDocument,
  window,
} from "vscode";
import {
  CloseAction,
  ErrorAction,
  type ErrorHandler,
  LanguageClient,
  type LanguageClientOptions,
  RevealOutputChannelOn,
} from "vscode-languageclient/node";
import { SECTION, enabled, serverOptions, settings } from "./settings";
import type { Shown } from "./shown";

const SCHEMES = ["file", "untitled", "vscode-notebook-cell"];
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
/** A server that lived this long was well. */
const WELL_MS = 60_000;

type Items = InlineCompletionItem[] | InlineCompletionList | null | undefined;

export interface Watcher {
  readonly off: () => boolean;
  readonly died: (waitMs: number) => void;
  readonly shown: () => Shown | undefined;
}

/** A client of the program at `path`, which gets to know `environment` too; not started. */
export function newClient(
  path: string,
  environment: Readonly<Record<string, string>>,
  log: LogOutputChannel,
  watcher: Watcher,
): LanguageClient {
  const args = [...settings().serverArgs];
  const options: LanguageClientOptions = {
    documentSelector: SCHEMES.map((scheme) => ({ scheme })),
    initializationOptions: serverOptions(),
    outputChannel: log,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    errorHandler: new Patience(watcher),
    initializationFailedHandler: () => false,
    middleware: {
      provideInlineCompletionItems: (document, position, context, token, next) =>
        provide(watcher, document, position, context, token, next),
      workspace: { configuration: (params) => params.items.map((item) => (item.section === SECTION ? serverOptions() : null)) },
    },
  };
  return new LanguageClient("starling", "Starling", { command: path, args, options: { env: { ...process.env, ...environment } } }, options);
}

/** The server's answer, where one is wanted at all. */
async function provide(
  watcher: Watcher,
  document: TextDocument,
  position: Position,
  context: InlineCompletionContext,
  token: CancellationToken,
  next: (d: TextDocument, p: Position, c: InlineCompletionContext, t: CancellationToken) => PromiseLike<Items> | Items,
): Promise<Items> {
  const automatic = context.triggerKind === InlineCompletionTriggerKind.Automatic;
  if (watcher.off() || !enabled(document.languageId) || selecting() || (automatic && settings().triggerMode === "manual")) {
    return null;
  }
  const items = await next(document, position, context, token);
  if (!token.isCancellationRequested) {
    watcher.shown()?.offer(document, Array.isArray(items) ? items[0] : items?.items[0]);
  }
  return items;
}

/** Several cursors, or text that the next key would replace. */
function selecting(): boolean {
  const selections = window.activeTextEditor?.selections ?? [];
  return selections.length > 1 || selections.some((selection) => !selection.isEmpty);
}

/** Starts a server that died again, each time after twice the pause. */
class Patience implements ErrorHandler {
  private wait = FIRST_WAIT_MS;
  private since = Date.now();

  constructor(private readonly watcher: Watcher) {}

  error(): { action: ErrorAction; handled: boolean } {
    return { action: ErrorAction.Continue, handled: true };
  }

  async closed(): Promise<{ action: CloseAction; handled: boolean }> {
    this.wait = Date.now() - this.since > WELL_MS ? FIRST_WAIT_MS : this.wait;
    this.watcher.died(this.wait);
    await new Promise((resolve) => setTimeout(resolve, this.wait));
    this.wait = Math.min(2 * this.wait, LONGEST_WAIT_MS);
    this.since = Date.now();
    return { action: CloseAction.Restart, handled: true };
  }
}
