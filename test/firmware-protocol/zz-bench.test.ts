import { test } from 'vitest';
import { createServer } from 'node:net';
import { framedLink } from '/work/main/firmware-protocol/link.js';
import { serveImager } from '/work/main/firmware-protocol/responder.js';
import { realClock } from '/work/main/src/clock.js';
import { openImager } from '/work/main/src/drive/imager.js';
import { openLink } from '/work/main/src/drive/links.js';
import { createFakeImager, sectorsAt } from '/work/main/test/firmware-protocol/fake-imager.js';
import { createFrameDecoder, encodeFrame, noDiscards } from '/work/main/firmware-protocol/frame.js';
import { duplexPair, type Duplex } from 'node:stream';
import { spawn } from 'node:child_process';

test('bench', async () => {
  const message = new Uint8Array(32768); for (let i=0;i<message.length;i++) message[i]=(i*7919)>>5;
  let t = performance.now(); let f!: Uint8Array;
  for (let i=0;i<2000;i++) f = encodeFrame(message);
  console.log('encode MB/s', 65.5/((performance.now()-t)/1000));
  const d = createFrameDecoder({frameBytesMax: 32768, onMessage(){}, discarded: noDiscards()});
  t = performance.now(); for (let i=0;i<2000;i++) d.push(f);
  console.log('decode MB/s', 65.5/((performance.now()-t)/1000));
  const one = new Uint8Array(2_000_000).fill(1);
  for (const size of [1, 16, 4096]) {
    const [a, b] = duplexPair() as [Duplex, Duplex];
    const l = framedLink(b); l.onMessage(()=>{});
    t = performance.now();
    for (let i=0;i<one.length/ (size===1?10:1);i+=size) if(!a.write(one.subarray(i,i+size))) await new Promise(r=>a.once('drain',r));
    console.log('garbage in pieces of', size, 'MB/s', (size===1?0.2:2)/((performance.now()-t)/1000));
    l.close();
  }
  const clock = realClock();
  const data = sectorsAt(0, 256);
  const dev = () => { const x = createFakeImager(clock, { frameBytesMax: 65536, bufferBytes: 8<<20, requestsMax: 32, readCountMax: 2048 });
    x.read = async (q) => ({ outcome:'good', goodCount:q.count, data: data.subarray(0,q.count*512), elapsedMicros: 1 }); return x; };
  const server = createServer((s) => { serveImager(framedLink(s, {frameBytesMax: 65536}), dev(), clock); });
  await new Promise<void>((r) => server.listen(0, '127.0.0.1', () => r()));
  const run = async (name: string, link: any, n: number) => {
    const drive = await openImager(link, clock, { session: 1 });
    await drive.identify();
    t = performance.now();
    await Promise.all(Array.from({length:n},(_, i)=>drive.read({extent:{lba:i*256,count:256},timeoutMs:1000,slowMs:0,stopOn:{fault:false,slow:false,timeout:false},batch:1})));
    const s = (performance.now()-t)/1000;
    console.log(name, 'MB/s', n*0.131072/s, JSON.stringify(drive.counters));
    t = performance.now();
    for (let i=0;i<200;i++) await drive.read({extent:{lba:i*8,count:1},timeoutMs:1000,slowMs:0,stopOn:{fault:false,slow:false,timeout:false},batch:1});
    console.log(name, 'ms per single read', (performance.now()-t)/200);
    await drive.close();
  };
  await run('tcp', await openLink('tcp:127.0.0.1:'+(server.address() as any).port, clock), 1000);
  server.close();
  const so = spawn('socat', ['pty,raw,echo=0,link=/tmp/wb/a','pty,raw,echo=0,link=/tmp/wb/b']);
  await new Promise(r=>setTimeout(r,500));
  const far = await openLink('serial:/tmp/wb/b', clock);
  serveImager(far, dev(), clock);
  await run('pty', await openLink('serial:/tmp/wb/a', clock), 500);
  so.kill(); far.close();
}, 120000);
