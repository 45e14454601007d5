import { describe, expect, test } from 'vitest';
import type { RehearsalResult, RehearsalRun } from '../../src/show/rehearsal.js';
import { plotAsSvg, plotInLetters, svgStart } from '../../src/show/rehearsal-plot.js';

const sectors = 1_000_000;

function runOf(preset: string, curve: [number, number][]): RehearsalRun {
  const [elapsedMs, finishedSectors] = curve.at(-1)!;
  return {
    preset,
    ended: 'finished',
    why: 'every pass is done',
    elapsedMs,
    finishedSectors,
    badSectors: 0,
    deliveredShare: finishedSectors / sectors,
    reads: 1,
    failingReads: 2,
    resets: 0,
    powerCycles: 3,
    travelStrokes: 1,
    until: [],
    curve,
  };
}

function resultOf(...runs: RehearsalRun[]): RehearsalResult {
  return {
    schema: 'lastspin/rehearsal-result/1',
    drive: {
      name: 'mine',
      source: 'map',
      kind: 'hdd',
      seed: 1,
      sectorCount: sectors,
      sectorBytes: 512,
      physicalSectorBytes: 512,
      readableSectors: sectors,
    },
    settings: {
      failingLba: 'yes',
      untried: 'good',
      errorTimeMs: 700,
      physicalSectorBytes: 512,
      retries: null,
      durationMs: null,
    },
    runs,
  };
}

const early = runOf('early', [
  [0, 0],
  [10_000, sectors / 2],
  [100_000, sectors],
]);
const late = runOf('late', [
  [0, 0],
  [1_000_000, 0],
  [10_000_000, sectors],
]);

describe('in letters', () => {
  const lines = plotInLetters(resultOf(early, late), 80).split('\n');

  test('no line is wider than the terminal', () => {
    for (const columns of [40, 80, 120]) {
      const widths = plotInLetters(resultOf(early, late), columns).split('\n');
      expect(Math.max(...widths.map((line) => line.length))).toBeLessThanOrEqual(columns);
    }
  });

  test('the earlier run is left of the later one, and each ends at the top', () => {
    const middle = lines.find((line) => line.trimStart().startsWith('50 %'))!;
    expect(middle.indexOf('a')).toBeGreaterThan(0);
    expect(middle.indexOf('b')).toBeGreaterThan(middle.indexOf('a') + 20);
    const top = lines.find((line) => line.trimStart().startsWith('100 %'))!;
    expect(top).toMatch(/a.*b/);
    // A run that is over draws no line any more.
    expect(top).not.toMatch(/a[ab* ]*b.*a/);
  });

  test('every column of a run under way has a letter', () => {
    const plot = lines.slice(3, 20).map((line) => line.slice(8).padEnd(72));
    const first = plot.map((line) => line.search(/[ab*]/)).filter((at) => at >= 0);
    for (let column = Math.min(...first); column < 70; column++) {
      expect(
        plot.some((line) => /[ab*]/.test(line[column]!)),
        `column ${column}`,
      ).toBe(true);
    }
  });

  test('the legend names the runs', () => {
    expect(lines[1]).toBe('a early  b late');
  });
});

const attribute = (tag: string, name: string) =>
  Number(new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1]);

/** Boxes of the texts of a picture, letters taken as broad as the broadest usual. */
function textBoxes(svg: string) {
  return [...svg.matchAll(/<text [^>]*>([^<]*)<\/text>/g)].map(([tag, text]) => {
    const size = attribute(tag!, 'font-size') || 13;
    const width = text!.length * size * 0.56;
    const anchor = /text-anchor="(\w+)"/.exec(tag!)?.[1] ?? 'start';
    const x = attribute(tag!, 'x') - { start: 0, middle: width / 2, end: width }[anchor]!;
    const y = attribute(tag!, 'y');
    return { text: text!, left: x, right: x + width, top: y - size, bottom: y + 3 };
  });
}

/** Runs of very different lengths, and many with long names. */
const pictures: [string, RehearsalResult][] = [
  ['two runs', resultOf(early, late)],
  [
    'a short run',
    resultOf(
      runOf('short', [
        [0, 0],
        [4000, 10],
        [5200, sectors],
      ]),
    ),
  ],
  [
    'a year',
    resultOf(
      runOf('year', [
        [0, 0],
        [5000, 10],
        [4e10, sectors],
      ]),
    ),
  ],
  ['nothing at all', resultOf(runOf('none', [[0, 0]]))],
  [
    'many runs',
    resultOf(
      ...Array.from({ length: 9 }, (_, n) => ({ ...late, preset: `${'long/'.repeat(20)}${n}` })),
    ),
  ],
];

describe.each(pictures)('as SVG: %s', (_name, result) => {
  const svg = plotAsSvg(result);

  test('texts neither overlap nor leave the picture', () => {
    const boxes = textBoxes(svg);
    expect(boxes.length).toBeGreaterThan(result.runs.length + 7);
    const width = attribute(svg, 'width');
    const height = attribute(svg, 'height');
    for (const [index, box] of boxes.entries()) {
      expect(box.left, box.text).toBeGreaterThanOrEqual(0);
      expect(box.right, box.text).toBeLessThanOrEqual(width);
      expect(box.bottom, box.text).toBeLessThanOrEqual(height);
      for (const other of boxes.slice(index + 1)) {
        const isApart =
          box.right <= other.left ||
          other.right <= box.left ||
          box.bottom <= other.top ||
          other.bottom <= box.top;
        expect(isApart, `${box.text} and ${other.text}`).toBe(true);
      }
    }
  });

  test('the time axis has at least two labels', () => {
    const times = textBoxes(svg).filter(({ text }) => /^\d+ (ms|s|min|h|d)$/.test(text));
    expect(times.length).toBeGreaterThanOrEqual(2);
  });

  test('curves stay in the frame and every run has one', () => {
    const curves = [...svg.matchAll(/<polyline [^>]*points="([^"]*)"/g)];
    expect(curves).toHaveLength(result.runs.length);
    for (const [, points] of curves) {
      for (const point of points!.split(' ')) {
        const [x, y] = point.split(',').map(Number) as [number, number];
        expect(x >= 64 && x <= 844 && y >= 44 && y <= 424, point).toBe(true);
      }
    }
  });
});

test('the picture stands alone, in light and dark, and what is not ours is escaped', () => {
  const svg = plotAsSvg(resultOf({ ...early, preset: '<b>&"\u0007' }));
  expect(svg.startsWith(svgStart)).toBe(true);
  expect(svg).toContain('prefers-color-scheme:dark');
  expect(svg).not.toMatch(/href|url\(|<script|@import/);
  expect(svg).toContain('&lt;b&gt;&amp;&quot;?');
  expect(svg).not.toContain('<b>');
});
