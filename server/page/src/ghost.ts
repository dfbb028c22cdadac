/** Ghost text: one suggestion behind the cursor, drawn but not part of the document. */

import { EditorSelection, Prec, StateEffect, StateField, type Extension, type Transaction } from "@codemirror/state";
import { Decoration, EditorView, keymap, WidgetType, type DecorationSet } from "@codemirror/view";

interface Ghost {
  at: number;
  text: string;
}

const show = StateEffect.define<Ghost | null>();

class Drawn extends WidgetType {
  constructor(readonly text: string) {
    super();
  }

  override eq(other: Drawn): boolean {
    return other.text === this.text;
  }

  toDOM(): HTMLElement {
    const element = document.createElement("span");
    element.className = "ghost";
    element.textContent = this.text;
    return element;
  }

  override ignoreEvent(): boolean {
    return false;
  }
}

/** What is left of the suggestion after a transaction: all of it, the rest of what was typed, or nothing. */
function after(ghost: Ghost | null, transaction: Transaction): Ghost | null {
  for (const effect of transaction.effects) if (effect.is(show)) return effect.value;
  if (!ghost) return null;
  if (!transaction.docChanged) return transaction.selection && !isAt(transaction, ghost.at) ? null : ghost;
  const typed = typedAt(transaction, ghost.at);
  if (!typed || !ghost.text.startsWith(typed) || typed === ghost.text) return null;
  return { at: ghost.at + typed.length, text: ghost.text.slice(typed.length) };
}

function isAt(transaction: Transaction, at: number): boolean {
  const { main } = transaction.newSelection;
  return main.empty && main.head === at;
}

/** Text that a transaction only inserts at `at`; empty where it does anything else. */
function typedAt(transaction: Transaction, at: number): string {
  let found = "";
  let others = false;
  transaction.changes.iterChanges((from, to, _from, _to, inserted) => {
    if (from === at && to === at && !found) found = inserted.toString();
    else others = true;
  });
  return others ? "" : found;
}

const field = StateField.define<Ghost | null>({
  create: () => null,
  update: after,
  provide: (self) => EditorView.decorations.from(self, drawing),
});

function drawing(ghost: Ghost | null): DecorationSet {
  if (!ghost) return Decoration.none;
  return Decoration.set(Decoration.widget({ widget: new Drawn(ghost.text), side: 1 }).range(ghost.at));
}

export function shown(view: EditorView): string {
  return view.state.field(field)?.text ?? "";
}

/** Draw `text` at `at`, where the cursor still is; an empty one takes away what is there. */
export function draw(view: EditorView, at: number, text: string): void {
  view.dispatch({ effects: show.of(text ? { at, text } : null) });
}

/** Put `size` characters of the suggestion into the document; false where there is none. */
function take(view: EditorView, size: (text: string) => number): string {
  const ghost = view.state.field(field);
  if (!ghost) return "";
  const text = ghost.text.slice(0, size(ghost.text));
  view.dispatch({
    changes: { from: ghost.at, insert: text },
    selection: EditorSelection.cursor(ghost.at + text.length),
    userEvent: "input.complete",
    scrollIntoView: true,
  });
  return text;
}

function word(text: string): number {
  return /^\s*(?:\w+|[^\w\s]+)/.exec(text)?.[0].length ?? text.length;
}

/** Told of what was done with a suggestion. */
export interface Outcome {
  accepted(): void;
  dismissed(): void;
}

export function ghost(outcome: Outcome): Extension {
  const accept = (size: (text: string) => number) => (view: EditorView) => {
    const all = shown(view);
    if (!take(view, size)) return false;
    if (shown(view).length < all.length && !shown(view)) outcome.accepted();
    return true;
  };
  const dismiss = (view: EditorView) => {
    if (!shown(view)) return false;
    draw(view, 0, "");
    outcome.dismissed();
    return true;
  };
  const keys = [
    { key: "Tab", run: accept((text) => text.length) },
    { key: "Ctrl-ArrowRight", run: accept(word) },
    { key: "Alt-ArrowRight", run: accept(word) },
    { key: "Escape", run: dismiss },
  ];
  return [field, Prec.highest(keymap.of(keys))];
}
