/** What the laptop's end knows, shared by the files of the caller. */
import type { Clock } from '../src/clock.js';
import { LastspinError } from '../src/errors.js';
import type { Codec, Reader } from './codec.js';
import type { Command, commands } from './commands.js';
import type { DeviceEvent } from './device.js';
import type { Link } from './link.js';
import type { ReadWindow } from './read-window.js';

export type RequestOf<C> = C extends Command<infer Req, unknown> ? Req : never;
export type ResponseOf<C> = C extends { response: Codec<infer Res> } ? Res : never;
/** What HELLO agreed, limits already cut to what this end allows. */
export type Agreed = ResponseOf<typeof commands.hello>;

/** What happens to the line, for people. */
export type LinkNotice =
  | { readonly kind: 'lost'; readonly why: string }
  | { readonly kind: 'back' }
  /** The imager lost the session: it started again, or served another program. */
  | { readonly kind: 'restarted'; readonly bootCause: number };

export interface CallerOptions {
  /** Drawn anew for each caller, 32 bits: the imager knows by it who comes back. */
  readonly session: number;
  /** What the other end is called in messages; the link's name unless told. */
  readonly name?: string;
  /** Longest message taken from the imager, in bytes. */
  readonly frameBytesMax?: number;
  /** Opens the link once more after it dropped; without it a drop is the end. */
  readonly relink?: () => Promise<Link>;
  /** Sets up a new session as the lost one was, before anything else is said on it (L-5). */
  readonly restore?: () => Promise<void>;
}

export interface PendingCall {
  readonly code: number;
  /** How many calls were started before it. */
  readonly order: number;
  readonly onReply: (body: Reader) => void;
  readonly reject: (error: unknown) => void;
}

/** - `greeting`: the first HELLO; `open`; `lost`: a new link is tried; `restoring`: a new session in
 * place of a lost one; `ended`. */
export type Phase = 'greeting' | 'open' | 'lost' | 'restoring' | 'ended';

export interface State {
  readonly options: CallerOptions;
  readonly name: string;
  readonly clock: Clock;
  phase: Phase;
  /** Puts a link to use. */
  readonly use: (link: Link) => void;
  link: Link | undefined;
  /** HELLO was answered on `link`; nothing else may be said before. */
  ready: boolean;
  /** Discards of links that are gone. */
  framesDiscardedBefore: number;
  /** Id of the next control command; reads count by themselves. */
  callId: number;
  readonly calls: Map<number, PendingCall>;
  callsStarted: number;
  readonly callQueue: (() => void)[];
  /** Set once HELLO is answered. */
  agreed: Agreed | undefined;
  window: ReadWindow | undefined;
  /** Status requests under way: id → read ids sent before it. */
  readonly beats: Map<number, number>;
  beatCount: number;
  silentBeats: number;
  /** The window's progress when it last grew, and when that was. */
  progress: { readonly seen: number; readonly atMs: number };
  heard: boolean;
  cancelBeat: () => void;
  readonly eventHandlers: ((event: DeviceEvent) => void)[];
  readonly noticeHandlers: ((notice: LinkNotice) => void)[];
  readonly closeHandlers: ((error?: LastspinError) => void)[];
  end: { readonly error?: LastspinError } | undefined;
  /** Requests that came in: only an echo sends those. */
  echoes: number;
  violations: number;
  repetitions: number;
  relinks: number;
  restarts: number;
  /** Sessions lost since a read last came back, so that an imager that dies of what it is asked does
   * not do so for ever. */
  fruitlessRestarts: number;
  readsBackAtRestart: number;
}

export function initialState(
  name: string,
  clock: Clock,
  options: CallerOptions,
  use: (link: Link) => void,
): State {
  return {
    options,
    name,
    clock,
    phase: 'greeting',
    use,
    link: undefined,
    ready: false,
    framesDiscardedBefore: 0,
    // Not always from 1: what an earlier program's requests still bring must not fit ours.
    callId: 1 + (options.session >>> 8),
    calls: new Map(),
    callsStarted: 0,
    callQueue: [],
    agreed: undefined,
    window: undefined,
    beats: new Map(),
    beatCount: 0,
    silentBeats: 0,
    progress: { seen: 0, atMs: 0 },
    heard: false,
    cancelBeat: () => {},
    eventHandlers: [],
    noticeHandlers: [],
    closeHandlers: [],
    end: undefined,
    echoes: 0,
    violations: 0,
    repetitions: 0,
    relinks: 0,
    restarts: 0,
    fruitlessRestarts: 0,
    readsBackAtRestart: 0,
  };
}

export function discardsOf(link: Link | undefined): number {
  return link ? Object.values(link.discarded).reduce((sum, count) => sum + count, 0) : 0;
}

/** Forgets the link, but not what it cost. */
export function letGo(state: State): Link | undefined {
  const { link } = state;
  state.link = undefined;
  state.ready = false;
  state.framesDiscardedBefore += discardsOf(link);
  return link;
}

/** The session is over: everything that waits is told. */
export function end(state: State, error?: LastspinError): void {
  if (state.end) return;
  state.end = error ? { error } : {};
  state.phase = 'ended';
  state.cancelBeat();
  letGo(state)?.close();
  const reason = error ?? new LastspinError('LINK_CLOSED', `${state.name} was closed`);
  state.window?.fail(reason);
  for (const call of [...state.calls.values()]) call.reject(reason);
  startWaitingCalls(state);
  for (const handler of state.closeHandlers) handler(error);
}

export function startWaitingCalls(state: State): void {
  for (const start of state.callQueue.splice(0)) start();
}

export function notify(state: State, notice: LinkNotice): void {
  for (const handler of state.noticeHandlers) handler(notice);
}
