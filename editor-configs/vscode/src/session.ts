/** One window's language server from start to end. */

import { type Disposable, type LogOutputChannel, type Memento, type TextEditor, commands, env, window, workspace } from "vscode";
import { type LanguageClient, State } from "vscode-languageclient/node";
import { newClient } from "./client";
import { INSTALL, program } from "./program";
import { SECTION } from "./settings";
import { Shown } from "./shown";
import { type Status, StatusItem } from "./status";
import type { Token } from "./token";

const OFF = "starling.off";
/** Settings that only a new process takes up. */
const STARTED_WITH = ["serverPath", "serverArgs", "serverUrl"];
/** The cursor rests after this long without moving. */
const REST_MS = 300;

export class Session implements Disposable {
  readonly status = new StatusItem();
  private client: LanguageClient | undefined;
  private shown: Shown | undefined;
  private resting: NodeJS.Timeout | undefined;
  /** What was asked for last, after all that was asked for before: two at once would leave a server behind. */
  private turn: Promise<void> = Promise.resolve();
  private readonly watching = [
    workspace.onDidChangeConfiguration((event) => {
      if (STARTED_WITH.some((name) => event.affectsConfiguration(`${SECTION}.${name}`))) {
        void this.restart();
      }
    }),
    workspace.onDidGrantWorkspaceTrust(() => void this.restart()),
    window.onDidChangeActiveTextEditor((editor) => this.moved(editor)),
    window.onDidChangeTextEditorSelection((event) => this.moved(event.textEditor)),
  ];

  constructor(
    private readonly log: LogOutputChannel,
    private readonly memory: Memento,
    private readonly token: Token,
  ) {}

  /** Whether the user turned suggestions off. */
  get off(): boolean {
    return this.memory.get(OFF, false);
  }

  async toggle(): Promise<void> {
    await this.memory.update(OFF, !this.off);
    this.status.say(this.off ? "off" : "ready");
  }

  start(): Promise<void> {
    return this.inTurn(() => this.begin());
  }

  stop(): Promise<void> {
    return this.inTurn(() => this.end());
  }

  restart(): Promise<void> {
    return this.inTurn(async () => {
      await this.end();
      this.status.say("loading");
      await this.begin();
    });
  }

  private inTurn(act: () => Promise<void>): Promise<void> {
    this.turn = this.turn.then(act, act);
    return this.turn;
  }

  private async begin(): Promise<void> {
    const path = program();
    if (path === undefined) {
      void this.missing();
      return;
    }
    this.log.info(`starting ${path}`);
    const client = newClient(path, await this.token.environment(), this.log, {
      off: () => this.off,
      shown: () => this.shown,
      died: (waitMs) => this.status.say("error", `the language server ended; it starts again in ${waitMs / 1_000} s`),
    });
    this.client = client;
    client.onNotification("starling/status", (status: Status) => this.said(status));
    this.shown = new Shown((method, params) => void this.tell(method, params));
    try {
      await client.start();
    } catch (error) {
      this.log.error(String(error));
      this.status.say("error", `${path} did not start; the log says why`);
    }
  }

  private async end(): Promise<void> {
    const { client, shown } = this;
    this.client = this.shown = undefined;
    shown?.dispose();
    await client?.dispose().catch((error: unknown) => this.log.warn(String(error)));
  }

  dispose(): void {
    clearTimeout(this.resting);
    for (const each of [...this.watching, this.status]) {
      each.dispose();
    }
  }

  private said(status: Status): void {
    this.status.show(this.off ? { ...status, kind: "off", message: "" } : status);
  }

  private async tell(method: string, params: unknown): Promise<void> {
    if (this.client?.state === State.Running) {
      await this.client.sendNotification(method, params);
    }
  }

  /** Let the server read ahead where the cursor rests. */
  private moved(editor: TextEditor | undefined): void {
    clearTimeout(this.resting);
    if (editor === undefined || this.off || editor.document.uri.scheme !== "file") {
      return;
    }
    this.resting = setTimeout(() => {
      const { line, character } = editor.selection.active;
      const textDocument = { uri: editor.document.uri.toString() };
      void this.tell("starling/didMoveCursor", { textDocument, position: { line, character } });
    }, REST_MS);
  }

  private async missing(): Promise<void> {
    this.status.say("error", `starling-lsp was not found: ${INSTALL}`);
    this.log.error("starling-lsp is neither in the workspace's .venv or venv nor on PATH");
    const copy = "Copy Install Command";
    const choose = "Set Its Path";
    const sentence = `Starling: the program starling-lsp was not found. Install it with ${INSTALL}, then restart the language server.`;
    const chosen = await window.showWarningMessage(sentence, copy, choose);
    if (chosen === copy) {
      await env.clipboard.writeText(INSTALL);
    } else if (chosen === choose) {
      await commands.executeCommand("workbench.action.openSettings", `${SECTION}.serverPath`);
    }
  }
}
