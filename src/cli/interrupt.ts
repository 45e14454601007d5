/** Ctrl-C that saves: the first asks the job to stop, the second leaves at once. What was read up to a
 * second before is on disk either way. */
export interface Interrupt {
  readonly signal: AbortSignal;
  dispose(): void;
}

const exitInterrupted = 130;

export function onInterrupt(): Interrupt {
  const controller = new AbortController();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const handler = () => {
    if (controller.signal.aborted) process.exit(exitInterrupted);
    process.stderr.write('\nlastspin: stopping, the map is being saved (again: leave at once)\n');
    controller.abort(new Error('interrupted'));
  };
  for (const name of signals) process.on(name, handler);
  return {
    signal: controller.signal,
    dispose: () => {
      for (const name of signals) process.off(name, handler);
    },
  };
}
