/** The status item: what the server says of itself, in one icon and one sentence. */

import { type Disposable, StatusBarAlignment, ThemeColor, window } from "vscode";

export type Kind = "loading" | "ready" | "busy" | "error" | "inactive" | "off";

/** The server's notification `starling/status`. */
export interface Status {
  readonly kind: Kind;
  readonly message: string;
  readonly base: string | null;
  readonly adapter: string | null;
}

const ICONS: Record<Kind, string> = {
  loading: "$(sync~spin)",
  ready: "$(sparkle)",
  busy: "$(loading~spin)",
  error: "$(warning)",
  inactive: "$(circle-slash)",
  off: "$(debug-pause)",
};
const WORDS: Record<Kind, string> = {
  loading: "is getting ready",
  ready: "is ready",
  busy: "is thinking",
  error: "has a problem",
  inactive: "suggests nothing here",
  off: "is turned off",
};

export class StatusItem implements Disposable {
  private readonly item = window.createStatusBarItem("starling.status", StatusBarAlignment.Right, 100);
  private last: Status = { kind: "loading", message: "", base: null, adapter: null };

  constructor() {
    this.item.name = "Starling";
    this.item.command = "starling.menu";
    this.show(this.last);
    this.item.show();
  }

  /** One line for a person. */
  get sentence(): string {
    const { kind, message } = this.last;
    return `Starling ${WORDS[kind]}${message ? `: ${message}` : ""}`;
  }

  show(status: Status): void {
    this.last = status;
    this.item.text = `${ICONS[status.kind]} Starling`;
    this.item.tooltip = this.sentence;
    this.item.accessibilityInformation = { label: this.sentence };
    this.item.backgroundColor = status.kind === "error" ? new ThemeColor("statusBarItem.warningBackground") : undefined;
  }

  say(kind: Kind, message = ""): void {
    this.show({ ...this.last, kind, message });
  }

  dispose(): void {
    this.item.dispose();
  }
}
