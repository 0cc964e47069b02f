// What the admin routes answer, as far as the page reads it. A test holds these names against real answers.
export type Instant = string; // ISO 8601

export interface Whoami {
  app: string;
  version: string;
  prefix: string;
  running: boolean;
  stopped: { error: string; message: string } | null;
}

export interface Way {
  command: string[];
  effect: string;
}

export interface Root {
  cause: string;
  needs_a_person: boolean;
  text: string;
  detail: string | null;
  since: Instant | null;
  id: string | null;
  name: string | null;
  status: string | null;
  ways: Way[];
}

export interface Group extends Root {
  alike: number;
  behind: number;
  other_keys: string[];
}

export interface Trouble {
  headline: string;
  cut: boolean;
  causes: Group[];
}

export interface Diagnosis extends Root {
  subject: string;
  chain: { id: string; name: string; text: string }[];
  other_causes: number;
  behind: number;
  behind_since: Instant | null;
  callers: string[];
  more_callers: number;
}

export interface Counts {
  at: Instant;
  open: { service: string; status: string; count: number }[];
  awakeables: number;
  oldest_awakeable: Instant | null;
}

export interface Overview {
  at: Instant;
  trouble: Trouble | null;
  trouble_at: Instant | null;
  counts: Counts | null;
  busiest: { service: string; key: string; behind: number }[] | null;
  limits: { name: string; used: number | null; of: number | null }[];
  storage: { file: number | null; log: number | null; free: number | null } | null;
}

export interface Invocation {
  id: string;
  service: string;
  key: string;
  handler: string;
  status: string;
  failed_attempts: number;
  accepted_at: Instant;
  ended_at: Instant | null;
  reason: string | null;
  idempotency_key: string | null;
  restarted_from: string | null;
  cancel_requested: boolean;
  held: boolean;
  failure: { code: number; message: string; error?: string } | null; // `error` is left out for a plain TerminalError
}

export interface Page {
  invocations: Invocation[];
  before: string | null;
  searched_to?: Instant | null; // of a search only
}

export interface Text {
  text: string;
  bytes: number;
  cut: boolean;
}

export interface Entry {
  position: number;
  at: Instant;
  entry: string;
  name: string | null;
  completes: number | null;
  called: string | null;
  value: Text | null;
  due: Instant | null;
}

export interface WholeInvocation extends Omit<Invocation, "failure"> {
  mode: string;
  arguments: Text | null;
  headers: Text | null;
  result: Text | null;
  failure: Text | null;
  called_by: string | null;
  journal: Entry[];
  journal_more: boolean;
}

export interface Child extends Partial<Invocation> {
  id: string;
  position: number;
  entry: string;
  children: Child[];
}

export interface Family extends Invocation {
  ancestors: Invocation[];
  children: Child[];
  cut: boolean;
}

// Events of the stream
export interface TroubleEvent {
  topic: string;
  trouble: Trouble | null;
}

export interface NewerEvent {
  topic: string;
  count: number;
}

export interface InvocationEvent extends Partial<Invocation> {
  topic: string;
  id: string;
  gone?: boolean;
  journal_to?: number;
}
