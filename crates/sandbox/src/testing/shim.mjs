// A server before PGlite, which is PostgreSQL in one process: for tests that need TimescaleDB.
//
// node shim.mjs FOLDER SOCKET   FOLDER holds the package; prints "ready" when it accepts connections
//
// All connections share one backend. So a message of one connection waits until that of another is answered, and:
// - a whole COPY … FROM STDIN is collected and handed over at once, for the backend cannot wait for the client;
// - a further connection cannot take over a snapshot that the first one holds: it is in the same transaction anyway,
//   so that BEGIN …; SET TRANSACTION SNAPSHOT is answered as if it had run, and ends nothing when it closes;
// - names of prepared statements get the connection's number in front;
// - what a connection sets stays set for all.
import net from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, address] = process.argv.slice(2);
const load = (file) => import(pathToFileURL(path.join(folder, 'dist', file)).href);
const { PGlite } = await load('index.js');
const { timescaledb } = await load('timescaledb/index.js');
const { vector } = await load('vector/index.js');
const db = await PGlite.create({ extensions: { timescaledb, vector }, relaxedDurability: true });

const message = (type, ...parts) => {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
  const head = Buffer.alloc(5);
  head.write(type, 0);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};
const setting = (name, value) => message('S', `${name}\0${value}\0`);

// The backend's first words, which PGlite has taken for itself, said again to every client.
const version = (await db.query('SHOW server_version')).rows[0].server_version;
const greeting = Buffer.concat([
  message('R', Buffer.from([0, 0, 0, 0])),
  setting('server_version', version),
  setting('server_encoding', 'UTF8'),
  setting('client_encoding', 'UTF8'),
  setting('DateStyle', 'ISO, MDY'),
  setting('integer_datetimes', 'on'),
  setting('standard_conforming_strings', 'on'),
  setting('TimeZone', 'UTC'),
  message('K', Buffer.alloc(8)),
  message('Z', 'I'),
]);

let turn = Promise.resolve();
const inTurn = (work) => (turn = turn.then(work, work));
const ask = async (bytes) => Buffer.from(await db.execProtocolRaw(new Uint8Array(bytes), { syncToFs: false }));

// The messages of an answer.
function* messages(answer) {
  for (let at = 0; at + 5 <= answer.length; ) {
    const end = at + 1 + answer.readInt32BE(at + 1);
    yield answer.subarray(at, end);
    at = end;
  }
}
const type = (one) => String.fromCharCode(one[0]);
const text = (bytes, from) => bytes.toString('utf8', from, bytes.indexOf(0, from));
const isCopyIn = (sql) => /^\s*COPY\b[^;]*\bFROM\s+STDIN/i.test(sql);
const leave = message('G', Buffer.from([0, 0, 0]));

// A message whose prepared statement is named for its connection. The unnamed one stays so.
const own = (one, number) => {
  const kind = type(one);
  let at = { P: 5, D: 6, C: 6, B: 5 }[kind];
  if (at === undefined || ((kind === 'D' || kind === 'C') && one[5] !== 83)) return Buffer.from(one);
  if (kind === 'B') at = one.indexOf(0, at) + 1; // the portal's name stands first
  if (one[at] === 0) return Buffer.from(one);
  return message(kind, one.subarray(5, at), `c${number}_`, one.subarray(at));
};
let clients = 0;

class Client {
  constructor(socket) {
    this.number = clients++;
    this.socket = socket;
    this.input = Buffer.alloc(0);
    this.started = false;
    this.copy = null; // what has come of a COPY … FROM STDIN
    this.copies = new Set(); // prepared statements that are one
    this.held = []; // messages before the next Sync
    socket.on('data', (data) => {
      this.input = Buffer.concat([this.input, data]);
      this.take();
    });
    socket.on('error', () => {});
  }

  take() {
    for (;;) {
      if (this.input.length < (this.started ? 5 : 8)) return;
      const length = this.started ? 1 + this.input.readInt32BE(1) : this.input.readInt32BE(0);
      if (this.input.length < length) return;
      const one = this.input.subarray(0, length);
      this.input = this.input.subarray(length);
      if (!this.started) this.start(one);
      else inTurn(() => this.handle(own(one, this.number)));
    }
  }

  start(packet) {
    const code = packet.readInt32BE(4);
    if (code === 80877103 || code === 80877104) this.socket.write('N'); // TLS, GSSAPI: no
    else if (code === 80877102) this.socket.end(); // cancel
    else {
      this.started = true;
      const words = packet.toString('utf8', 8).split('\0');
      const options = words[words.indexOf('options') + 1] ?? '';
      const settings = words.includes('options') ? [...options.matchAll(/-c\s+([\w.]+)=(\S+)/g)] : [];
      const sql = settings.map(([, name, value]) => `SET ${name} = '${value}'`).join('; ');
      inTurn(async () => {
        if (sql) await ask(message('Q', `${sql}\0`));
        this.answer(greeting);
      });
    }
  }

  async handle(one) {
    const kind = type(one);
    if (kind === 'X') return this.socket.end();
    if (kind === 'Q' && one.includes('SET TRANSACTION SNAPSHOT')) {
      return this.answer(Buffer.concat([message('C', 'SET\0'), message('Z', 'T')]));
    }
    if (this.copy) return this.copying(kind, Buffer.from(one));
    this.held.push(Buffer.from(one));
    if (kind === 'P') {
      const name = text(one, 5);
      if (isCopyIn(text(one, 6 + Buffer.byteLength(name)))) this.copies.add(name);
      else this.copies.delete(name);
    }
    if (!['Q', 'S', 'H'].includes(kind)) return;
    const held = this.held;
    this.held = [];
    const bind = held.find((one) => type(one) === 'B');
    const prepared = bind && this.copies.has(text(bind, 6 + Buffer.byteLength(text(bind, 5))));
    if (prepared && held.some((one) => type(one) === 'E')) {
      // The client waits for leave to send.
      this.copy = held.filter((one) => type(one) !== 'S');
      return this.answer(Buffer.concat([message('2'), leave]));
    }
    if (kind === 'Q' && isCopyIn(text(one, 5))) {
      this.copy = held;
      return this.answer(leave);
    }
    this.answer(await ask(Buffer.concat(held)));
  }

  // Collects rows; with their end all is handed over. What was answered already is left out of the answer.
  async copying(kind, one) {
    if (kind === 'S' && !this.ended) return; // of the statement itself, ignored while rows come
    if (kind !== 'S') this.copy.push(one);
    if (kind === 'c' || kind === 'f') this.ended = true;
    const simple = type(this.copy[0]) === 'Q';
    if (!this.ended || (kind !== 'S' && !simple)) return;
    const all = simple ? this.copy : [...this.copy, one];
    this.copy = null;
    this.ended = false;
    const answer = [...messages(await ask(Buffer.concat(all)))].filter((one) => !['2', 'G'].includes(type(one)));
    this.answer(Buffer.concat(answer));
  }

  answer(bytes) {
    this.socket.write(bytes);
  }
}

net.createServer((socket) => new Client(socket)).listen(address, () => console.log('ready'));
