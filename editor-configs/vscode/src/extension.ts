/** Starling in VS Code: activation, commands, and the end. */

import { type ExtensionContext, type LogOutputChannel, commands, window, workspace } from "vscode";
import { showMenu } from "./menu";
import { Session } from "./session";
import { toggleLanguage } from "./settings";
import { Token } from "./token";

const GHOST_TEXT = "editor.inlineSuggest.enabled";
let session: Session | undefined;

export async function activate(context: ExtensionContext): Promise<void> {
  const log = window.createOutputChannel("Starling", { log: true });
  const token = new Token(context.secrets);
  const started = new Session(log, context.globalState, token);
  session = started;
  const registered = Object.entries(actions(started, log, token)).map(([name, action]) => commands.registerCommand(`starling.${name}`, action));
  context.subscriptions.push(log, started, ...registered);
  void warnWithoutGhostText();
  await started.start();
}

export async function deactivate(): Promise<void> {
  await session?.stop();
}

function actions(session: Session, log: LogOutputChannel, token: Token): Record<string, () => unknown> {
  return {
    trigger: () => commands.executeCommand("editor.action.inlineSuggest.trigger"),
    toggle: () => session.toggle(),
    toggleLanguage: toggleActiveLanguage,
    restart: () => session.restart(),
    showLog: () => log.show(),
    menu: () => showMenu(session),
    setToken: async () => (await token.ask()) && session.restart(),
  };
}

async function toggleActiveLanguage(): Promise<void> {
  const language = window.activeTextEditor?.document.languageId;
  if (language === undefined) {
    void window.showInformationMessage("Starling: open a file of the language first.");
    return;
  }
  const on = await toggleLanguage(language);
  window.setStatusBarMessage(`Starling: suggestions for ${language} are ${on ? "on" : "off"}.`, 3_000);
}

/** VS Code draws no ghost text at all with this setting off. */
async function warnWithoutGhostText(): Promise<void> {
  if (workspace.getConfiguration().get(GHOST_TEXT, true)) {
    return;
  }
  const turnOn = "Turn It On";
  const sentence = `Starling: the setting ${GHOST_TEXT} is off, so no suggestion can be shown.`;
  if ((await window.showWarningMessage(sentence, turnOn)) === turnOn) {
    await workspace.getConfiguration().update(GHOST_TEXT, true, true);
  }
}
