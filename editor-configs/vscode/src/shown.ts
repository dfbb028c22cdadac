/** Tells the server what came into view and what was taken in part: VS Code tells extensions neither. */

import {
  type Disposable,
  type InlineCompletionItem,
  type Position,
  type TextDocument,
  type TextDocumentChangeEvent,
  workspace,
} from "vscode";

/** A suggestion that stays this long counts as shown. */
const SEEN_MS = 300;

export type Notify = (method: string, params: unknown) => void;

interface View {
  readonly document: TextDocument;
  readonly at: Position;
  readonly item: InlineCompletionItem;
  readonly text: string;
  taken: number;
}

export class Shown implements Disposable {
  private readonly changes = workspace.onDidChangeTextDocument((event) => this.changed(event));
  private view: View | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly notify: Notify) {}

  /** The first suggestion of an answer, about to be drawn. */
  offer(document: TextDocument, at: Position, item: InlineCompletionItem | undefined): void {
    this.forget();
    if (item === undefined || typeof item.insertText !== "string") {
      return;
    }
    const view = { document, at: item.range?.start ?? at, item, text: item.insertText, taken: 0 };
    this.view = view;
    this.timer = setTimeout(() => this.notify("textDocument/didShowCompletion", { item: named(item) }), SEEN_MS);
  }

  /** A word or a line was taken: one edit of several characters that the suggestion goes on with. */
  private changed(event: TextDocumentChangeEvent): void {
    const { view } = this;
    if (view === undefined || event.document !== view.document || event.contentChanges.length === 0) {
      return;
    }
    const inserted = event.contentChanges.map((change) => change.text).join("");
    const rest = view.text.slice(view.taken);
    if (inserted === "" || !rest.startsWith(inserted) || inserted.length === rest.length) {
      this.forget();
      return;
    }
    view.taken += inserted.length;
    if (inserted.length > 1) {
      const accepted = { item: named(view.item), acceptedLength: view.taken };
      this.notify("textDocument/didPartiallyAcceptCompletion", accepted);
    }
  }

  private forget(): void {
    clearTimeout(this.timer);
    this.view = undefined;
  }

  dispose(): void {
    this.forget();
    this.changes.dispose();
  }
}

/** What the server knows an item by; its text stays here. */
function named(item: InlineCompletionItem): unknown {
  return { insertText: "", command: { command: item.command?.command, arguments: item.command?.arguments } };
}
