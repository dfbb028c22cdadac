/** Tells the server what came into view and what was taken in part: VS Code tells extensions neither. */

import {
  type Disposable,
  type InlineCompletionItem,
  type TextDocument,
  type TextDocumentChangeEvent,
  workspace,
} from "vscode";

export type Notify = (method: string, params: unknown) => void;

interface View {
  readonly document: TextDocument;
  readonly item: InlineCompletionItem;
  readonly text: string;
  taken: number;
}

export class Shown implements Disposable {
  private readonly changes = workspace.onDidChangeTextDocument((event) => this.changed(event));
  private view: View | undefined;

  constructor(private readonly notify: Notify) {}

  /** The first suggestion of an answer, about to be drawn; the server counts it where it stays for a while. */
  offer(document: TextDocument, item: InlineCompletionItem | undefined): void {
    this.forget();
    if (item === undefined || typeof item.insertText !== "string") {
      return;
    }
    this.view = { document, item, text: item.insertText, taken: 0 };
    this.notify("textDocument/didShowCompletion", { item: named(item) });
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
