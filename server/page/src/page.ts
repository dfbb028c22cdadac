/** The page: an editor, a suggestion behind its cursor, and beside it what the model was given and how long it took. */

import { defaultKeymap, history, historyKeymap, indentLess, indentMore } from "@codemirror/commands";
import { bracketMatching, indentOnInput, indentUnit } from "@codemirror/language";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers, type ViewUpdate } from "@codemirror/view";

import { draw, ghost, shown } from "./ghost";
import { LANGUAGES } from "./languages";
import { look } from "./look";
import { complete, keepToken, models, tell, TokenWanted, type Answer, type Question } from "./server";

const PAUSE_MS = 120;
const session = `page-${crypto.randomUUID?.() ?? Math.random()}`;

function the<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const adapter = the<HTMLSelectElement>("adapter");
const language = the<HTMLSelectElement>("language");
const mode = the<HTMLSelectElement>("mode");
const status = the<HTMLElement>("status");
const tokenBox = the<HTMLDialogElement>("token-box");

const speaking = new Compartment();
let pause: number | undefined;
let running: AbortController | undefined;

function support(): Extension {
  const chosen = LANGUAGES[language.value]!;
  return [chosen.support(), indentUnit.of(chosen.indent)];
}

function onUpdate(update: ViewUpdate): void {
  if (!update.docChanged && !(update.selectionSet && !shown(update.view))) return;
  window.clearTimeout(pause);
  running?.abort();
  if (shown(update.view)) return; // typed along the suggestion
  pause = window.setTimeout(() => void suggest(), PAUSE_MS);
}

function question(): Question | null {
  const { main } = view.state.selection;
  if (!main.empty) return null;
  return {
    prefix: view.state.sliceDoc(0, main.head),
    suffix: view.state.sliceDoc(main.head),
    language: language.value,
    adapter: adapter.value || null,
    mode: mode.value as Question["mode"],
    session,
    show_prompt: true,
  };
}

async function suggest(): Promise<void> {
  const asked = question();
  if (!asked) return;
  const mine = (running = new AbortController());
  say("Asking…");
  try {
    const answer = await complete(asked, mine.signal);
    if (mine.signal.aborted) return;
    const text = answer.choices[0]!.text;
    draw(view, asked.prefix.length, text);
    if (text) tell("shown", asked.adapter);
    report(answer);
  } catch (error) {
    if (!mine.signal.aborted) fail(error);
  }
}

function report(answer: Answer): void {
  const { usage, timings } = answer;
  const reason = answer.choices[0]!.finish_reason;
  say(answer.choices[0]!.text ? "Tab takes it, Ctrl+Right a word, Esc waves it away." : `Nothing to suggest here (${reason}).`);
  if (answer.prompt !== null) the("prompt").textContent = answer.prompt;
  else the("prompt").textContent = "(answered without asking the model: known from before, or the place wants nothing)";
  const cells: [string, string][] = [
    ["Ended by", reason],
    ["Queue", ms(timings.queue_ms)],
    ["Prompt", `${ms(timings.prefill_ms)} for ${usage.prompt_tokens} tokens, ${usage.cached_tokens} kept`],
    ["Writing", `${ms(timings.decode_ms)} for ${usage.completion_tokens} tokens, ${usage.accepted_tokens} guessed right`],
    ["Total", ms(timings.total_ms)],
  ];
  the("timings").replaceChildren(...cells.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`;
}

function element(name: string, text: string): HTMLElement {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function option(value: string, text: string): HTMLOptionElement {
  return new Option(text, value);
}

function say(text: string): void {
  status.textContent = text;
}

function fail(error: unknown): void {
  if (error instanceof TokenWanted) {
    say("This server asks for a token.");
    if (!tokenBox.open) tokenBox.showModal();
  } else {
    say(error instanceof TypeError ? "The server does not answer: is serve-copilot still running?" : String((error as Error).message));
  }
}

async function begin(): Promise<void> {
  try {
    const found = await models();
    const bare = option("base", `${found.base}, bare`);
    adapter.replaceChildren(option("", "the server's default"), bare, ...found.adapters.map((name) => option(name, name)));
    say("Ready: type.");
  } catch (error) {
    fail(error);
  }
}

language.replaceChildren(...Object.entries(LANGUAGES).map(([id, { name }]) => option(id, name)));

const shadow = the("editor").attachShadow({ mode: "open" }); // its styles are then sheets, which need no inline style
const view = new EditorView({
  parent: shadow,
  root: shadow,
  state: EditorState.create({
    doc: the<HTMLTemplateElement>("example").content.textContent?.trimStart() ?? "",
    extensions: [
      ghost({
        accepted: () => tell("accepted", adapter.value || null),
        dismissed: () => tell("dismissed", adapter.value || null),
      }),
      lineNumbers(),
      history(),
      drawSelection(),
      indentOnInput(),
      bracketMatching(),
      highlightActiveLine(),
      keymap.of([
        { key: "Tab", run: indentMore, shift: indentLess },
        { key: "Alt-\\", run: () => (void suggest(), true) },
        { key: "Ctrl-m", mac: "Shift-Alt-m", run: leave },
        ...defaultKeymap,
        ...historyKeymap,
      ]),
      speaking.of(support()),
      look,
      EditorView.contentAttributes.of({ "aria-label": "Code", "aria-describedby": "status", spellcheck: "false" }),
      EditorView.updateListener.of(onUpdate),
    ],
  }),
});

/** Tab belongs to the editor; this leads out of it by keys alone. */
function leave(): boolean {
  adapter.focus();
  return true;
}

language.addEventListener("change", () => {
  view.dispatch({ effects: speaking.reconfigure(support()) });
  void suggest();
});
adapter.addEventListener("change", () => void suggest());
mode.addEventListener("change", () => void suggest());
the("token-form").addEventListener("submit", () => {
  keepToken(the<HTMLInputElement>("token").value);
  void begin();
});

view.dispatch({ selection: { anchor: view.state.doc.length } });
view.focus();
void begin();
