/** Rests by temperature, kept by the laptop where nothing nearer to the drive does. Asking a drive for its
 * temperature is a command like any other, on which firmware has been seen to hang: so it is asked rarely, never
 * while there is trouble, and not again after one slow answer. */
import type { TroublePolicy } from '../power/policy.js';

/** What is known of the drive's temperature. */
export interface Heat {
  /** As it last said; undefined where that is not known, or was before a rest. */
  celsius: number | undefined;
  /** When it is asked again. */
  askAtMs: number;
  /** It gave no temperature, or took long over it. */
  isRefused: boolean;
}

export interface TemperatureEvent {
  readonly kind: 'temperature';
  /** Absent where the drive did not say. */
  readonly celsius?: number;
  readonly elapsedMs: number;
  /** Its heads were parked: it may have spun up first, so that the time tells nothing. */
  readonly wasParked?: true;
}

export type HeatStep =
  | { readonly kind: 'take-temperature' }
  | {
      readonly kind: 'cool';
      readonly restMs: number;
      /** With the power off, where the switch can hold it off. */
      readonly powerOff: boolean;
      readonly why: string;
    };

/** An answer that took longer is the last one. */
const slowAnswerMs = 1000;
/** A rest parks the heads: shorter ones wear more than they help. */
const parkedRestMs = 180_000;
const offRestMs = 600_000;

export function createHeat(): Heat {
  return { celsius: undefined, askAtMs: 0, isRefused: false };
}

export function foldTemperature(
  heat: Heat,
  { celsius, elapsedMs, wasParked }: TemperatureEvent,
  atMs: number,
  { heat: limits }: TroublePolicy,
): void {
  heat.celsius = celsius;
  heat.isRefused = celsius === undefined || (elapsedMs > slowAnswerMs && !wasParked);
  heat.askAtMs = atMs + (limits?.everyMs ?? 0);
}

/** After a rest the drive is asked anew where it was too hot. */
export function foldRest(heat: Heat, atMs: number, { heat: limits }: TroublePolicy): void {
  if (!limits || heat.celsius === undefined || heat.celsius < limits.parkCelsius) return;
  heat.celsius = undefined;
  heat.askAtMs = atMs;
}

/** What the drive's temperature asks for; undefined while it asks for nothing. */
export function heatStep(
  heat: Heat,
  { heat: limits }: TroublePolicy,
  nowMs: number,
): HeatStep | undefined {
  if (!limits) return undefined;
  const { celsius } = heat;
  if (celsius !== undefined && celsius >= limits.parkCelsius) {
    const powerOff = celsius >= limits.offCelsius;
    const why = `the drive is at ${Math.round(celsius)} °C`;
    return { kind: 'cool', restMs: powerOff ? offRestMs : parkedRestMs, powerOff, why };
  }
  return !heat.isRefused && nowMs >= heat.askAtMs ? { kind: 'take-temperature' } : undefined;
}
