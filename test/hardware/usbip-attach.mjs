// What `usbip attach` does, without its package: asks a USB/IP server for its device, and hands the connection to
// the kernel's virtual host controller. Arguments: host, port.
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';

const controller = '/sys/devices/platform/vhci_hcd.0';
const [, , host, port] = process.argv;
const request = Buffer.alloc(40);
request.writeUInt16BE(0x0111, 0);
request.writeUInt16BE(0x8003, 2);
request.write('1-1', 8);

const socket = connect(Number(port), host, () => socket.write(request));
let reply = Buffer.alloc(0);
socket.on('data', (bytes) => {
  reply = Buffer.concat([reply, bytes]);
  if (reply.readUInt32BE(4) !== 0) throw new Error('the server refused');
  if (reply.length < 8 + 312) return;
  socket.pause();
  const place = (reply.readUInt32BE(8 + 288) << 16) | reply.readUInt32BE(8 + 292);
  const speed = reply.readUInt32BE(8 + 296);
  const rows = readFileSync(`${controller}/status`, 'latin1').split('\n').slice(1);
  const free = rows
    .map((row) => row.split(/\s+/))
    .find(([hub, , state]) => hub === 'hs' && state === '004');
  writeFileSync(
    `${controller}/attach`,
    `${Number(free[1])} ${socket._handle.fd} ${place} ${speed}`,
  );
  // The kernel keeps the connection.
  socket.destroy();
});
