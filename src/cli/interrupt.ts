/** Ctrl-C that saves: the first asks for an orderly end, the second leaves at once. What was read up to
 * a second before is on disk either way. */
export interface Interrupt {
  readonly signal: AbortSignal;
  /** As the signal would. */
  interrupt(): void;
  dispose(): void;
}

const exitInterrupted = 130;

/** Listens until disposed; `notice` is printed at the first signal. */
export function onInterrupt(notice: string): Interrupt {
  const controller = new AbortController();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const handler = () => {
    if (controller.signal.aborted) process.exit(exitInterrupted);
    process.stderr.write(`\n${notice}\n`);
    controller.abort(new Error('interrupted'));
  };
  for (const name of signals) process.on(name, handler);
  return {
    signal: controller.signal,
    interrupt: handler,
    dispose: () => {
      for (const name of signals) process.off(name, handler);
    },
  };
}
