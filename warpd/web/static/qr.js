// A text as a QR code (ISO/IEC 18004): bytes, error correction L, versions 1 to 25. It is drawn here
// because the text holds a private key, which does not leave this page.
const CHECKS = [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28, 28, 28, 30, 30, 26];
const BLOCKS = [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8, 8, 9, 9, 10, 12];
const MASKS = [
  (x, y) => (x + y) % 2, (x, y) => y % 2, (x) => x % 3, (x, y) => (x + y) % 3,
  (x, y) => ((x / 3 | 0) + (y / 2 | 0)) % 2, (x, y) => x * y % 2 + x * y % 3,
  (x, y) => (x * y % 2 + x * y % 3) % 2, (x, y) => ((x + y) % 2 + x * y % 3) % 2,
];
const range = (end) => [...Array(end).keys()];

// -- error correction: arithmetic in the field of 256 elements, by logarithms
const POWERS = [1];
while (POWERS.length < 255) POWERS.push(POWERS.at(-1) * 2 ^ (POWERS.at(-1) > 127 ? 0x11d : 0));
const times = (a, b) => a && b ? POWERS[(POWERS.indexOf(a) + POWERS.indexOf(b)) % 255] : 0;
const checksOf = (data, count) => {
  let divisor = [1];
  for (const root of POWERS.slice(0, count)) divisor = [...divisor, 0].map((own, at) => own ^ times(root, divisor[at - 1] ?? 0));
  const rest = [...data, ...Array(count).fill(0)];
  data.forEach((_, at) => { const first = rest[at]; divisor.forEach((own, next) => { rest[at + next] ^= times(own, first); }); });
  return rest.slice(data.length);
};
// The remainder of a number, shifted by `bits`, by a binary polynomial; behind the number itself.
const guarded = (number, bits, divisor) => {
  let rest = number << bits;
  for (let bit = 31; bit >= bits; bit--) if (rest >>> bit & 1) rest ^= divisor << bit - bits;
  return number << bits | rest;
};

// -- what is the same in every code of a version; `undefined` is free for data
const frame = (version) => {
  const size = version * 4 + 17, end = size - 1;
  const cells = range(size).map(() => Array(size));
  const square = (column, row, reach, light) => {
    for (let y = -reach; y <= reach; y++) for (let x = -reach; x <= reach; x++) {
      if (cells[row + y] && column + x >= 0 && column + x < size) cells[row + y][column + x] = light.includes(Math.max(Math.abs(x), Math.abs(y))) ? 0 : 1;
    }
  };
  for (const at of range(size)) cells[6][at] = cells[at][6] = 1 - at % 2;
  for (const at of range(9)) for (const [x, y] of [[at, 8], [8, at], [end - at, 8], [8, end - at]]) if (at < 8 || (x < 9 && y < 9)) cells[y][x] ??= 0;
  for (const [x, y] of [[3, 3], [end - 3, 3], [3, end - 3]]) square(x, y, 4, [2, 4]);
  const count = (version / 7 | 0) + 2, step = Math.ceil((end - 12) / (count - 1) / 2) * 2;
  const places = version < 2 ? [] : [6, ...range(count - 1).map((at) => end - 6 - at * step)];
  for (const y of places) for (const x of places) if ((x > 6 && y > 6) || (x + y > 12 && x + y < end)) square(x, y, 2, [1]);
  const about = guarded(version, 12, 0x1f25);
  for (const bit of version < 7 ? [] : range(18)) {
    cells[bit / 3 | 0][end - 10 + bit % 3] = cells[end - 10 + bit % 3][bit / 3 | 0] = about >> bit & 1;
  }
  return cells;
};

const codewords = (bytes, version, total) => {
  const [count, checks] = [BLOCKS[version - 1], CHECKS[version - 1]], room = total - count * checks;
  const bits = [[4, 4], [bytes.length, version < 10 ? 8 : 16], ...Array.from(bytes, (byte) => [byte, 8])]
    .map(([value, width]) => value.toString(2).padStart(width, "0")).join("");
  if (bits.length > room * 8) return null;
  const data = (bits + "0000").slice(0, room * 8).match(/.{1,8}/g).map((byte) => parseInt(byte.padEnd(8, "0"), 2));
  for (let pad = 0; data.length < room; pad++) data.push(pad % 2 ? 0x11 : 0xec);
  const short = room / count | 0;
  const blocks = range(count).map((at) => data.splice(0, short + (at < count - room % count ? 0 : 1)));
  const columns = (rows, width) => range(width).flatMap((at) => rows.flatMap((row) => row[at] ?? []));
  return [...columns(blocks, short + 1), ...columns(blocks.map((block) => checksOf(block, checks)), checks)];
};
// How hard a code is to read: long runs, squares, what looks like a corner, and too much of one colour.
const penalty = (cells) => {
  const size = cells.length, lines = [...cells, ...range(size).map((x) => cells.map((row) => row[x]))].map((line) => line.join(""));
  let sum = Math.floor(Math.abs(cells.flat().filter(Boolean).length * 20 / size ** 2 - 10)) * 10;
  for (const line of lines) {
    for (const run of line.match(/0{5,}|1{5,}/g) ?? []) sum += run.length - 2;
    sum += 40 * line.match(/(?=10111010000|00001011101)/g)?.length || 0;
  }
  for (let y = 1; y < size; y++) for (let x = 1; x < size; x++) {
    const [own, above] = [cells[y], cells[y - 1]];
    if (own[x] === own[x - 1] && own[x] === above[x] && own[x] === above[x - 1]) sum += 3;
  }
  return sum;
};
const masked = (frameCells, path, bits, mask) => {
  const cells = frameCells.map((row) => [...row]), end = cells.length - 1;
  path.forEach(([x, y], at) => { cells[y][x] = (bits[at] ?? 0) ^ (MASKS[mask](x, y) ? 0 : 1); });
  const about = guarded(8 | mask, 10, 0x537) ^ 0x5412;
  for (const bit of range(15)) {
    const own = about >> bit & 1, near = bit < 6 ? bit : bit < 8 ? bit + 1 : 14 - bit;
    if (bit < 8) cells[near][8] = cells[8][end - bit] = own;
    else cells[8][bit === 8 ? 7 : near] = cells[end - 14 + bit][8] = own;
  }
  cells[end - 7][8] = 1;
  return cells;
};

// Rows of 0 and 1 (dark); an error where the text is too long.
export const qr = (text) => {
  const bytes = new TextEncoder().encode(text);
  for (let version = 1; version <= 25; version++) {
    const cells = frame(version), end = cells.length - 1, path = [];
    for (let right = end, up = true; right > 0; right -= 2, up = !up) {
      if (right === 6) right--;
      for (const at of range(end + 1)) for (const x of [right, right - 1]) {
        const y = up ? end - at : at;
        if (cells[y][x] === undefined) path.push([x, y]);
      }
    }
    const words = codewords(bytes, version, path.length >> 3);
    if (!words) continue;
    const bits = words.flatMap((word) => [...word.toString(2).padStart(8, "0")].map(Number));
    const codes = range(8).map((mask) => masked(cells, path, bits, mask));
    return codes.reduce((best, code) => (penalty(code) < penalty(best) ? code : best));
  }
  throw new Error("too long for a QR code");
};
