/** What the page asks of the server that it came from; the wire's types are those of /openapi.json. */

export interface Question {
  prefix: string;
  suffix: string;
  language: string;
  adapter: string | null;
  mode: "auto" | "line" | "block";
  session: string;
  show_prompt: true;
}

export interface Answer {
  base: string;
  adapter: string | null;
  choices: { text: string; finish_reason: string }[];
  usage: Record<"prompt_tokens" | "cached_tokens" | "completion_tokens" | "drafted_tokens" | "accepted_tokens", number>;
  timings: Record<"queue_ms" | "prefill_ms" | "decode_ms" | "total_ms", number>;
  prompt: string | null;
}

export interface Models {
  base: string;
  adapters: string[];
}

/** The server wants a token, or another one. */
export class TokenWanted extends Error {}

const KEPT = "starling-token";

/** Kept as long as the tab is open, and sent with every request from then on. */
export function keepToken(token: string): void {
  sessionStorage.setItem(KEPT, token);
}

export function complete(question: Question, signal: AbortSignal): Promise<Answer> {
  return ask<Answer>("/complete", { method: "POST", body: JSON.stringify(question), signal });
}

export function models(): Promise<Models> {
  return ask<Models>("/ready", {});
}

/** Counts what became of a suggestion; no text is sent, and nobody waits for it. */
export function tell(event: "shown" | "accepted" | "dismissed", adapter: string | null): void {
  ask("/v1/events", { method: "POST", body: JSON.stringify({ event, adapter }) }).catch(() => undefined);
}

async function ask<T>(path: string, options: RequestInit): Promise<T> {
  const token = sessionStorage.getItem(KEPT);
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (token) headers["authorization"] = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) throw new TokenWanted();
  if (answer.status === 204) return undefined as T;
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail ?? `The server answered ${answer.status}.`);
  return body as T;
}
